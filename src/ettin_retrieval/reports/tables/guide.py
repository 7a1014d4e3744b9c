"""The guide's two tables, before and after fine-tuning, with the paper's columns beside them.

Every note under them is derived from `expected/`, so that a changed figure changes the note.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from ettin_retrieval.reports.documents import NONE, Document, Table, improved, points, signed
from ettin_retrieval.reports.references import Expected, Key, References
from ettin_retrieval.reports.view import (
    BM25,
    METRIC_NAMES,
    NOT_RUN,
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
    "expected_seeds", "tolerance", "difference", "verdict",
)  # fmt: skip


@dataclass(frozen=True)
class Cell(Check):
    """One model's score in one column, and that of its base checkpoint."""

    column: Column
    base: Measured

    @property
    def improvement(self) -> float | None:
        """Measured, over the base checkpoint."""
        return self.measured.minus(self.base.value)

    def texts(self) -> tuple[str, str, str]:
        """Measured with its improvement and number of seeds, expected, and the verdict."""
        measured, expected = str(self.measured), self.expected
        if self.improvement is not None:
            measured += f" ({signed(self.improvement)})"
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
        notes=tuple(guide_notes(view.references)),
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


def guide_notes(references: References) -> Iterator[str]:
    """What to know when comparing."""
    yield (
        "Scores are in points (x100). A verdict is two-sided: reproduced means that the measured "
        "score is within the expected value's tolerance (guide.csv lists it), above and below "
        f"that it is not, {NOT_RUN} that the ledger has no such score. An average needs every one "
        "of its tasks. The guide's columns judge checkpoints of recipe guide, the paper's those of "
        "recipe paper. Over several seeds a score is the mean ± standard deviation."
    )
    yield _averages(references)
    yield (
        "MSMARCO is scored on `dev`, as MTEB does. The guide's code uses `test`, which has 43 "
        "queries; a score on it is not compared."
    )
    yield _improvements(references.guide)
    # Base averages of the guide that equal averages of the paper after MS MARCO training.
    for base in references.guide:
        same = [p.model for p in references.paper if (p.task, p.value) == (V2, base.value)]
        if (base.checkpoint, base.task) == ("base", V1) and same:
            yield (
                f"The guide's average for {base.model} before fine-tuning, {points(base.value)}, "
                f"is what the paper reports for {' and '.join(same)} after MS MARCO training, on "
                f"{V2}."
            )
    yield _above_bm25(references)
    for task in ("NFCorpus", "SciFact"):
        scored = [v for v in references.published if (v.task, v.metric) == (task, "ndcg_at_10")]
        best = max(scored, key=lambda v: v.value, default=None)
        if best and (above := _higher(references, "finetuned", best)):
            yield (
                f"The best {task} nDCG@10 among the published rows is {points(best.value)} "
                f"({best.model}); the guide's figures after fine-tuning that are above it: {above}."
            )
    yield (
        "Before any contrastive training ettin-encoder-68m scores about 10 nDCG@10 on NanoBEIR, "
        "according to the model card of capemox/ettin-encoder-68m-contrastive-2.5m. NanoBEIR is "
        "another benchmark, of 13 small collections: no figure of the tables here is of it."
    )
    yield (
        "Neither the guide nor the paper gives a tolerance; those here are this repository's "
        "choice. The paper's MSMARCO scores are read off a plot (about 0.3 either way)."
    )


def _averages(references: References) -> str:
    first, second = (references.benchmarks[name] for name in (V1, V2))
    shared = sorted(set(first) & set(second))
    guide, paper = (
        {v.model: points(v.value) for v in values if (v.checkpoint, v.task) == ("finetuned", name)}
        for values, name in ((references.guide, V1), (references.paper, V2))
    )
    both = [model for model in SIZES if model in guide and model in paper]
    pairs = "; ".join(f"{model} {guide[model]} and {paper[model]}" for model in both)
    return (
        f"The guide's average is over the {len(first)} retrieval tasks of {V1} (BEIR), the paper's "
        f"over the {len(second)} of {V2}; {len(shared)} are in both ({', '.join(shared)}). The two "
        "are different quantities and are not compared. After fine-tuning, guide and paper: "
        f"{pairs}."
    )


def _improvements(guide: list[Expected]) -> str:
    """Whether the improvements that the guide prints follow from its two tables."""
    before = {(v.model, v.task, v.metric): v.value for v in guide if v.checkpoint == "base"}
    wrong = []
    printed = [value for value in guide if value.improvement is not None]
    for after in printed:
        base = before.get((after.model, after.task, after.metric))
        difference = "no base value" if base is None else signed(after.value - base)
        improvement = signed(after.improvement or 0)
        if difference != improvement:
            wrong.append(
                f"{after.model} {after.task}: printed {improvement}, tables give {difference}"
            )
    if wrong:
        return f"Improvements that the guide prints and its tables contradict: {'; '.join(wrong)}."
    return (
        f"All {len(printed)} improvements that the guide prints equal the difference of its two "
        "tables."
    )


def _above_bm25(references: References) -> str:
    found = []
    for bm25 in references.published:
        above = _higher(references, "base", bm25) if "bm25" in bm25.model else ""
        if above:
            name = f"{bm25.task} {METRIC_NAMES[bm25.metric]}"
            found.append(f"{name} {bm25.value * 100:.2f} (above it: {above})")
    return (
        "BM25's published scores, and the guide's figures before fine-tuning that are above them: "
        f"{'; '.join(found) or 'none'}. A row bm25, if there is one, was measured here; BM25 is "
        "not trained and is the same in both tables."
    )


def _higher(references: References, checkpoint: str, than: Expected) -> str:
    """Figures of the guide above a score on the same task and metric."""
    return ", ".join(
        f"{v.model} {points(v.value)}"
        for v in references.guide
        if (v.checkpoint, v.task, v.metric) == (checkpoint, than.task, than.metric)
        and v.value > than.value
    )
