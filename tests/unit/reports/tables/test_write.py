"""Writing the tables, and finding one that is not what the ledger gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from ettin_retrieval.reports.tables.write import render, table_problem, write_tables
from tests.ledgers import tiny_ledger


@pytest.fixture
def paths(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A ledger, references, and the tables made from them."""
    results, expected = tiny_ledger(tmp_path)
    assert write_tables(results, expected, tmp_path / "tables") == 20
    return results, expected, tmp_path / "tables"


def test_every_document_is_written_in_every_format(paths: tuple[Path, Path, Path]) -> None:
    files = render(*paths[:2])
    assert set(files) == {
        f"{name}.{suffix}"
        for name in ("guide", "tiny", "tasks", "significance", "published")
        for suffix in ("md", "tex", "csv", "json")
    }
    assert {path.name: path.read_bytes() for path in paths[2].iterdir()} == {
        name: text.encode() for name, text in files.items()
    }
    assert not any("\r" in text for text in files.values())


def test_writing_replaces_what_the_directory_held(paths: tuple[Path, Path, Path]) -> None:
    (paths[2] / "old.md").touch()
    write_tables(*paths)
    assert not (paths[2] / "old.md").exists()


def test_an_edited_digit_a_missing_file_and_a_foreign_one_are_found(
    paths: tuple[Path, Path, Path],
) -> None:
    assert table_problem(*paths) is None
    path = paths[2] / "tiny.md"
    honest = path.read_text()
    line = 1 + [row.startswith("| TinySciFact") for row in honest.splitlines()].index(True)
    path.write_text(honest.replace("62.5 (+37.5)", "63.5 (+37.5)"))
    assert str(table_problem(*paths)).startswith(f"{path}:{line}: not what the ledger gives")
    path.write_text(honest + "\n")
    end = len(honest.splitlines()) + 2
    assert str(table_problem(*paths)).startswith(f"{path}:{end}: not what the ledger gives")
    path.unlink()
    assert str(table_problem(*paths)).startswith(f"{path}: missing; run `dvc repro tables`")
    path.write_text(honest)
    (paths[2] / "old.md").touch()
    assert "old.md: not a table of the ledger; delete it" in str(table_problem(*paths))
