"""The table of the offline world."""

from __future__ import annotations

from pathlib import Path

from ettin_retrieval.reports.tables.write import render
from ettin_retrieval.reports.verify import record
from tests.ledgers import tiny_ledger, write
from tests.unit.reports.tables.cells import csv_rows, row_of


def test_verdicts_are_against_the_recorded_scores_at_full_precision(tmp_path: Path) -> None:
    results, expected = tiny_ledger(tmp_path)
    record(results, expected)
    entry = results / "tiny/finetuned-guide-seed42.json"
    entry.write_text(entry.read_text().replace("0.625", "0.62501"))
    text = render(results, expected)["tiny.md"]
    assert "| TinyMSMARCO | MRR@10 | 25.0 | 50.0 (+25.0) | 25.0 | 50.0 | reproduced" in text
    assert row_of(text, "TinySciFact")[1:] == [
        "nDCG@10", "25.0", "62.5 (+37.5)", "25.0", "62.5", "reproduced", "above", "--",
    ]  # fmt: skip


def test_a_task_that_was_not_run_is_in_the_table_once_it_is_recorded(tmp_path: Path) -> None:
    results, expected = tiny_ledger(tmp_path)
    text = render(results, expected)["tiny.md"]
    assert "TinyDBPedia" not in text
    assert row_of(text, "TinySciFact")[4:8] == ["--", "--", "not recorded", "not recorded"]
    record(results, expected)
    text = render(results, expected)["tiny.md"]
    assert row_of(text, "TinyDBPedia")[2:4] == ["not run", "not run"]
    assert row_of(text, "Average")[2:4] == ["not run (2 of 4 tasks)"] * 2


def test_each_recipe_has_a_table_and_the_base_is_recorded_once(tmp_path: Path) -> None:
    results, expected = tiny_ledger(tmp_path)
    write(results, "tiny", "finetuned", {"TinySciFact": [0, 0, 1, 1]}, recipe="paper")
    files = render(results, expected)
    assert [line for line in files["tiny.md"].splitlines() if line.startswith("## M")] == [
        "## Model tiny, recipe guide, seed 42", "## Model tiny, recipe paper, seed 42",
    ]  # fmt: skip
    rows = csv_rows(files["tiny.csv"])
    keys = [(r["checkpoint"], r["recipe"], r["task"], r["metric"]) for r in rows]
    assert len(keys) == len(set(keys)) == 9


def test_bm25_is_in_the_last_column(tmp_path: Path) -> None:
    results, expected = tiny_ledger(tmp_path)
    write(results, "bm25", "base", {"TinySciFact": 0.4}, seed=0)
    files = render(results, expected)
    assert row_of(files["tiny.md"], "TinySciFact")[-1] == "40.0"
    bm25 = [row for row in csv_rows(files["tiny.csv"]) if row["model"] == "bm25"]
    assert [(row["task"], row["measured"]) for row in bm25] == [("TinySciFact", "0.4")]
