"""The tables, from the ledger and the expected scores alone, byte for byte the same each time.

Five documents, each as Markdown, LaTeX (booktabs), CSV and JSON:

- `guide`: the guide's two tables, before and after fine-tuning, and the paper's column beside them
- `embedded`: the embedded default against this repository's recorded scores
- `tasks`: every score in the ledger
- `significance`: fine-tuned against base, paired by query
- `published`: what known models score, for orientation

    python -m ettin_retrieval.tables --check    # fail where a committed table differs
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ettin_retrieval.reports.documents import Document, Record, Table, improved, signed
from ettin_retrieval.reports.measure import Measured, judge
from ettin_retrieval.reports.references import Expected
from ettin_retrieval.reports.tables.guide_notes import (
    GUIDE_COLUMNS,
    PAPER_COLUMNS,
    SIZES,
    guide_notes,
)
from ettin_retrieval.reports.tables.layout import (
    BM25,
    NONE,
    Ledger,
    mean_text,
    models_in_order,
    not_run,
    seeds_text,
)


@dataclass(frozen=True)
class Cell:
    """One model's score in one column: measured, expected, and the base checkpoint's of both."""

    column: str
    reference: str
    wanted: Expected
    measured: Measured
    base: Measured
    expected: Expected | None

    @property
    def measured_text(self) -> str:
        """The measured score with its improvement, and how it varies over seeds."""
        if self.measured.value is None:
            return not_run(self.measured)
        improvement = (
            ""
            if self.base.value is None
            else (f" ({signed(self.measured.value - self.base.value)})")
        )
        return f"{mean_text(self.measured)}{improvement}{seeds_text(self.measured)}"

    @property
    def expected_text(self) -> str:
        """The expected score with the improvement that the reference prints."""
        if self.expected is None:
            return NONE
        score, improvement = self.expected.value, self.expected.improvement
        return improved(score, None if improvement is None else score - improvement)

    @property
    def verdict_text(self) -> str:
        """The verdict, after the difference that it judges."""
        if self.expected is None:
            return NONE
        verdict = judge(self.measured.value, self.expected)
        if self.measured.value is None:
            return verdict
        return f"{signed(self.measured.value - self.expected.value)} {verdict}"

    def record(self) -> Record:
        """The cell at full precision."""
        value, expected = self.measured.value, self.expected
        return {
            "model": self.wanted.model,
            "checkpoint": self.wanted.checkpoint,
            "recipe": self.wanted.recipe,
            "task": self.wanted.task,
            "split": self.wanted.split,
            "metric": self.wanted.metric,
            "measured": value,
            "seeds": self.measured.seeds,
            "partial_seeds": self.measured.partial,
            "deviation": self.measured.deviation,
            "reason": self.measured.reason or None,
            "improvement": None
            if value is None or self.base.value is None
            else value - self.base.value,
            "reference": self.reference,
            "source": expected.source if expected else None,
            "expected": expected.value if expected else None,
            "expected_seeds": expected.seeds if expected else None,
            "tolerance": expected.tolerance if expected else None,
            "difference": value - expected.value if expected and value is not None else None,
            "verdict": judge(value, expected) if expected else None,
        }


CELL_FIELDS = (
    "model", "checkpoint", "recipe", "task", "split", "metric", "measured", "seeds",
    "partial_seeds", "deviation", "reason", "improvement", "reference", "source", "expected",
    "expected_seeds", "tolerance", "difference", "verdict",
)  # fmt: skip


def guide_document(ledger: Ledger) -> Document:
    """The guide's two tables, regenerated, with the paper's column beside the second."""
    before = _cells(ledger, "base", [("guide", GUIDE_COLUMNS)])
    after = _cells(ledger, "finetuned", [("guide", GUIDE_COLUMNS), ("paper", PAPER_COLUMNS)])
    tables = (
        _guide_table("Pre-fine-tuning baselines", before),
        _guide_table("Post-fine-tuning performance (improvement over base in parentheses)", after),
    )
    cells = [cell for rows in (before, after) for row in rows.values() for cell in row]
    return Document(
        name="guide",
        title="Expected performance: measured against the guide and the paper",
        tables=tables,
        records=tuple(cell.record() for cell in cells),
        fields=CELL_FIELDS,
        notes=guide_notes(ledger.references),
    )


def _cells(
    ledger: Ledger,
    checkpoint: str,
    groups: list[tuple[str, tuple[tuple[str, str, str | None, str], ...]]],
) -> dict[str, list[Cell]]:
    """Cells by model, of every model with a measured or an expected score among the columns."""
    rows = {}
    references = {"guide": ledger.references.guide, "paper": ledger.references.paper}
    # The paper's other encoders are not run here; they are in the table of published scores.
    named = [v.model for values in references.values() for v in values if v.model in SIZES]
    for model in models_in_order([*named, *(entry.model for entry in ledger.entries)]):
        row = [
            _cell(ledger, Expected(model, checkpoint, task, split, metric, 0.0, 1.0, "", None),
                  column, reference, {value.key: value for value in references[reference]})
            for reference, columns in groups
            for column, task, split, metric in columns
        ]  # fmt: skip
        if any(cell.expected or cell.measured.value is not None for cell in row):
            rows[model] = row
    return rows


def _cell(
    ledger: Ledger,
    wanted: Expected,
    column: str,
    reference: str,
    known: dict[tuple[str, str, str, str | None, str, int | None], Expected],
) -> Cell:
    """A model's score in a column: fine-tuned checkpoints by the reference's own recipe."""
    base = Measured(None)
    if wanted.model == BM25:  # is not trained: it stands beside both checkpoints as it is
        wanted = replace(wanted, checkpoint="base")
    elif wanted.checkpoint == "finetuned":
        base = ledger.measured(replace(wanted, checkpoint="base"))
        wanted = replace(wanted, recipe=reference)
    return Cell(column, reference, wanted, ledger.measured(wanted), base, known.get(wanted.key))


def _guide_table(caption: str, cells: dict[str, list[Cell]]) -> Table:
    """Three rows a model: measured, expected, verdict; one where nothing is expected."""
    rows: list[tuple[str, ...]] = []
    for model, row in cells.items():
        rows.append((model, "measured", *(cell.measured_text for cell in row)))
        if any(cell.expected for cell in row):
            rows.append(("", "expected", *(cell.expected_text for cell in row)))
            rows.append(("", "verdict", *(cell.verdict_text for cell in row)))
    columns = next(iter(cells.values()), [])
    return Table(caption, ("Model", "", *(cell.column for cell in columns)), tuple(rows), labels=2)
