"""What a verdict has to say beside the score: its learning rate, and how much of it is chance."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from scipy.special import ndtr

from ettin_retrieval.reports.measured import Check
from ettin_retrieval.reports.references import Expected, Key, References
from ettin_retrieval.reports.view import View

Column = tuple[str, str | None, str]
"""Task (or benchmark), split and metric."""


class Rate(NamedTuple):
    """The learning rate behind a score, over all its seeds and runs.

    `tuned` is whether a recorded sweep of this encoder, recipe and objective chose it in every run,
    and None if a run does not say.
    """

    values: tuple[float, ...] = ()  # different ones, in order; empty if no run says
    tuned: bool | None = None

    def mark(self, expected: Expected | None) -> str:
        """What to say of it beside a verdict: that it is not what the reference asks for.

        A reference that prescribes no rate asks for one that a sweep chose.

        >>> paper = Expected(model="1b", checkpoint="finetuned", task="T", metric="ndcg_at_10",
        ...                  value=0.5)
        >>> Rate((8e-5,), False).mark(paper), Rate((8e-5,), True).mark(paper), Rate().mark(paper)
        ('rate not tuned', '', 'tuning not recorded')
        >>> guide = paper.model_copy(update={"learning_rate": 2e-5})
        >>> Rate((8e-5,), True).mark(guide), Rate((2e-5,), False).mark(guide)
        ('rate 8e-05, not 2e-05', '')
        """
        if expected is None:
            return ""
        rates = " and ".join(f"{value:g}" for value in self.values)
        if expected.learning_rate is not None:
            wanted = expected.learning_rate
            return "" if set(self.values) <= {wanted} else f"rate {rates}, not {wanted:g}"
        different = [f"rates {rates}"] if len(self.values) > 1 else []
        untuned = {True: [], False: ["rate not tuned"], None: ["tuning not recorded"]}[self.tuned]
        return ", ".join(different + untuned)


def rate_of(view: View, key: Key) -> Rate:
    """The learning rate that the runs of a fine-tuned checkpoint record, over its seeds."""
    arm = [e for e in view.entries if (e.model, e.checkpoint, e.recipe) == key[:3]]
    records = [record for entry in arm for record in view.records[entry.name]]
    rates: list[dict[str, Any]] = [record.get("learning_rate") or {} for record in records]
    if len(records) < sum(len(entry.runs) for entry in arm):
        rates.append({})  # a record that is missing says nothing
    values = {rate["value"] for rate in rates if "value" in rate}
    tuned = {rate.get("tuned") for rate in rates}
    # One run that says no is enough; one that says nothing leaves it open.
    answer = False if False in tuned else None if None in tuned or not tuned else True
    return Rate(tuple(sorted(values)), answer)


class ByChance(NamedTuple):
    """How many verdicts chance alone would give.

    Attributes
    ----------
    judged, reproduced
        Cells with a measured and an expected score, and those of them that are reproduced.
    expected
        How many would be reproduced on average if a measured score were anywhere between the lowest
        and the highest figure of its column, with equal probability.
    trained, missed
        Fine-tuned cells in a column whose spread over seeds is known, and how many of them would
        not be reproduced on average if every true score were the expected one.
    deviations
        Column to the standard deviation over seeds, pooled over its cells.
    """

    judged: int
    reproduced: int
    expected: float
    trained: int
    missed: float
    deviations: dict[Column, float]


def by_chance(cells: Iterable[Check], references: References) -> ByChance:
    """What chance alone would give; see `ByChance`.

    The figures of a column are those that guide, paper and published.yaml have of it.
    """
    judged = [c for c in cells if c.expected is not None and c.measured.value is not None]
    figures: dict[Column, list[float]] = {}
    for value in (*references.guide, *references.paper, *references.published):
        figures.setdefault(_column(value.key), []).append(value.value)
    deviations = pooled_deviations(judged)
    known = [c for c in judged if c.key.checkpoint == "finetuned" and _column(c.key) in deviations]
    return ByChance(
        judged=len(judged),
        reproduced=sum(cell.verdict == "reproduced" for cell in judged),
        expected=math.fsum(_hit(cell, figures[_column(cell.key)]) for cell in judged),
        trained=len(known),
        missed=math.fsum(_miss(cell, deviations[_column(cell.key)]) for cell in known),
        deviations=deviations,
    )


def pooled_deviations(cells: Sequence[Check]) -> dict[Column, float]:
    """Column to the standard deviation over seeds of its fine-tuned cells that have several.

    Variances are averaged with their degrees of freedom, seeds - 1, as weights.
    """
    found: dict[Column, list[tuple[int, float]]] = {}
    for cell in cells:
        deviation = cell.measured.deviation
        if cell.key.checkpoint == "finetuned" and deviation is not None:
            entry = (cell.measured.seeds - 1, deviation)
            found.setdefault(_column(cell.key), []).append(entry)
    return {
        column: math.sqrt(
            math.fsum(freedom * deviation**2 for freedom, deviation in parts)
            / sum(freedom for freedom, _ in parts)
        )
        for column, parts in found.items()
    }


def _column(key: Key) -> Column:
    return key.task, key.split, key.metric


def _hit(cell: Check, figures: Sequence[float]) -> float:
    """Probability of `reproduced` for a score anywhere between the lowest and highest figure."""
    assert cell.expected is not None
    low, high = min(figures), max(figures)
    room = _room(cell.expected, cell)
    if room <= 0:
        return 0.0
    if low == high:
        return 1.0
    start, end = max(low, cell.expected.value - room), min(high, cell.expected.value + room)
    return (end - start) / (high - low)


def _miss(cell: Check, deviation: float) -> float:
    """Probability of another verdict than `reproduced` if both figures have the same true score.

    Both vary with their seeds; a reference that does not say how many it has counts as one run.
    """
    assert cell.expected is not None
    room = _room(cell.expected, cell)
    if room <= 0:
        return 1.0
    runs = 1 / cell.measured.seeds + 1 / (cell.expected.seeds or 1)
    error = deviation * math.sqrt(runs)
    return 0.0 if error == 0 else 2 * float(ndtr(-room / error))


def _room(expected: Expected, cell: Check) -> float:
    """How far from the expected score a measured one is reproduced: all of its interval."""
    return round(expected.allowed - (cell.half_width or 0.0), 12)
