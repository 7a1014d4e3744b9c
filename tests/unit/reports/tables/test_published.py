"""The table of published scores."""

from __future__ import annotations

from pathlib import Path

from ettin_retrieval.reports.tables.write import render
from tests.ledgers import EXPECTED
from tests.unit.reports.tables.cells import csv_rows, row_of


def test_published_scores_name_the_data_that_they_were_measured_on(tmp_path: Path) -> None:
    files = render(tmp_path, EXPECTED)
    rows = csv_rows(files["published.csv"])
    [scifact] = [r for r in rows if (r["model"], r["task"]) == ("mteb/baseline-bm25s", "SciFact")]
    assert scifact["dataset_revision"] == "0228b52cf27578f30900b9e5271d331663a030d7"
    assert row_of(files["published.md"], "mteb/baseline-bm25s")[1] == "39.8"


def test_the_paper_s_other_encoders_are_in_the_table_and_its_ettin_encoders_are_not(
    tmp_path: Path,
) -> None:
    files = render(tmp_path, EXPECTED)
    models = {row["model"] for row in csv_rows(files["published.csv"])}
    assert "modernbert-base" in models
    assert not {"17m", "150m", "1b"} & models
    assert "- Source of " in files["published.md"]
