"""Is one system better than another? Paired tests over queries, and the spread over seeds.

Two sources of chance are kept apart. Which queries a benchmark happens to hold is answered per
task by a bootstrap interval and a randomisation test over the queries. Which seed a model was
trained with is answered by the standard deviation over seeds (`seed_spread`), which no number of
queries makes smaller.

Every task of a benchmark counts equally in its average, however many queries it has: differences
of several tasks are scaled so that their mean over queries is the mean over tasks. The twelve
parts of CQADupstackRetrieval are one task in this way, and so is a benchmark's `Average`.

The tests follow M. Smucker, J. Allan, B. Carterette, "A comparison of statistical significance
tests for information retrieval evaluation", CIKM 2007.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from ettin_retrieval.reports.pairing import (
    Pairs,
    folded,
    paired,
    require_same,
    scores_of,
    together,
)

Scores = npt.NDArray[np.float64]

RESAMPLES = 9_999
"""Samples of the bootstrap and of the randomisation test; 10,000 with the observed one."""

CELLS = 1_000_000
"""Numbers per batch of samples: caps memory whatever the number of queries."""

AVERAGE = "Average"
"""Name of the comparison over all tasks of a family."""

DIGITS = 10
"""Decimals kept: below them a CPU's vector width decides the order of the sums."""


@dataclass(frozen=True)
class TaskComparison:
    """Two systems on one task, paired by query. Scores and differences are fractions.

    A single query shows nothing of how queries vary and has no interval. Holm's correction is over
    the tasks of the family; their average is not a separate claim and has none.
    """

    task: str
    metric: str
    queries: int
    base: float
    other: float
    difference: float
    interval: tuple[float, float] | None  # 95% percentile bootstrap, of the difference
    p_value: float  # two-sided paired randomisation test
    holm_p_value: float | None
    exact: bool  # whether every sign pattern was counted, rather than `RESAMPLES` random ones
    wins: int  # queries on which `other` scores higher
    losses: int
    ties: int

    @property
    def at_floor(self) -> bool:
        """Whether no random pattern reached the observed difference, so that p is a bound."""
        return not self.exact and self.p_value <= 1 / (RESAMPLES + 1)


def compare(
    base: pd.DataFrame, other: pd.DataFrame, metric: str = "ndcg_at_10", seed: int = 42
) -> list[TaskComparison]:
    """Compare two systems on every task, query by query, as one family.

    Except for Holm's correction, a task's figures depend on its own queries and the seed of the
    random samples alone, not on the order of the rows or on other tasks.

    Parameters
    ----------
    base, other
        Columns task, query_id and the metric; one row per query, as in the ledger.

    Returns
    -------
    One comparison per task, in order of name; one for CQADupstackRetrieval if all its parts are
    present.

    Raises
    ------
    InputError
        The tasks or queries differ, or a score is missing.

    Examples
    --------
    >>> frame = pd.DataFrame({"task": "T", "query_id": list("abcde"), "ndcg_at_10": 0.5})
    >>> [t] = compare(frame, frame.assign(ndcg_at_10=[1.0, 1.0, 0.75, 0.75, 0.75]))
    >>> t.difference, t.p_value, (t.wins, t.losses, t.ties)
    (0.35, 0.0625, (5, 0, 0))
    """
    return _family(folded(paired(base, other, metric)), metric, seed)


def compare_benchmarks(
    base: pd.DataFrame,
    other: pd.DataFrame,
    benchmarks: Mapping[str, Iterable[str]],
    metric: str = "ndcg_at_10",
    seed: int = 42,
) -> dict[str, list[TaskComparison]]:
    """Compare two systems on every task that both scored, one family per benchmark.

    A task that two benchmarks share is in both families, as in both averages. A benchmark that
    adds no scored task to those before it is left out; tasks of no benchmark come last.

    Parameters
    ----------
    benchmarks
        Name to tasks.

    Returns
    -------
    Benchmark, empty for tasks of none, to its tasks in order of name and, if there are several,
    their `AVERAGE`, in which they count equally.
    """
    base, other = (f[f["task"].isin(g["task"])] for f, g in ((base, other), (other, base)))
    aligned = paired(base, other, metric)
    as_tasks = folded(aligned)
    # Two forums are tasks of MTEB(eng, v2), while the twelve are one task of MTEB(eng, v1).
    every = aligned | as_tasks
    # The parts of a folded task are reported with it.
    families, covered = {}, set(aligned) - set(as_tasks)
    for name, listed in benchmarks.items():
        tasks = set(listed) & set(every)
        if tasks - covered:
            families[name] = tasks
            covered |= tasks
    if rest := set(as_tasks) - covered:
        families[""] = rest
    compared = {}
    for name, tasks in families.items():
        pairs = {task: every[task] for task in sorted(tasks)}
        compared[name] = _family(pairs, metric, seed)
        if len(pairs) > 1:
            whole = together(list(pairs.values()))
            compared[name].append(_compare_task(AVERAGE, metric, whole, seed))
    return compared


def _family(tasks: dict[str, Pairs], metric: str, seed: int) -> list[TaskComparison]:
    """Every task, with Holm's correction over all of them."""
    alone = [_compare_task(task, metric, pairs, seed) for task, pairs in tasks.items()]
    corrected = holm([each.p_value for each in alone])
    return [replace(each, holm_p_value=p) for each, p in zip(alone, corrected, strict=True)]


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction: bounds the chance of any false claim among all.

    The i-th smallest of m values is multiplied by m - i + 1, and is at least the value before it
    and at most 1. S. Holm, "A simple sequentially rejective multiple test procedure",
    Scandinavian Journal of Statistics 6, 1979.

    >>> holm([0.01, 0.04, 0.03, 0.005])
    [0.03, 0.06, 0.06, 0.02]
    """
    corrected = [0.0] * len(p_values)
    floor = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        floor = max(floor, min(1.0, p_values[index] * (len(p_values) - rank)))
        corrected[index] = round(floor, DIGITS)
    return corrected


def bootstrap_interval(
    differences: Scores, seed: int, resamples: int = RESAMPLES
) -> tuple[float, float] | None:
    """95% percentile bootstrap interval of the mean of paired differences.

    Resampling differences resamples queries and keeps the pairing. A mean over queries needs no
    correction for bias, and BCa is undefined if all differences are equal. B. Efron,
    R. Tibshirani, "An introduction to the bootstrap", ch. 13. None for a single query.
    """
    if len(differences) < 2:
        return None
    drawn = stats.bootstrap(
        (differences,),
        np.mean,
        n_resamples=resamples,
        batch=_batch(len(differences)),
        vectorized=True,
        confidence_level=0.95,
        method="percentile",
        rng=np.random.default_rng([seed, 0]),
    )
    low, high = drawn.confidence_interval
    return round(float(low), DIGITS), round(float(high), DIGITS)


def randomisation_p_value(
    differences: Scores, seed: int, resamples: int = RESAMPLES
) -> tuple[float, bool]:
    """Two-sided p-value of paired differences under random exchange of the two systems.

    If the systems were equal, each difference could equally well have the other sign. Queries
    with a difference of 0 are left out, because their sign changes no sum.

    Returns
    -------
    The share of sign patterns whose sum is as far from 0, and whether all 2^n patterns were
    counted. Of random ones the observed pattern is one more: B. Phipson, G. Smyth, "Permutation
    p-values should never be zero", Statistical Applications in Genetics and Molecular Biology 9,
    2010. Of three equal differences, two of the eight patterns are as far:

    >>> randomisation_p_value(np.array([0.5, 0.5, 0.5, 0.0]), seed=1)
    (0.25, True)
    """
    # Whole numbers of the last decimal kept: their sums are exact in any order, so that ties with
    # the observed sum are found on any machine.
    whole = np.rint(differences[differences != 0] * 10**DIGITS)
    exact = 2 ** len(whole) <= resamples
    patterns = _all_patterns(len(whole)) if exact else _patterns(len(whole), seed, resamples)
    as_far = sum(
        int((np.abs(whole.sum() - 2 * (turned @ whole)) >= abs(whole.sum())).sum())
        for turned in patterns
    )
    p_value = as_far / 2 ** len(whole) if exact else (as_far + 1) / (resamples + 1)
    return round(p_value, DIGITS), exact


def _all_patterns(queries: int) -> Iterator[Scores]:
    """Every choice of queries to turn: rows of 0 and 1."""
    yield np.indices((2,) * queries).reshape(queries, 2**queries).T.astype(np.float64)


def _patterns(queries: int, seed: int, number: int) -> Iterator[Scores]:
    """Random choices of queries to turn, in batches: rows of 0 and 1."""
    rng = np.random.default_rng([seed, 1])
    # Rows of whole 8-byte words, as the generator makes them, so that batches do not overlap.
    batch, width = _batch(queries), 8 * -(-queries // 64)
    for start in range(0, number, batch):
        rows = min(batch, number - start)
        drawn = np.frombuffer(rng.bytes(rows * width), dtype=np.uint8).reshape(rows, width)
        yield np.unpackbits(drawn, axis=1, count=queries).astype(np.float64)


def seed_spread(seeds: Sequence[pd.DataFrame], metric: str = "ndcg_at_10") -> pd.DataFrame:
    """Mean and standard deviation over seeds of each task's score.

    Parameters
    ----------
    seeds
        One frame per seed, as for `compare`, with the same tasks and queries.

    Returns
    -------
    Columns mean and deviation, with `seeds - 1` in its denominator and NaN for a single seed.

    Examples
    --------
    >>> frame = pd.DataFrame({"task": "T", "query_id": ["a", "b"], "ndcg_at_10": [0.2, 0.4]})
    >>> seed_spread([frame, frame.assign(ndcg_at_10=[0.4, 0.6])])
          mean  deviation
    task
    T      0.4   0.141421
    """
    scores = [scores_of(frame, metric, f"seed number {n}") for n, frame in enumerate(seeds, 1)]
    for other in scores[1:]:
        require_same(scores[0], other, "the seeds")
    means = pd.concat([each.groupby("task").mean() for each in scores], axis=1)
    return pd.DataFrame({"mean": means.mean(axis=1), "deviation": means.std(axis=1)}).round(DIGITS)


def _compare_task(task: str, metric: str, pairs: Pairs, seed: int) -> TaskComparison:
    base, other, weights = (pairs[name].to_numpy() for name in ("base", "other", "weight"))
    # Rounded: 0.8 - 0.7 and 0.3 - 0.2 are the same difference but differ in the last bit.
    raw = np.round(other - base, DIGITS)
    differences = np.round(raw * weights, DIGITS)
    p_value, exact = randomisation_p_value(differences, seed)
    return TaskComparison(
        task=task,
        metric=metric,
        queries=len(differences),
        base=_mean(base * weights),
        other=_mean(other * weights),
        difference=_mean(differences),
        interval=bootstrap_interval(differences, seed),
        p_value=p_value,
        holm_p_value=None,
        exact=exact,
        wins=int((raw > 0).sum()),
        losses=int((raw < 0).sum()),
        ties=int((raw == 0).sum()),
    )


def _mean(values: Scores) -> float:
    """Mean of an exact sum, which does not depend on the order of addition."""
    return round(math.fsum(values) / len(values), DIGITS)


def _batch(queries: int) -> int:
    return max(1, CELLS // queries)
