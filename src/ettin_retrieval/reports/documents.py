"""Tables as text in four formats: Markdown, LaTeX (booktabs), CSV and JSON."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from typing import Any

import jinja2
import pandas as pd

NONE = "--"
"""A cell without a value: no expected score, no interval."""

LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
        "<": r"\textless{}", ">": r"\textgreater{}", "±": r"$\pm$", "≤": r"$\le$",
        "`": r"\textquotesingle{}",
    } | {character: "\\" + character for character in "&%$#_{}"}
)  # fmt: skip
"""Characters that mean something to LaTeX, and what stands for them."""


@dataclass(frozen=True)
class Table:
    """Cells as text, ready to be laid out."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    labels: int = 1  # leading columns of words; the others are numbers, aligned to the right


@dataclass(frozen=True)
class Document:
    """Tables under one title, notes to read them by, and their numbers at full precision."""

    name: str
    title: str
    tables: tuple[Table, ...]
    records: tuple[dict[str, Any], ...]  # one per number, the rows of the CSV; scores are fractions
    fields: tuple[str, ...]  # keys of the records that are written, in order
    notes: tuple[str, ...] = ()
    signature: str = "Made from results/ and expected/ by `dvc repro tables`; edit those instead."

    def label(self, table: Table) -> str:
        """A table's LaTeX label: letters, digits and hyphens.

        >>> table = Table("Model tiny, recipe guide, 1 seed", (), ())
        >>> Document("tasks", "", (table,), (), ()).label(table)
        'tab:tasks:model-tiny-recipe-guide-1-seed'
        """
        words = re.sub(r"[^a-z0-9]+", "-", table.caption.lower()).strip("-")
        return f"tab:{self.name}:{words}"


def points(score: float | None) -> str:
    """A fraction in points, one decimal.

    >>> points(0.5134), points(None)
    ('51.3', '--')
    """
    return NONE if score is None else f"{score * 100:.1f}"


def signed(difference: float | None) -> str:
    """A difference of fractions in points, with its sign; never a negative zero.

    >>> signed(0.0744), signed(-0.032), signed(-0.0001), signed(None)
    ('+7.4', '-3.2', '+0.0', '--')
    """
    return NONE if difference is None else f"{difference * 100:+z.1f}"


def improved(score: float, base: float | None) -> str:
    """A score with the improvement over base in parentheses, as the guide prints it.

    >>> improved(0.513, 0.439)
    '51.3 (+7.4)'
    """
    return points(score) if base is None else f"{points(score)} ({signed(score - base)})"


def p_text(value: float | None, at_floor: bool = False) -> str:
    """A p-value; the lowest that the test can give is a bound.

    >>> p_text(0.0321), p_text(0.0001, at_floor=True), p_text(None)
    ('0.0321', '≤0.0001', '--')
    """
    if value is None:
        return NONE
    return f"≤{value:.4f}" if at_floor else f"{value:.4f}"


def escaped(text: str) -> str:
    r"""Text in which LaTeX finds no command.

    >>> print(escaped("95% of ndcg_at_10 & p < 0.05"))
    95\% of ndcg\_at\_10 \& p \textless{} 0.05
    """
    # Code spans are Markdown's; LaTeX prints them upright.
    text = re.sub(r"`([^`]*)`", r"\1", text)
    # A minus sign instead of the hyphen before a number.
    text = re.sub(r"(?<![\w.\]])-(?=\d)", "$-$", text.translate(LATEX))
    # After a row break or an \item, a leading [ would begin an optional argument.
    return f"{{{text}}}" if text.startswith("[") else text


@cache
def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ettin_retrieval.reports"),
        # LaTeX is full of braces and percent signs.
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="<<",
        variable_end_string=">>",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["cell"] = lambda text: text.replace("|", "\\|")
    environment.filters |= {"tex": escaped, "points": points}
    return environment.get_template(name)


def notes(document: str, **values: Any) -> tuple[str, ...]:
    """The notes of a document: the lines of its template."""
    return tuple(_template(f"notes/{document}.j2").render(**values).splitlines())


def markdown(document: Document) -> str:
    """GitHub's Markdown."""
    return _template("document.md.j2").render(document=document)


def latex(document: Document) -> str:
    """LaTeX tables with booktabs, to be input by a document."""
    return _template("document.tex.j2").render(document=document)


def csv_text(document: Document) -> str:
    """One line per number, at full precision."""
    frame = pd.DataFrame(document.records, columns=list(document.fields), dtype=object)
    return str(frame.to_csv(index=False, lineterminator="\n"))


def json_text(document: Document) -> str:
    """Title, notes and one mapping per number, at full precision."""
    content = {
        "title": document.title,
        "rows": [{name: record[name] for name in document.fields} for record in document.records],
        "notes": list(document.notes),
    }
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


FORMATS = {"md": markdown, "tex": latex, "csv": csv_text, "json": json_text}
"""File suffix to what writes a document in that format."""
