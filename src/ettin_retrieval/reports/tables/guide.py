"""The guide's two tables, before and after fine-tuning, with the paper's columns beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from ettin_retrieval.ledger.table import Key, Measured
from ettin_retrieval.reports.documents import NONE, Document, Table, improved, signed
from ettin_retrieval.reports.references import Expected, judge
from ettin_retrieval.reports.tables.guide_notes import V1, V2, guide_notes
from ettin_retrieval.reports.view import (
    BM25,
    SIZES,
    View,
    counted,
    mean_text,
    models_in_order,
    not_run,
)


class Column(NamedTuple):
    """A column of the guide's or the paper's table; `reference` names whose."""

    title: str
    reference: str
    task: str
    split: str | None
    metric: str


GUIDE_COLUMNS = (
    Column("MTEB Avg nDCG@10", "guide", V1, None, "ndcg_at_10"),
    Column("MSMARCO MRR@10", "guide", "MSMARCO", "dev", "mrr_at_10"),
    Column("NFCorpus nDCG@10", "guide", "NFCorpus", "test", "ndcg_at_10"),
    Column("SciFact nDCG@10", "guide", "SciFact", "test", "ndcg_at_10"),
)

PAPER_COLUMNS = (
    Column("Paper: MTEB v2 Avg nDCG@10", "paper", V2, None, "ndcg_at_10"),
    Column("Paper: MSMARCO nDCG@10", "paper", "MSMARCO", "dev", "ndcg_at_10"),
)

FIELDS = (
    "model", "checkpoint", "recipe", "task", "split", "metric", "measured", "seeds",
    "partial_seeds", "deviation", "reason", "improvement", "reference", "source", "expected",
    "expected_seeds", "tolerance", "difference", "verdict",
)  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One model's score in one column: measured and expected, and the base checkpoint's."""

    column: Column
    key: Key
    measured: Measured
    base: Measured
    expected: Expected | None

    @property
    def improvement(self) -> float | None:
        """Measured, over the base checkpoint."""
        if self.measured.value is None or self.base.value is None:
            return None
        return self.measured.value - self.base.value

    @property
    def difference(self) -> float | None:
        """Measured less expected."""
        if self.measured.value is None or self.expected is None:
            return None
        return self.measured.value - self.expected.value

    @property
    def measured_text(self) -> str:
        """The measured score, its improvement, and the number of seeds."""
        if self.measured.value is None:
            return not_run(self.measured)
        improvement = "" if self.improvement is None else f" ({signed(self.improvement)})"
        return f"{mean_text(self.measured)}{improvement}{_seeds(self.measured)}"

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
        return verdict if self.difference is None else f"{signed(self.difference)} {verdict}"

    def record(self) -> dict[str, Any]:
        """The cell at full precision."""
        expected = self.expected
        return {
            "model": self.key.model,
            "checkpoint": self.key.checkpoint,
            "recipe": self.key.recipe,
            "task": self.key.task,
            "split": self.key.split,
            "metric": self.key.metric,
            "measured": self.measured.value,
            "seeds": self.measured.seeds,
            "partial_seeds": self.measured.partial,
            "deviation": self.measured.deviation,
            "reason": self.measured.reason or None,
            "improvement": self.improvement,
            "reference": self.column.reference,
            "source": expected.source if expected else None,
            "expected": expected.value if expected else None,
            "expected_seeds": expected.seeds if expected else None,
            "tolerance": expected.tolerance if expected else None,
            "difference": self.difference,
            "verdict": judge(self.measured.value, expected) if expected else None,
        }


def guide_document(view: View) -> Document:
    """The guide's two tables, regenerated."""
    before = _cells(view, "base", GUIDE_COLUMNS)
    after = _cells(view, "finetuned", GUIDE_COLUMNS + PAPER_COLUMNS)
    tables = (
        _table("Pre-fine-tuning baselines", before),
        _table("Post-fine-tuning performance (improvement over base in parentheses)", after),
    )
    cells = [cell for rows in (before, after) for row in rows.values() for cell in row]
    return Document(
        name="guide",
        title="Expected performance: measured against the guide and the paper",
        tables=tables,
        records=tuple(cell.record() for cell in cells),
        fields=FIELDS,
        notes=guide_notes(view.references),
    )


def _cells(view: View, checkpoint: str, columns: tuple[Column, ...]) -> dict[str, list[Cell]]:
    """Cells by model, of every model with a measured or an expected score."""
    expected = {
        "guide": {value.key: value for value in view.references.guide},
        "paper": {value.key: value for value in view.references.paper},
    }
    # The paper's other encoders are not run here; they are in the table of published scores.
    named = {key.model for values in expected.values() for key in values} & set(SIZES)
    rows = {}
    for model in models_in_order([*named, *(entry.model for entry in view.entries)]):
        row = [
            _cell(view, model, checkpoint, column, expected[column.reference]) for column in columns
        ]
        if any(cell.expected or cell.measured.value is not None for cell in row):
            rows[model] = row
    return rows


def _cell(
    view: View, model: str, checkpoint: str, column: Column, expected: dict[Key, Expected]
) -> Cell:
    """A model's score in a column; a fine-tuned checkpoint's by the reference's own recipe."""
    of_base = Key(model, "base", None, column.task, column.split, column.metric)
    # BM25 is not trained and stands beside both checkpoints.
    if checkpoint == "base" or model == BM25:
        return Cell(column, of_base, view.measured(of_base), Measured(None), expected.get(of_base))
    key = of_base._replace(checkpoint=checkpoint, recipe=column.reference)
    return Cell(column, key, view.measured(key), view.measured(of_base), expected.get(key))


def _table(caption: str, cells: dict[str, list[Cell]]) -> Table:
    """Three rows per model: measured, expected, verdict; one where nothing is expected."""
    rows: list[tuple[str, ...]] = []
    for model, row in cells.items():
        rows.append((model, "measured", *(cell.measured_text for cell in row)))
        if any(cell.expected for cell in row):
            rows.append(("", "expected", *(cell.expected_text for cell in row)))
            rows.append(("", "verdict", *(cell.verdict_text for cell in row)))
    titles = [cell.column.title for cell in next(iter(cells.values()), [])]
    return Table(caption, ("Model", "", *titles), tuple(rows), labels=2)


def _seeds(score: Measured) -> str:
    """How many seeds a mean is over, unless it is plainly one.

    >>> _seeds(Measured(0.5, seeds=3)), _seeds(Measured(0.5, seeds=1, partial=1))
    (', 3 seeds', ', 1 of 2 seeds')
    """
    if score.partial:
        return f", {score.seeds} of {counted(score.seeds + score.partial)}"
    return f", {counted(score.seeds)}" if score.seeds > 1 else ""
