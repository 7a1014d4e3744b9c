"""The guide's two tables, before and after fine-tuning, with the paper's columns beside them.

Every note under them is derived from `expected/`, so that a changed figure changes the note.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from ettin_retrieval.ledger.entry import arm_name
from ettin_retrieval.reports.documents import (
    NONE,
    Document,
    Table,
    improved,
    notes,
    points,
    signed,
)
from ettin_retrieval.reports.measured import EVALUATED, Check, Measured
from ettin_retrieval.reports.references import (
    UNTRAINED,
    Expected,
    Key,
    References,
    Verdict,
    judge,
)
from ettin_retrieval.reports.verdicts import ByChance, Rate, by_chance, rate_of
from ettin_retrieval.reports.view import BM25, METRIC_NAMES, SIZES, View, counted, model_order

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
    "partial_seeds", "deviation", "interval_low", "interval_high", "reason", "improvement",
    "learning_rate", "tuned", "reference", "source", "expected", "expected_seeds", "tolerance",
    "read_error", "band_low", "band_high", "doubtful", "difference", "verdict",
    "expected_improvement", "improvement_tolerance", "improvement_verdict", *EVALUATED,
)  # fmt: skip


@dataclass(frozen=True)
class Cell(Check):
    """One model's score in one column, and that of its base checkpoint."""

    column: Column
    base: Measured
    expected_base: Expected | None
    rate: Rate  # behind a fine-tuned checkpoint

    @property
    def improvement(self) -> float | None:
        """Measured, over the base checkpoint; None if the two cut texts differently."""
        return self.measured.over(self.base)

    @property
    def improvement_tolerance(self) -> float | None:
        """That of the pair, the sum of both: if both scores are reproduced, so is their difference.

        None if the reference prints no improvement.
        """
        if self.expected is None or self.expected.improvement is None:
            return None
        base = self.expected_base.allowed if self.expected_base else UNTRAINED
        return round(self.expected.allowed + base, 12)

    @property
    def improvement_verdict(self) -> Verdict | None:
        """Whether the printed improvement is reproduced; None if none is printed or measured.

        The base checkpoint is the same one at every seed, so that the interval is the score's.
        """
        tolerance = self.improvement_tolerance
        if tolerance is None or self.improvement is None:
            return None
        assert self.expected is not None and self.expected.improvement is not None
        width = self.half_width or 0.0
        return judge(self.improvement, self.expected.improvement, tolerance, width)

    def texts(self) -> tuple[str, str, str]:
        """Measured with its improvement and number of seeds, expected, and the verdict."""
        measured = str(self.measured)
        if None not in (self.measured.value, self.base.value):
            measured += f" ({self.measured.improvement(self.base)})"
        measured += _seeds(self.measured)
        return measured, printed(self.expected), self._verdict_text()

    def _verdict_text(self) -> str:
        """Score, improvement, and in parentheses what limits what they say."""
        if self.expected is None or self.difference is None:
            return NONE if self.expected is None else str(self.verdict)
        text = f"{signed(self.difference)} {self.verdict}"
        if self.measured.value is not None and self.half_width is not None:
            ends = (self.measured.value + side for side in (-self.half_width, self.half_width))
            text += f" [{', '.join(map(points, ends))}]"
        if self.expected.improvement is not None:
            text += f"; improvement {self.improvement_verdict or 'not judged'}"
        if self.key.checkpoint != "finetuned":
            return text
        limits = ["1 seed"] if self.measured.seeds == 1 else []
        limits += filter(None, [self.rate.mark(self.expected)])
        return text + (f" ({', '.join(limits)})" if limits else "")

    def record(self) -> dict[str, Any]:
        """The cell at full precision."""
        rates = self.rate.values
        return super().record() | {
            "improvement": self.improvement,
            "reference": self.column.reference,
            "learning_rate": rates[0] if len(rates) == 1 else None,
            "tuned": self.rate.tuned,
            "expected_improvement": self.expected.improvement if self.expected else None,
            "improvement_tolerance": self.improvement_tolerance,
            "improvement_verdict": self.improvement_verdict,
        }


def printed(value: Expected | None) -> str:
    """An expected score as its reference prints it, with its error of reading, and a mark of doubt.

    >>> value = Expected(model="1b", checkpoint="base", task="T", metric="ndcg_at_10", value=0.43)
    >>> printed(value.model_copy(update={"read_error": 0.003, "doubtful": "why"})), printed(None)
    ('43.0, read ±0.3, doubtful', '--')
    """
    if value is None:
        return NONE
    base = None if value.improvement is None else value.value - value.improvement
    error = f", read ±{points(value.read_error)}" if value.read_error else ""
    return improved(value.value, base) + error + (", doubtful" if value.doubtful else "")


def guide_document(view: View) -> Document:
    """The guide's two tables, regenerated."""
    before = _rows(view, "base", GUIDE_COLUMNS)
    after = _rows(view, "finetuned", GUIDE_COLUMNS + PAPER_COLUMNS)
    cells = [cell for row in (*before, *after) for cell in row]
    after_caption = "Post-fine-tuning performance (improvement over base in parentheses)"
    return Document(
        name="guide",
        title="Expected performance: measured against the guide and the paper",
        tables=(_table("Pre-fine-tuning baselines", before), _table(after_caption, after)),
        records=tuple(cell.record() for cell in cells),
        fields=FIELDS,
        notes=guide_notes(view.references, by_chance(cells, view.references)),
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
    expected = {value.key: value for value in getattr(view.references, column.reference)}
    base, expected_base, rate = Measured(None), None, Rate()
    # BM25 is not trained and stands beside both checkpoints.
    if checkpoint != "base" and model != BM25:
        base, expected_base = view.measured(key), expected.get(key)
        key = key._replace(checkpoint=checkpoint, recipe=column.reference)
        rate = rate_of(view, key)
    return Cell(key, view.measured(key), expected.get(key), column, base, expected_base, rate)


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


def guide_notes(references: References, chance: ByChance) -> tuple[str, ...]:
    """What to know when comparing."""
    guide, paper, published = references.guide, references.paper, references.published
    v1_tasks, v2_tasks = (references.benchmarks[name] for name in (V1, V2))
    averages = {
        (v.model, v.task): points(v.value) for v in (*guide, *paper) if v.checkpoint == "finetuned"
    }
    improvements = [value for value in guide if value.improvement is not None]
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
        chance=chance,
        deviations=[
            f"{task} {METRIC_NAMES[metric]} {deviation * 100:.2f}"
            for (task, _, metric), deviation in chance.deviations.items()
        ],
        doubtful=_doubtful([*guide, *paper]),
        tolerances=_tolerances([*guide, *paper]),
        printed=improvements,
        contradicted=list(_contradicted(guide, improvements)),
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


def _tolerances(values: list[Expected]) -> str:
    """Every tolerance in points, of base and of fine-tuned checkpoints."""
    found: dict[str, set[float]] = {}
    for value in values:
        found.setdefault(value.checkpoint, set()).add(value.tolerance)
    return "; ".join(
        f"{checkpoint} {' or '.join(points(each) for each in sorted(tolerances))}"
        for checkpoint, tolerances in found.items()
    )


def _doubtful(values: list[Expected]) -> dict[str, str]:
    """Reason to the models and checkpoints whose figures it makes doubtful."""
    found: dict[str, dict[str, None]] = {}
    for value in values:
        if value.doubtful:
            named = f"{value.model} {arm_name(value.checkpoint, value.recipe)}"
            found.setdefault(value.doubtful, {})[named] = None
    return {reason: ", ".join(named) for reason, named in found.items()}


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
