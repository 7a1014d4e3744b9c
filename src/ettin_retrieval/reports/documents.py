"""Tables as text in four formats: Markdown, LaTeX (booktabs), CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_SIGNATURE = "Made from results/ and expected/ by `dvc repro tables`; edit those instead."

Record = dict[str, Any]


@dataclass(frozen=True)
class Table:
    """Cells as text, ready to be laid out."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    labels: int = 1
    """How many leading columns are words; the others are numbers, set to the right."""


@dataclass(frozen=True)
class Document:
    """Tables under one title, the facts to read them by, and their numbers at full precision.

    Attributes
    ----------
    records
        One flat mapping per number, all with the same keys: the CSV's rows. Scores are fractions.
    signature
        What makes the document, for those who would edit it.
    """

    name: str
    title: str
    tables: tuple[Table, ...]
    records: tuple[Record, ...]
    fields: tuple[str, ...]
    notes: tuple[str, ...] = ()
    signature: str = _SIGNATURE


def points(score: float) -> str:
    """A fraction in points, one decimal.

    >>> points(0.5134)
    '51.3'
    """
    return f"{score * 100:.1f}"


def signed(difference: float) -> str:
    """A difference of fractions in points, with its sign; never a negative zero.

    >>> signed(0.0744), signed(-0.032), signed(-0.0001)
    ('+7.4', '-3.2', '+0.0')
    """
    text = f"{difference * 100:+.1f}"
    return "+0.0" if text == "-0.0" else text


def improved(score: float, base: float | None) -> str:
    """A score and, where the base score is known, the improvement over it, as the guide prints it.

    >>> improved(0.513, 0.439)
    '51.3 (+7.4)'
    """
    return points(score) if base is None else f"{points(score)} ({signed(score - base)})"


def p_text(value: float | None, at_floor: bool = False) -> str:
    """A p-value; one that the test could not have given lower is a bound.

    >>> p_text(0.0321), p_text(0.0001, at_floor=True), p_text(None)
    ('0.0321', '≤0.0001', '--')
    """
    if value is None:
        return "--"
    return f"≤{value:.4f}" if at_floor else f"{value:.4f}"


def markdown(document: Document) -> str:
    """GitHub's Markdown."""
    parts = [f"# {document.title}"]
    for table in document.tables:
        align = [":--" if i < table.labels else "--:" for i in range(len(table.columns))]
        rows = [table.columns, tuple(align), *table.rows]
        lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
        parts += [f"## {table.caption}", "\n".join(lines)]
    if not document.tables:
        parts.append("The ledger holds nothing for this table yet.")
    if document.notes:
        parts += ["## Notes", "\n".join(f"- {note}" for note in document.notes)]
    return "\n\n".join([*parts, f"<!-- {document.signature} -->"]) + "\n"


def latex(document: Document) -> str:
    """LaTeX tables with booktabs, to be input by a document."""
    parts = [f"% {document.signature} Needs the packages booktabs and graphicx."]
    for table in document.tables:
        columns = "l" * table.labels + "r" * (len(table.columns) - table.labels)
        lines = [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escaped(document.title)}. {escaped(table.caption)}.}}",
            rf"\label{{{label(document, table)}}}",
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            _latex_row(table.columns),
            r"\midrule",
            *map(_latex_row, table.rows),
            r"\bottomrule",
            r"\end{tabular}}",
            r"\end{table}",
        ]
        parts.append("\n".join(lines))
    if document.notes:
        items = [rf"\item {escaped(note)}" for note in document.notes]
        parts.append("\n".join([r"\begin{itemize}", *items, r"\end{itemize}"]))
    return "\n\n".join(parts) + "\n"


def label(document: Document, table: Table) -> str:
    r"""A table's name to refer to, of letters and digits that no LaTeX command is made of.

    >>> table = Table("Model tiny, recipe guide, 1 seed", (), ())
    >>> label(Document("tasks", "", (table,), (), ()), table)
    'tab:tasks:model-tiny-recipe-guide-1-seed'
    """
    words = re.sub(r"[^a-z0-9]+", "-", table.caption.lower()).strip("-")
    return f"tab:{document.name}:{words}"


def escaped(text: str) -> str:
    r"""Text with what LaTeX would take for commands made harmless.

    >>> print(escaped("95% of ndcg_at_10 & p < 0.05"))
    95\% of ndcg\_at\_10 \& p \textless{} 0.05
    """
    special = {
        "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
        "<": r"\textless{}", ">": r"\textgreater{}", "±": r"$\pm$", "≤": r"$\le$",
        "`": r"\textquotesingle{}",
    } | {c: "\\" + c for c in "&%$#_{}"}  # fmt: skip
    # Code spans are Markdown's; here they are upright.
    text = re.sub(r"`([^`]*)`", r"\1", text)
    text = "".join(special.get(character, character) for character in text)
    # A minus sign, where a hyphen stands before a number.
    return re.sub(r"(?<![\w.\]])-(?=\d)", "$-$", text)


def _latex_row(cells: tuple[str, ...]) -> str:
    # A leading [ would be taken for the optional argument of the row break before it.
    texts = [escaped(cell) for cell in cells]
    return " & ".join(f"{{{text}}}" if text.startswith("[") else text for text in texts) + r" \\"


def csv_text(document: Document) -> str:
    """One line a number, at full precision."""
    out = io.StringIO()
    writer = csv.DictWriter(out, document.fields, lineterminator="\n")
    writer.writeheader()
    writer.writerows(document.records)
    return out.getvalue()


def json_text(document: Document) -> str:
    """Title, notes and one mapping a number, at full precision."""
    content = {
        "title": document.title,
        "rows": [{name: record[name] for name in document.fields} for record in document.records],
        "notes": list(document.notes),
    }
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


FORMATS: dict[str, Callable[[Document], str]] = {
    "md": markdown,
    "tex": latex,
    "csv": csv_text,
    "json": json_text,
}
