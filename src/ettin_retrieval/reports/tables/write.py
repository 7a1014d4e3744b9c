"""Every document in every format, byte for byte the same each time."""

from __future__ import annotations

from pathlib import Path

from ettin_retrieval.reports.documents import FORMATS
from ettin_retrieval.reports.tables.guide import guide_document
from ettin_retrieval.reports.tables.published import published_document
from ettin_retrieval.reports.tables.significance import significance_document
from ettin_retrieval.reports.tables.tasks import tasks_document
from ettin_retrieval.reports.tables.tiny import tiny_document
from ettin_retrieval.reports.view import View
from ettin_retrieval.runtime.files import replacing

DOCUMENTS = (
    guide_document, tiny_document, tasks_document, significance_document, published_document,
)  # fmt: skip


def render(results: Path, expected: Path) -> dict[str, str]:
    """File name to content, of every table in every format."""
    view = View.read(results, expected)
    return {
        f"{document.name}.{suffix}": form(document)
        for document in (make(view) for make in DOCUMENTS)
        for suffix, form in FORMATS.items()
    }


def write_tables(results: Path, expected: Path, directory: Path) -> int:
    """Write the tables, and nothing else, to a directory; return the number of files."""
    files = render(results, expected)
    with replacing(directory) as partial:
        for name, text in files.items():
            (partial / name).write_bytes(text.encode())
    return len(files)


def table_problem(results: Path, expected: Path, directory: Path) -> str | None:
    """The first table that differs from what the ledger gives, and in which line; None if none."""
    files = render(results, expected)
    for name, text in files.items():
        path = directory / name
        if not path.is_file():
            return f"{path}: missing; run `dvc repro tables`"
        if path.read_bytes() != text.encode():
            found, wanted = path.read_bytes().decode(errors="replace").split("\n"), text.split("\n")
            same = [a == b for a, b in zip(found, wanted, strict=False)]
            line = (same.index(False) if False in same else len(same)) + 1
            return f"{path}:{line}: not what the ledger gives; run `dvc repro tables`"
    extra = sorted(path.name for path in directory.iterdir() if path.name not in files)
    if extra:
        return f"{directory / extra[0]}: not a table of the ledger; delete it"
    return None
