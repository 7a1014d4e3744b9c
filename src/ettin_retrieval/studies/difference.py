"""Differences between the encoders of a study, with intervals over seeds and queries together.

Which queries a task holds and which seed an encoder was trained with are two sources of chance.
Both are resampled at once, as in the tables (`reports.significance`), but the arms of a study are
paired by seed too: a seed draws the same queries and the same order of training for both. Seeds and
queries are crossed, as every seed is scored on every query: A. Owen, "The pigeonhole bootstrap",
Annals of Applied Statistics 1, 2007. Tasks are fixed: they are averaged and not resampled.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from ettin_retrieval.reports.documents import NONE, p_text, points, signed
from ettin_retrieval.reports.pairing import paired
from ettin_retrieval.reports.significance import (
    DIGITS,
    RESAMPLES,
    randomisation_p_value,
    resampled_means,
    seed_shifts,
)
from ettin_retrieval.tasks import CQADUPSTACK, cqadupstack_parts

Scores = dict[str, float]
"""Flat metrics, such as `SciFact.ndcg_at_10`; fractions."""

SEED = 42
"""Of the random samples."""


class Outcome(NamedTuple):
    """What one encoder scored."""

    scores: Scores
    queries: pd.DataFrame
    """Columns task, query_id, ndcg_at_10: a row per query."""
    checkpoint: Path | None = None
    """Where it lies until the study ends."""


Arm = Mapping[int, Outcome]
"""Seed to outcome. An encoder that is not trained has the same outcome for every seed."""


class Difference(NamedTuple):
    """Of two arms' means over tasks, fractions, and its 95% interval.

    A task with a single query shows nothing of how queries vary: there is no interval.
    """

    mean: float
    interval: tuple[float, float] | None

    @property
    def cells(self) -> tuple[str, str]:
        """Difference and interval in points.

        >>> Difference(0.026, (-0.001, 0.05)).cells
        ('+2.6', '-0.1 to +5.0')
        """
        low, high = self.interval or (None, None)
        return signed(self.mean), f"{signed(low)} to {signed(high)}" if self.interval else NONE

    def verdict(self, above: str, below: str) -> str:
        """A word for a difference whose interval excludes 0; otherwise `inconclusive`.

        >>> Difference(-0.01, (-0.03, 0.01)).verdict("gained", "forgot")
        'inconclusive'
        """
        low, high = self.interval or (0.0, 0.0)
        return above if low > 0 else below if high < 0 else "inconclusive"


def difference(before: Arm, after: Arm, tasks: Iterable[str]) -> Difference:
    """What `after` scores above `before`: the mean over tasks, paired by seed and query.

    Raises
    ------
    InputError
        The tasks or queries of the two differ.
    """
    differences = _differences(before, after)
    weighted = [
        (part, differences[part], 1 / len(parts))
        for parts in (_parts(task, differences) for task in tasks)
        for part in parts
    ]
    whole = sum(weight for *_, weight in weighted)
    mean = sum(weight * values.mean() for _, values, weight in weighted) / whole
    if any(values.shape[1] == 1 for _, values, _ in weighted):
        return Difference(round(float(mean), DIGITS), None)
    by_seed = sum(weight / whole * values.mean(axis=1) for _, values, weight in weighted)
    means = seed_shifts(np.asarray(by_seed), [SEED, 1])
    for part, values, weight in weighted:
        means = means + weight / whole * resampled_means(values.mean(axis=0), SEED, part)
    low, high = np.percentile(means, (2.5, 97.5))
    return Difference(
        round(float(mean), DIGITS), (round(float(low), DIGITS), round(float(high), DIGITS))
    )


def p_value(before: Arm, after: Arm, task: str) -> str:
    """Two-sided p of a paired randomisation test over queries, whose scores are means over seeds.

    A random exchange of the two encoders' scores on a query: it does not know of other seeds.
    """
    queries = _differences(before, after)[task].mean(axis=0)
    value, exact = randomisation_p_value(np.round(queries, DIGITS), SEED)
    return p_text(value, at_floor=not exact and value <= 1 / (RESAMPLES + 1))


def _differences(before: Arm, after: Arm) -> dict[str, npt.NDArray[np.float64]]:
    """Task to differences of shape (seeds, queries)."""
    seeds = sorted(before.keys() & after.keys())
    aligned = [paired(before[s].queries, after[s].queries, "ndcg_at_10") for s in seeds]
    return {
        task: np.stack([(of[task][0].other - of[task][0].base)[:, 0] for of in aligned])
        for task in aligned[0]
    }


def _parts(task: str, scored: Iterable[str]) -> list[str]:
    """CQADupstackRetrieval is the mean of its twelve forums; any other task is itself."""
    return cqadupstack_parts(scored) if task == CQADUPSTACK else [task]


def intervals_in_words(seeds: Sequence[int]) -> str:
    """The note on the intervals of a table."""
    listed = ", ".join(map(str, seeds))
    if len(seeds) == 1:
        return (
            f"One seed ({listed}): the 95% intervals are over queries alone (percentile bootstrap "
            "within each task), and how much seeds differ is not in them."
        )
    return (
        f"Seeds {listed}. ± is the standard deviation over them. The 95% intervals are over seeds "
        "and queries together (percentile bootstrap of queries within each task and of seeds, "
        "widened for few seeds by Student's t); arms are paired by seed and query, tasks are fixed."
    )


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation in points; a single value, or one and the same, alone.

    >>> spread([0.5, 0.6]), spread([0.5]), spread([0.5, 0.5])
    ('55.0 ± 7.1', '50.0', '50.0')
    """
    mean = points(float(np.mean(values)))
    if len({round(value, DIGITS) for value in values}) == 1:
        return mean
    return f"{mean} ± {points(float(np.std(values, ddof=1)))}"
