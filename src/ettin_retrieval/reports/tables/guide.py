"""The guide's two tables, before and after fine-tuning, with the paper's columns beside them.

Every note under them is derived from `expected/`, so that a changed figure changes the note.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from ettin_retrieval.reports.documents import (
    NONE,
    Document,
    Table,
    improved,
    notes,
    points,
    signed,
)
from ettin_retrieval.reports.references import Expected, Key, References
from ettin_retrieval.reports.view import (
    BM25,
    EVALUATED,
    METRIC_NAMES,
    SIZES,
    Check,
    Measured,
    View,
    counted,
    model_order,
)

V1, V2 = "MTEB(eng, v1)", "MTEB(eng, v2)"


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
    "expected_seeds", "tolerance", "difference", "verdict", *EVALUATED,
)  # fmt: skip


@dataclass(frozen=True)
class Cell(Check):
    """One model's score in one column, and that of its base checkpoint."""

    column: Column
    base: Measured

    @property
    def improvement(self) -> float | None:
        """Measured, over the base checkpoint; None if the two cut texts differently."""
        return self.measured.over(self.base)

    def texts(self) -> tuple[str, str, str]:
        """Measured with its improvement and number of seeds, expected, and the verdict."""
        measured, expected = str(self.measured), self.expected
        if None not in (self.measured.value, self.base.value):
            measured += f" ({self.measured.improvement(self.base)})"
        measured += _seeds(self.measured)
        if expected is None:
            return measured, NONE, NONE
        base = None if expected.improvement is None else expected.value - expected.improvement
        difference = "" if self.difference is None else f"{signed(self.difference)} "
        return measured, improved(expected.value, base), f"{difference}{self.verdict}"

    def record(self) -> dict[str, Any]:
        """The cell at full precision."""
        added = {"improvement": self.improvement, "reference": self.column.reference}
        return super().record() | added


def guide_document(view: View) -> Document:
    """The guide's two tables, regenerated."""
    before = _rows(view, "base", GUIDE_COLUMNS)
    after = _rows(view, "finetuned", GUIDE_COLUMNS + PAPER_COLUMNS)
    after_caption = "Post-fine-tuning performance (improvement over base in parentheses)"
    return Document(
        name="guide",
        title="Expected performance: measured against the guide and the paper",
        tables=(_table("Pre-fine-tuning baselines", before), _table(after_caption, after)),
        records=tuple(cell.record() for row in (*before, *after) for cell in row),
        fields=FIELDS,
        notes=guide_notes(view.references),
    )


def _rows(view: View, checkpoint: str, columns: tuple[Column, ...]) -> list[list[Cell]]:
    """A row of cells for every model with a measured or an expected score."""
    # The paper's other encoders are not run here; they are in the table of published scores.
    named = {value.model for value in (*view.references.guide, *view.references.paper)}
    models = named & set(SIZES) | {entry.model for entry in view.entries}
    rows = []
    for model in sorted(models, key=model_order):
        row = [_cell(view, model, checkpoint, column) for column in columns]
        if any(cell.expected or cell.measured.value is not None for cell in row):
            rows.append(row)
    return rows


def _cell(view: View, model: str, checkpoint: str, column: Column) -> Cell:
    """A model's score in a column; a fine-tuned checkpoint's by the reference's own recipe."""
    key = Key(model, "base", None, column.task, column.split, column.metric)
    base = Measured(None)
    # BM25 is not trained and stands beside both checkpoints.
    if checkpoint != "base" and model != BM25:
        base = view.measured(key)
        key = key._replace(checkpoint=checkpoint, recipe=column.reference)
    expected = {value.key: value for value in getattr(view.references, column.reference)}
    return Cell(key, view.measured(key), expected.get(key), column, base)


def _table(caption: str, cells: list[list[Cell]]) -> Table:
    """Three rows per model: measured, expected, verdict; one where nothing is expected."""
    rows: list[tuple[str, ...]] = []
    for row in cells:
        kinds = list(zip(*(cell.texts() for cell in row), strict=True))
        rows.append((row[0].key.model, "measured", *kinds[0]))
        if any(cell.expected for cell in row):
            rows += [("", "expected", *kinds[1]), ("", "verdict", *kinds[2])]
    titles = [cell.column.title for cell in (cells[0] if cells else [])]
    return Table(caption, ("Model", "", *titles), tuple(rows), labels=2)


def _seeds(score: Measured) -> str:
    """How many seeds a mean is over, unless it is plainly one.

    >>> _seeds(Measured(0.5, seeds=3)), _seeds(Measured(0.5, seeds=1, partial=1))
    (', 3 seeds', ', 1 of 2 seeds')
    """
    if score.partial:
        return f", {score.seeds} of {counted(score.seeds + score.partial)}"
    return f", {counted(score.seeds)}" if score.seeds > 1 else ""


def guide_notes(references: References) -> tuple[str, ...]:
    """What to know when comparing."""
    guide, paper, published = references.guide, references.paper, references.published
    v1_tasks, v2_tasks = (references.benchmarks[name] for name in (V1, V2))
    averages = {
        (v.model, v.task): points(v.value) for v in (*guide, *paper) if v.checkpoint == "finetuned"
    }
    printed = [value for value in guide if value.improvement is not None]
    bm25 = [(v, _higher(guide, "base", v)) for v in published if "bm25" in v.model]
    # In order of value, so that the best published score of each task and metric is the last.
    best = {(v.task, v.metric): v for v in sorted(published[::-1], key=lambda v: v.value)}
    return notes(
        "guide",
        v1=V1,
        v2=V2,
        v1_tasks=v1_tasks,
        v2_tasks=v2_tasks,
        shared=sorted(set(v1_tasks) & set(v2_tasks)),
        averages=[
            f"{model} {averages[model, V1]} and {averages[model, V2]}"
            for model in SIZES
            if {(model, V1), (model, V2)} <= averages.keys()
        ],
        printed=printed,
        contradicted=list(_contradicted(guide, printed)),
        coincidences=[
            (base, models)
            for base in guide
            if (base.checkpoint, base.task) == ("base", V1)
            and (models := [v.model for v in paper if (v.task, v.value) == (V2, base.value)])
        ],
        above_bm25=[
            f"{v.task} {METRIC_NAMES[v.metric]} {v.value * 100:.2f} (above it: {above})"
            for v, above in bm25
            if above
        ],
        above_best=[
            (v, above)
            for task in ("NFCorpus", "SciFact")
            if (v := best.get((task, "ndcg_at_10"))) and (above := _higher(guide, "finetuned", v))
        ],
    )


def _contradicted(guide: list[Expected], printed: list[Expected]) -> Iterator[str]:
    """Improvements that the guide prints and that do not follow from its two tables."""
    before = {(v.model, v.task, v.metric): v.value for v in guide if v.checkpoint == "base"}
    for after in printed:
        base = before.get((after.model, after.task, after.metric))
        difference = "no base value" if base is None else signed(after.value - base)
        if difference != signed(after.improvement):
            improvement = signed(after.improvement)
            yield f"{after.model} {after.task}: printed {improvement}, tables give {difference}"


def _higher(guide: list[Expected], checkpoint: str, than: Expected) -> str:
    """Figures of the guide above a score on the same task and metric."""
    return ", ".join(
        f"{v.model} {points(v.value)}"
        for v in guide
        if (v.checkpoint, v.task, v.metric) == (checkpoint, than.task, than.metric)
        and v.value > than.value
    )
