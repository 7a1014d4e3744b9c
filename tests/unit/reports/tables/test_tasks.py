"""The table of every score in the ledger."""

from __future__ import annotations

import json
from pathlib import Path

from ettin_retrieval.reports.tables.write import render
from tests.ledgers import EXPECTED, write
from tests.unit.reports.tables.cells import csv_rows, row_of


def test_scores_of_several_seeds_have_a_mean_and_a_deviation(tmp_path: Path) -> None:
    for seed, score in ((1, 0.6), (2, 0.8)):
        write(tmp_path, "17m", "base", {"SciFact": score}, seed=seed)
    files = render(tmp_path, EXPECTED)
    assert "| SciFact | test | 70.0 ± 14.1 | not run | -- |" in files["tasks.md"]
    assert "## Model 17m, 2 seeds" in files["tasks.md"]
    assert r"70.0 $\pm$ 14.1" in files["tasks.tex"]


def test_each_recipe_has_a_table_and_each_score_one_line(tmp_path: Path) -> None:
    write(tmp_path, "1b", "base", {"MSMARCO": 0.25})
    write(tmp_path, "1b", "finetuned", {"MSMARCO": 0.375}, recipe="guide")
    write(tmp_path, "1b", "finetuned", {"MSMARCO": 0.5}, recipe="paper")
    files = render(tmp_path, EXPECTED)
    assert "| MSMARCO | dev | 25.0 | 37.5 | +12.5 |" in files["tasks.md"]
    assert "| MSMARCO | dev | 25.0 | 50.0 | +25.0 |" in files["tasks.md"]
    rows = csv_rows(files["tasks.csv"])
    keys = [(r["checkpoint"], r["recipe"], r["metric"]) for r in rows]
    assert len(keys) == len(set(keys)) == 6
    assert {r["queries"] for r in rows} == {"2"}


def test_the_number_of_queries_is_that_of_the_task_and_not_of_another(tmp_path: Path) -> None:
    write(tmp_path, "1b", "base", {"CQADupstackUnixRetrieval": 0.5})
    write(tmp_path, "1b", "finetuned", {"NQ": [0.5, 0.25, 0.75]})
    queries = {r["task"]: r["queries"] for r in csv_rows(render(tmp_path, EXPECTED)["tasks.csv"])}
    assert queries == {"CQADupstackUnixRetrieval": "2", "NQ": "3"}


def test_bm25_has_one_column_per_metric(tmp_path: Path) -> None:
    write(tmp_path, "bm25", "base", {"NQ": 0.5}, seed=0)
    assert row_of(render(tmp_path, EXPECTED)["tasks.md"], "NQ") == ["NQ", "test", "50.0", "50.0"]


def test_an_empty_ledger_is_said_to_be_empty(tmp_path: Path) -> None:
    files = render(tmp_path, EXPECTED)
    assert "holds nothing for this table yet" in files["tasks.md"]
    assert json.loads(files["tasks.json"])["rows"] == []
