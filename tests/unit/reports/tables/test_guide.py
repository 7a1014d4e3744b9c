"""The guide's tables: their cells by hand, and their notes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from ettin_retrieval.reports.references import read_references
from ettin_retrieval.reports.tables.guide import guide_notes
from ettin_retrieval.reports.tables.write import render
from ettin_retrieval.tasks import GUIDE_TASKS
from tests.ledgers import EXPECTED, V1, write
from tests.unit.reports.tables.cells import csv_rows, guide_rows

MODELS = ("150m", "400m", "1b")


def write_guide_entry(
    results: Path, model: str, checkpoint: str, recipe: str = "guide", **changed: float
) -> None:
    """Write what the guide says of a checkpoint, as if it had been measured."""
    guide = {
        value.task: value.value
        for value in read_references(EXPECTED).guide
        if (value.model, value.checkpoint) == (model, checkpoint)
    }
    named = [value for task, value in guide.items() if task != V1]
    # Of the other tasks, so that the average is the guide's.
    others = (15 * guide[V1] - sum(named)) / (15 - len(named))
    scores = {task: guide.get(task, others) for task in GUIDE_TASKS} | changed
    write(results, model, checkpoint, scores, recipe=recipe)


def rendered(results: Path) -> dict[str, str]:
    return render(results, EXPECTED)


def test_with_the_guide_s_values_the_tables_are_the_guide_s(tmp_path: Path) -> None:
    for checkpoint in ("base", "finetuned"):
        for model in MODELS:
            write_guide_entry(tmp_path, model, checkpoint)
    rows = guide_rows(rendered(tmp_path)["guide.md"])
    assert rows["150m", "measured", 0] == ["43.9", "18.7", "29.2", "62.1"]
    after = {model: rows[model, "measured", 1][:4] for model in MODELS}
    assert after == {  # as the guide prints them
        "150m": ["51.3 (+7.4)", "33.2 (+14.5)", "32.1 (+2.9)", "65.8 (+3.7)"],
        "400m": ["55.7 (+7.3)", "36.8 (+14.5)", "36.9 (+3.1)", "71.2 (+3.8)"],
        "1b": ["59.4 (+7.3)", "40.1 (+14.2)", "41.2 (+3.7)", "76.8 (+4.6)"],
    }
    for model, cells in after.items():
        assert rows[model, "expected", 1][:4] == cells
        assert rows[model, "verdict", 1][:4] == ["+0.0 reproduced"] * 4


def test_a_verdict_is_shown_with_its_difference(tmp_path: Path) -> None:
    write_guide_entry(tmp_path, "1b", "base", SciFact=0.112, NFCorpus=0.386)
    files = rendered(tmp_path)
    # The guide's 37.5 and 72.2, each within 1 point.
    assert guide_rows(files["guide.md"])["1b", "verdict", 0][2:] == ["+1.1 above", "-61.0 below"]
    found = [row for row in csv_rows(files["guide.csv"]) if row["measured"] == "0.112"]
    assert [(row["expected"], row["verdict"]) for row in found] == [("0.722", "below")]


def test_a_partial_average_is_shown_as_not_run(tmp_path: Path) -> None:
    write(tmp_path, "1b", "base", dict.fromkeys(("MSMARCO", "NFCorpus", "SciFact"), 0.5))
    rows = guide_rows(rendered(tmp_path)["guide.md"])
    assert rows["1b", "measured", 0] == ["not run (3 of 15 tasks)", "50.0", "50.0", "50.0"]
    assert rows["1b", "verdict", 0][0] == "not run"
    assert rows["150m", "measured", 0] == ["not run"] * 4


def test_the_average_of_the_paper_is_not_compared_with_that_of_the_guide(tmp_path: Path) -> None:
    write_guide_entry(tmp_path, "150m", "finetuned", recipe="paper")
    rows = guide_rows(rendered(tmp_path)["guide.md"])
    assert rows["150m", "expected", 1][4] == "45.7"
    assert rows["150m", "measured", 1][4] == "not run (4 of 10 tasks)"
    assert rows["150m", "verdict", 1][4] == "not run"


def test_models_are_in_order_of_size(tmp_path: Path) -> None:
    for model in ("other", "1b", "17m"):
        write(tmp_path, model, "base", {"SciFact": 0.5})
    first = rendered(tmp_path)["guide.md"].split("## Post")[0]
    models = re.findall(r"^\| (\w+) \| measured", first, re.M)
    assert models == ["17m", "150m", "400m", "1b", "other"]


def test_each_recipe_is_judged_by_its_own_columns(tmp_path: Path) -> None:
    write(tmp_path, "1b", "base", {"MSMARCO": 0.25})
    write(tmp_path, "1b", "finetuned", {"MSMARCO": 0.375}, recipe="guide")
    write(tmp_path, "1b", "finetuned", {"MSMARCO": 0.5}, recipe="paper")
    files = rendered(tmp_path)
    row = guide_rows(files["guide.md"])["1b", "measured", 1]
    assert (row[1], row[5]) == ("37.5 (+12.5)", "50.0 (+25.0)")
    found = {(r["recipe"], r["metric"]): r for r in csv_rows(files["guide.csv"]) if r["measured"]}
    assert found["guide", "mrr_at_10"]["measured"] == "0.375"
    assert found["paper", "ndcg_at_10"]["measured"] == "0.5"
    assert "Guide" in found["guide", "mrr_at_10"]["source"]
    assert "Ettin paper" in found["paper", "ndcg_at_10"]["source"]


def test_several_seeds_are_shown_with_their_number_and_deviation(tmp_path: Path) -> None:
    for seed, score in ((1, 0.4), (2, 0.5)):
        write(tmp_path, "1b", "base", {"MSMARCO": 0.25}, seed=seed)
        write(tmp_path, "1b", "finetuned", {"MSMARCO": score}, seed=seed)
    write(tmp_path, "1b", "finetuned", {"NFCorpus": 0.5}, seed=3)
    row = guide_rows(rendered(tmp_path)["guide.md"])["1b", "measured", 1]
    assert row[1:3] == ["45.0 ± 7.1 (+20.0), 2 of 3 seeds", "50.0, 1 of 3 seeds"]


def test_bm25_is_in_both_tables_without_an_improvement(tmp_path: Path) -> None:
    scores: dict[str, Any] = dict.fromkeys(GUIDE_TASKS, 0.4) | {"MSMARCO": 0.1}
    write(tmp_path, "bm25", "base", scores, seed=0)
    rows = guide_rows(rendered(tmp_path)["guide.md"])
    for table in (0, 1):
        assert rows["bm25", "measured", table][:4] == ["38.0", "10.0", "40.0", "40.0"]


def test_an_empty_ledger_gives_tables_of_not_run(tmp_path: Path) -> None:
    rows = guide_rows(rendered(tmp_path)["guide.md"])
    assert rows["1b", "measured", 1] == ["not run"] * 6


def test_the_notes_check_the_guide_s_arithmetic(tmp_path: Path) -> None:
    notes = "\n".join(guide_notes(read_references(EXPECTED)))
    assert "All 12 improvements that the guide prints equal the difference" in notes
    assert "150m before fine-tuning, 43.9, is what the paper reports for modernbert-base" in notes
    assert "400m before fine-tuning, 48.4, is what the paper reports for 400m after" in notes
    assert "150m 51.3 and 45.7" in notes
    assert "BM25's published scores, and the guide's figures before fine-tuning that are" in notes
    for path in EXPECTED.glob("*.yaml"):
        text = path.read_text().replace("improvement: 2.9", "improvement: 3.9")
        (tmp_path / path.name).write_text(text)
    notes = "\n".join(guide_notes(read_references(tmp_path)))
    assert "150m NFCorpus: printed +3.9, tables give +2.9" in notes


@pytest.mark.parametrize("name", ["md", "tex"])
def test_the_notes_are_under_the_tables(tmp_path: Path, name: str) -> None:
    assert (
        "After fine-tuning, guide and paper: 150m 51.3 and 45.7"
        in rendered(tmp_path)[f"guide.{name}"]
    )
