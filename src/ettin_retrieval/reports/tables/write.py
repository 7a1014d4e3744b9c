"""TODO: reports.tables.write."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from ettin_retrieval.ledger.store import index_problem, read_ledger
from ettin_retrieval.reports.documents import FORMATS, Document
from ettin_retrieval.reports.references import read_references
from ettin_retrieval.reports.tables.guide import guide_document
from ettin_retrieval.reports.tables.layout import Ledger
from ettin_retrieval.reports.tables.published import published_document
from ettin_retrieval.reports.tables.significance import significance_document
from ettin_retrieval.reports.tables.tasks import tasks_document
from ettin_retrieval.reports.tables.tiny import tiny_document
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.runtime.files import replacing

DOCUMENTS: tuple[Callable[[Ledger], Document], ...] = (
    guide_document,
    tiny_document,
    tasks_document,
    significance_document,
    published_document,
)


def render(results: Path, expected: Path) -> dict[str, str]:
    """File name to content, of every table in every format."""
    ledger = Ledger(results, read_ledger(results), read_references(expected))
    documents = [make(ledger) for make in DOCUMENTS]
    return {
        f"{document.name}.{suffix}": form(document)
        for document in documents
        for suffix, form in FORMATS.items()
    }


def write_tables(results: Path, expected: Path, directory: Path) -> int:
    """Write the tables, and nothing else, to a directory; return how many files there are."""
    files = render(results, expected)
    with replacing(directory) as partial:
        for name, text in files.items():
            (partial / name).write_bytes(text.encode())
    return len(files)


def check_tables(results: Path, expected: Path, directory: Path) -> str | None:
    """Say which table is not what the ledger gives, and in which line; None where all are.

    The index is looked at first: where it is stale, `dvc repro tables` sees nothing to do.
    """
    if problem := index_problem(results):
        return problem
    files = render(results, expected)
    for name, text in files.items():
        path = directory / name
        if not path.is_file():
            return f"{path}: missing; run `dvc repro tables`"
        if path.read_bytes() != text.encode():
            there = path.read_bytes().decode(errors="replace").split("\n")
            wanted = text.split("\n")
            same = [a == b for a, b in zip(there, wanted, strict=False)]
            line = (same.index(False) if False in same else len(same)) + 1
            return f"{path}:{line}: not what the ledger gives; run `dvc repro tables`"
    extra = sorted(p.name for p in directory.iterdir() if p.name not in files)
    if extra:
        return f"{directory / extra[0]}: no table of the ledger; delete it"
    return None


def main(arguments: list[str] | None = None) -> int:
    """Entry point of `python -m ettin_retrieval.tables`."""
    parser = argparse.ArgumentParser(prog="python -m ettin_retrieval.tables")
    parser.add_argument("--results", type=Path, default=Path("results"), metavar="PATH")
    parser.add_argument("--expected", type=Path, default=Path("expected"), metavar="PATH")
    parser.add_argument("--tables", type=Path, default=Path("tables"), metavar="PATH")
    parser.add_argument("--check", action="store_true", help="write nothing; fail on a difference")
    given = parser.parse_args(arguments)
    try:
        if given.check:
            wrong = check_tables(given.results, given.expected, given.tables)
            print(wrong or f"{given.tables}: every table is what the ledger gives")
            return 1 if wrong else 0
        print(f"{given.tables}: {write_tables(given.results, given.expected, given.tables)} files")
    except InputError as error:
        sys.exit(f"error: {error}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
