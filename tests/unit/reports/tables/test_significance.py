"""The table of fine-tuned against base."""

from __future__ import annotations

from pathlib import Path

from ettin_retrieval.reports.tables.write import render
from ettin_retrieval.tasks import TINY_TASKS
from tests.ledgers import EXPECTED, tiny_ledger, write
from tests.unit.reports.tables.cells import csv_rows, row_of


def test_scores_are_paired_by_query(tmp_path: Path) -> None:
    files = render(*tiny_ledger(tmp_path))
    rows = {row["task"]: row for row in csv_rows(files["significance.csv"])}
    # Four queries: 0, 0, 0, 1 against 0, 0.5, 1, 1; two differ, so every sign has p >= 1/2.
    scifact = rows["TinySciFact"]
    assert (scifact["wins"], scifact["losses"], scifact["ties"]) == ("2", "0", "2")
    assert (scifact["difference"], scifact["p_value"]) == ("0.375", "0.5")
    # Tasks of no benchmark have no average.
    assert list(rows) == ["TinyMSMARCO", "TinySciFact"]
    assert {row["holm_tasks"] for row in rows.values()} == {"2"}
    assert "one value (tiny by guide, 2 tasks)" in files["significance.md"]
    assert row_of(files["significance.md"], "TinySciFact")[-1] == "2/0/2"
    assert "tasks of no benchmark: fine-tuned minus base, nDCG@10" in files["significance.md"]


def test_each_recipe_is_compared_with_its_base_over_its_seeds(tmp_path: Path) -> None:
    write(tmp_path, "1b", "base", {"MSMARCO": [0.25, 0.5]})
    for recipe in ("guide", "paper"):
        write(tmp_path, "1b", "finetuned", {"MSMARCO": [0.375, 0.5]}, recipe=recipe)
    write(tmp_path, "1b", "finetuned", {"MSMARCO": [0.375, 0.5]}, seed=7)
    files = render(tmp_path, EXPECTED)
    rows = csv_rows(files["significance.csv"])
    assert [(r["recipe"], r["model"], r["seeds"]) for r in rows] == [
        ("guide", "1b", "7, 42"), ("paper", "1b", "42"),
    ]  # fmt: skip
    assert "Model 1b, recipe guide, seeds 7, 42, 1 of 15 tasks" in files["significance.md"]
    assert (
        "1b/finetuned-paper has one seed (42): seed noise is in no interval"
        in (files["significance.md"])
    )


def test_a_whole_benchmark_has_its_average_and_no_value_of_the_holm_family(tmp_path: Path) -> None:
    write(tmp_path, "tiny", "base", {t: [0.25, 0.5, 0.5] for t in TINY_TASKS})
    write(tmp_path, "tiny", "finetuned", {t: [0.75, 0.5, 0.75] for t in TINY_TASKS})
    rows = {r["task"]: r for r in csv_rows(render(tmp_path, EXPECTED)["significance.csv"])}
    assert list(rows) == [*TINY_TASKS, "Average"]
    assert (rows["Average"]["holm_p_value"], rows["Average"]["holm_tasks"]) == ("", "")
    assert rows["TinySciFact"]["holm_tasks"] == "4"


def test_only_common_tasks_are_compared_and_the_caption_says_how_many(tmp_path: Path) -> None:
    write(tmp_path, "1b", "base", {"NQ": 0.25, "FEVER": 0.5, "SciFact": 0.5})
    write(tmp_path, "1b", "finetuned", {"NQ": 0.5, "FEVER": 0.5, "own": 0.5})
    files = render(tmp_path, EXPECTED)
    assert [row["task"] for row in csv_rows(files["significance.csv"])] == ["FEVER", "NQ"]
    assert "seed 42, 2 of 15 tasks of MTEB(eng, v1): fine-tuned" in files["significance.md"]


def test_without_a_common_task_there_is_nothing_to_compare(tmp_path: Path) -> None:
    write(tmp_path, "1b", "base", {"NQ": 0.25})
    write(tmp_path, "1b", "finetuned", {"FEVER": 0.5})
    assert csv_rows(render(tmp_path, EXPECTED)["significance.csv"]) == []
