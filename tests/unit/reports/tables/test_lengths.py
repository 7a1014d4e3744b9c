"""Where texts were cut: beside every score, and never mixed in one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ettin_retrieval.reports.tables.write import render
from tests.ledgers import EXPECTED, write
from tests.unit.reports.tables.cells import csv_rows, guide_rows, row_of

DOCUMENTS = ("guide", "tasks", "tiny", "significance")


def ledger(results: Path, model: str, task: str) -> dict[str, str]:
    """The tables of a model whose base was evaluated before its lengths changed."""
    write(results, model, "base", {task: [0.25, 0.5]}, cut={task: (0.996, 0.01)})
    write(results, model, "finetuned", {task: [0.5, 0.75]}, lengths=(512, 512))
    write(results, model, "base", {task: [0.25, 0.5]}, seed=7, cut={task: (0.029, 0.15)})
    write(results, model, "finetuned", {task: [0.5, 0.75]}, seed=7, cut={task: (0.029, 0.15)})
    return render(results, EXPECTED)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_row_has_the_lengths_of_its_score(tmp_path: Path, document: str) -> None:
    model, task = ("tiny", "TinySciFact") if document == "tiny" else ("1b", "SciFact")
    files = ledger(tmp_path, model, task)
    for rows in (csv_rows(files[f"{document}.csv"]), json.loads(files[f"{document}.json"])["rows"]):
        scored = [r for r in rows if (r.get("measured") or r.get("mean") or r.get("base"))]
        of_task = [row for row in scored if row["task"] == task]
        assert of_task
        for row in of_task:
            long = row.get("seed") in (42, "42") and row.get("checkpoint") == "finetuned"
            expected = (512, 512) if long else (64, 512)
            assert (int(row["max_query_length"]), int(row["max_passage_length"])) == expected


def test_a_difference_of_two_lengths_is_not_shown(tmp_path: Path) -> None:
    write(tmp_path, "1b", "base", {"SciFact": 0.25, "NQ": 0.5})
    write(tmp_path, "1b", "finetuned", {"SciFact": 0.5}, lengths=(512, 512))
    files = render(tmp_path, EXPECTED)
    row = guide_rows(files["guide.md"])["1b", "measured", 1]
    assert row[3] == "50.0 (other lengths)"
    assert row_of(files["tasks.md"], "SciFact")[2:5] == ["25.0", "50.0", "other lengths"]
    found = [r for r in csv_rows(files["guide.csv"]) if r["measured"] == "0.5"]
    assert [(r["improvement"], r["max_query_length"]) for r in found] == [("", "512")]
    assert csv_rows(files["significance.csv"]) == []
    assert (
        "Not compared: 1b/finetuned-guide-seed42 with 1b/base-seed42: other lengths "
        "(64 and 512 tokens or 512 and 512 tokens)." in files["significance.md"]
    )
    write(tmp_path, "tiny", "base", {"TinySciFact": 0.25})
    write(tmp_path, "tiny", "finetuned", {"TinySciFact": 0.5}, lengths=(512, 512))
    tiny = row_of(render(tmp_path, EXPECTED)["tiny.md"], "TinySciFact")
    assert tiny[2:4] == ["25.0", "50.0 (other lengths)"]


def test_the_share_of_cut_texts_is_beside_the_score_when_above_one_percent(tmp_path: Path) -> None:
    files = ledger(tmp_path, "tiny", "TinySciFact")
    tables = files["tiny.md"].split("## Model")
    seven, first = (row_of(next(t for t in tables if f"seed {s}" in t), "TinySciFact")
                    for s in (7, 42))  # fmt: skip
    assert first[2:4] == ["37.5 [cut: 99.6% q]", "62.5 (other lengths)"]
    assert seven[2:4] == ["37.5 [cut: 2.9% q, 15.0% p]", "62.5 [cut: 2.9% q, 15.0% p] (+25.0)"]
    significance = files["significance.md"]
    assert "| TinySciFact [cut: 2.9% q, 15.0% p] | 2 | 37.5 | 62.5 | +25.0" in significance
    rows = csv_rows(files["tiny.csv"])
    shares = {(r["seed"], r["cut_queries"], r["cut_passages"]) for r in rows if r["measured"]}
    assert shares == {("42", "0.996", "0.01"), ("42", "", ""), ("7", "0.029", "0.15")}
