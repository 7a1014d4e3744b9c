"""Is one system better than another? Paired tests over queries, and the spread over seeds.

Two sources of chance are kept apart. Which queries a benchmark happens to hold is answered per
task by a bootstrap interval and a randomisation test over the queries (`compare`). Which seed a
model was trained with is answered by the standard deviation of the task's score over seeds
(`seed_spread`); no number of queries makes it smaller.

Every task of a benchmark counts equally, as in its average, however many queries it has: where
differences of several tasks are taken together, each is scaled so that their mean over queries is
the mean over tasks. The twelve parts of CQADupstackRetrieval are one task in this way, and a
benchmark's `Average` is.

The tests follow Smucker, Allan and Carterette, "A comparison of statistical significance tests
for information retrieval evaluation", CIKM 2007.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from ettin_retrieval.ledger.entry import CQADUPSTACK
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.tasks import cqadupstack_parts

Scores = npt.NDArray[np.float64]

RESAMPLES = 9_999
"""Draws of the bootstrap and of the randomisation test; with the observed one, 10,000."""

CONFIDENCE = 0.95

CELLS = 1_000_000
"""Numbers held per batch of draws: bounds memory whatever the number of queries."""

FLOOR = 1 / (RESAMPLES + 1)
"""The least p-value that the drawn test can give: it says no more than that p is at most this."""

AVERAGE = "Average"
"""Name of the comparison over all tasks of a family."""

DIGITS = 10
"""Decimals kept: below them the width of a CPU's vectors decides the order of the sums."""


@dataclass(frozen=True)
class TaskComparison:
    """Two systems on one task, paired by query. Scores and differences are fractions.

    Attributes
    ----------
    base, other, difference
        Mean scores over the queries, and `other - base`.
    interval
        Percentile bootstrap interval of the difference, 95%; None where there is one query only,
        which says nothing of how queries vary.
    p_value
        Two-sided paired randomisation test.
    holm_p_value
        The same after Holm's correction over the tasks of the family; None of their average,
        which is no claim of its own.
    exact
        Whether every sign pattern was counted, rather than `RESAMPLES` drawn ones.
    wins, losses, ties
        Queries on which `other` scores higher, lower, the same.
    """

    task: str
    metric: str
    queries: int
    base: float
    other: float
    difference: float
    interval: tuple[float, float] | None
    p_value: float
    holm_p_value: float | None
    exact: bool
    wins: int
    losses: int
    ties: int

    @property
    def at_floor(self) -> bool:
        """Whether no drawn pattern reached the observed difference: p is a bound."""
        return not self.exact and self.p_value <= FLOOR


@dataclass(frozen=True)
class Family:
    """Tasks that are one claim together: Holm's correction is over them.

    Attributes
    ----------
    name
        The benchmark; empty for tasks that no benchmark lists.
    tasks
        In order of name.
    average
        Over the tasks, each counting equally; None with a single task.
    """

    name: str
    tasks: list[TaskComparison]
    average: TaskComparison | None


@dataclass(frozen=True)
class _Paired:
    """Scores of two systems by query, and how much each query counts.

    Attributes
    ----------
    base, other, weights
        Shape (queries,); the weights' mean is 1.
    """

    base: Scores
    other: Scores
    weights: Scores


@dataclass(frozen=True)
class SeedSpread:
    """A task's score over several seeds of one model.

    Attributes
    ----------
    mean, standard_deviation
        Over seeds, of the mean over queries; the deviation has `seeds - 1` in its denominator
        and is None for a single seed.
    """

    task: str
    metric: str
    seeds: int
    mean: float
    standard_deviation: float | None


def compare(
    base: pd.DataFrame, other: pd.DataFrame, metric: str = "ndcg_at_10", seed: int = 42
) -> list[TaskComparison]:
    """Compare two systems on every task, query by query, as one family.

    A task's figures depend on its own queries and the seed alone: neither the order of the rows
    nor the other tasks change them, Holm's correction excepted. No global generator is read.

    Parameters
    ----------
    base, other
        Columns task, query_id and the metric; one row a query, as the results ledger has them.
    seed
        Of the draws.

    Returns
    -------
    One comparison a task, in order of name; of CQADupstackRetrieval one where all of its parts
    are there.

    Raises
    ------
    InputError
        The two have not the same tasks and queries, or a score is missing.

    Examples
    --------
    >>> frame = pd.DataFrame({"task": "T", "query_id": list("abcde"), "ndcg_at_10": 0.5})
    >>> [t] = compare(frame, frame.assign(ndcg_at_10=[1.0, 1.0, 0.75, 0.75, 0.75]))
    >>> t.difference, t.p_value, (t.wins, t.losses, t.ties)
    (0.35, 0.0625, (5, 0, 0))
    """
    return _family("", _folded(_paired(base, other, metric)), metric, seed).tasks


def compare_benchmarks(
    base: pd.DataFrame,
    other: pd.DataFrame,
    benchmarks: Mapping[str, Iterable[str]],
    metric: str = "ndcg_at_10",
    seed: int = 42,
) -> list[Family]:
    """Compare two systems on every task, a family for each benchmark.

    A task that two benchmarks list is in both families, as it is in both averages. A benchmark
    of which nothing was scored beyond another's tasks is left out; tasks of none come last.

    Parameters
    ----------
    benchmarks
        Name to tasks.
    """
    paired = _paired(base, other, metric)
    folded = _folded(paired)
    # Two forums are tasks of a benchmark of their own, where the twelve are one task of another.
    every = paired | folded
    listed = {name: set(tasks) & set(every) for name, tasks in benchmarks.items()}
    # The parts of a folded task are told with it.
    families, covered = [], set(paired) - set(folded)
    for name, tasks in listed.items():
        if tasks - covered:
            families.append((name, {task: every[task] for task in sorted(tasks)}))
            covered |= tasks
    rest = {task: folded[task] for task in sorted(folded) if task not in covered}
    if rest:
        families.append(("", rest))
    return [_family(name, tasks, metric, seed) for name, tasks in families]


def _family(name: str, tasks: dict[str, _Paired], metric: str, seed: int) -> Family:
    alone = [_compare_task(task, metric, pairs, seed) for task, pairs in tasks.items()]
    corrected = holm([comparison.p_value for comparison in alone])
    average = None
    if len(tasks) > 1:
        average = _compare_task(AVERAGE, metric, _together(list(tasks.values())), seed)
    return Family(
        name,
        [replace(each, holm_p_value=p) for each, p in zip(alone, corrected, strict=True)],
        average,
    )


def _paired(base: pd.DataFrame, other: pd.DataFrame, metric: str) -> dict[str, _Paired]:
    """Scores of both systems by task, aligned by query, in order of name."""
    left, right = _by_task(base, metric, "the first"), _by_task(other, metric, "the second")
    _same_ids(set(left), set(right), "task", "the comparison")
    for task in left:
        _same_ids(set(left[task].index), set(right[task].index), "query", task)
    return {
        task: _Paired(left[task].to_numpy(), right[task].to_numpy(), np.ones(len(left[task])))
        for task in left
    }


def _folded(tasks: dict[str, _Paired]) -> dict[str, _Paired]:
    """The twelve parts of CQADupstackRetrieval as that task; the others as they are."""
    parts = cqadupstack_parts(tasks)
    if not parts:
        return tasks
    others = {task: pairs for task, pairs in tasks.items() if task not in parts}
    return dict(sorted({**others, CQADUPSTACK: _together([tasks[p] for p in parts])}.items()))


def _together(tasks: list[_Paired]) -> _Paired:
    """Queries of several tasks as one, each task counting equally.

    Of N queries in T tasks, those of a task with n are scaled by N / (T n).
    """
    queries = sum(len(pairs.base) for pairs in tasks)
    scales = [queries / (len(tasks) * len(pairs.base)) for pairs in tasks]
    return _Paired(
        np.concatenate([pairs.base for pairs in tasks]),
        np.concatenate([pairs.other for pairs in tasks]),
        np.concatenate([s * pairs.weights for s, pairs in zip(scales, tasks, strict=True)]),
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction: bounds the chance of a single false claim among all.

    The i-th smallest of m values is multiplied by m - i + 1; a value is never below the one
    before it, nor above 1. S. Holm, "A simple sequentially rejective multiple test procedure",
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

    Drawing differences is drawing queries, so the pairing is kept. The percentile interval, not
    BCa: a mean over queries needs no correction for bias, and BCa is undefined where all
    differences are equal. B. Efron, R. Tibshirani, "An introduction to the bootstrap", ch. 13.

    Parameters
    ----------
    differences
        Shape (queries,).

    Returns
    -------
    Lower and upper bound; None for a single query.
    """
    if len(differences) < 2:
        return None
    drawn = stats.bootstrap(
        (differences,),
        _mean,
        n_resamples=resamples,
        batch=_batch(len(differences)),
        vectorized=True,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng([seed, 0]),
    )
    low, high = drawn.confidence_interval
    return round(float(low), DIGITS), round(float(high), DIGITS)


def randomisation_p_value(
    differences: Scores, seed: int, resamples: int = RESAMPLES
) -> tuple[float, bool]:
    """Two-sided p-value of paired differences under random exchange of the two systems.

    If the systems were the same, each difference could as well have had the other sign. Queries
    with a difference of 0 are left out: their sign changes no sum.

    Parameters
    ----------
    differences
        Shape (queries,).

    Returns
    -------
    The p-value, and whether all 2^n sign patterns were counted instead of drawn ones.

    Examples
    --------
    Three equal differences: two of the eight patterns are as far from 0.

    >>> randomisation_p_value(np.array([0.5, 0.5, 0.5, 0.0]), seed=1)
    (0.25, True)
    """
    moved = differences[differences != 0]
    if len(moved) < 2:  # of one difference, either sign is as far from 0
        return 1.0, True
    if 2 ** len(moved) > resamples:
        return _drawn_p_value(moved, seed, resamples), False
    test = stats.permutation_test(
        (moved,),
        _mean,
        permutation_type="samples",
        alternative="two-sided",
        n_resamples=resamples,
        vectorized=True,
    )
    return round(float(test.pvalue), DIGITS), True


def _drawn_p_value(differences: Scores, seed: int, resamples: int) -> float:
    """The share of drawn sign patterns whose sum is as far from 0, the observed one among them.

    B. Phipson, G. Smyth, "Permutation p-values should never be zero", Statistical Applications
    in Genetics and Molecular Biology 9, 2010.
    """
    # Whole numbers of the last decimal kept: their sums are exact in any order, so that no tie
    # with the observed sum is lost, on any machine.
    whole = np.rint(differences * 10**DIGITS)
    observed = abs(whole.sum())
    rng = np.random.default_rng([seed, 1])
    # Bytes in eights, as the generator makes them: a batch then takes none of the next one's.
    batch, width = _batch(len(whole)), 8 * -(-len(whole) // 64)
    as_far = 0
    for start in range(0, resamples, batch):
        rows = min(batch, resamples - start)
        drawn = np.frombuffer(rng.bytes(rows * width), dtype=np.uint8).reshape(rows, width)
        turned = np.unpackbits(drawn, axis=1, count=len(whole)).astype(np.float64)
        as_far += int((np.abs(whole.sum() - 2 * (turned @ whole)) >= observed).sum())
    return (as_far + 1) / (resamples + 1)


def seed_spread(seeds: Sequence[pd.DataFrame], metric: str = "ndcg_at_10") -> list[SeedSpread]:
    """Mean and standard deviation over seeds of each task's score.

    Parameters
    ----------
    seeds
        One frame a seed: columns task, query_id and the metric.

    Raises
    ------
    InputError
        The seeds have not the same tasks and queries.

    Examples
    --------
    >>> frame = pd.DataFrame({"task": "T", "query_id": ["a", "b"], "ndcg_at_10": [0.2, 0.4]})
    >>> [t] = seed_spread([frame, frame.assign(ndcg_at_10=[0.4, 0.6])])
    >>> t.mean, t.standard_deviation
    (0.4, 0.1414213562)
    """
    scores = [
        _by_task(frame, metric, f"seed number {number}")
        for number, frame in enumerate(seeds, start=1)
    ]
    if not scores:
        return []
    for other in scores[1:]:
        _same_ids(set(scores[0]), set(other), "task", "the seeds")
        for task in other:
            _same_ids(set(scores[0][task].index), set(other[task].index), "query", task)
    return [
        _spread(task, metric, [_exact_mean(each[task].to_numpy()) for each in scores])
        for task in scores[0]
    ]


def _spread(task: str, metric: str, means: list[float]) -> SeedSpread:
    deviation = float(np.std(means, ddof=1)) if len(means) > 1 else None
    return SeedSpread(
        task=task,
        metric=metric,
        seeds=len(means),
        mean=round(math.fsum(means) / len(means), DIGITS),
        standard_deviation=None if deviation is None else round(deviation, DIGITS),
    )


def _compare_task(task: str, metric: str, pairs: _Paired, seed: int) -> TaskComparison:
    # Rounded: 0.8 - 0.7 and 0.3 - 0.2 differ in the last bit and are the same difference.
    raw = np.round(pairs.other - pairs.base, DIGITS)
    differences = np.round(raw * pairs.weights, DIGITS)
    p_value, exact = randomisation_p_value(differences, seed)
    return TaskComparison(
        task=task,
        metric=metric,
        queries=len(differences),
        base=round(_exact_mean(pairs.base * pairs.weights), DIGITS),
        other=round(_exact_mean(pairs.other * pairs.weights), DIGITS),
        difference=round(_exact_mean(differences), DIGITS),
        interval=bootstrap_interval(differences, seed),
        p_value=p_value,
        holm_p_value=None,
        exact=exact,
        wins=int((raw > 0).sum()),
        losses=int((raw < 0).sum()),
        ties=int((raw == 0).sum()),
    )


def _by_task(frame: pd.DataFrame, metric: str, which: str) -> dict[str, pd.Series]:
    """Scores by query id, of each task; both in order of name."""
    for column in ("task", "query_id", metric):
        if column not in frame:
            there = ", ".join(frame.columns)
            raise InputError(f"{which} system has no column {column!r}; it has {there}")
    if frame[metric].isna().any():
        row = frame.index[frame[metric].isna()][0]
        where = f"{frame['task'][row]}, query {frame['query_id'][row]!r}"
        raise InputError(f"{which} system has no {metric} for {where}")
    twice = frame.duplicated(["task", "query_id"])
    if twice.any():
        task, query = frame.loc[twice, ["task", "query_id"]].iloc[0]
        raise InputError(f"{which} system has query {query!r} of {task} twice")
    ordered = frame.sort_values(["task", "query_id"])
    return {
        str(task): rows.set_index("query_id")[metric].astype("float64")
        for task, rows in ordered.groupby("task", sort=True)
    }


def _same_ids(left: set[str], right: set[str], kind: str, where: str) -> None:
    if left == right:
        return
    only, which = (left - right, "first") if left - right else (right - left, "second")
    more = f" (and {len(left ^ right) - 1} more)" if len(left ^ right) > 1 else ""
    raise InputError(
        f"{where}: {kind} {min(only)!r} was scored by the {which} alone{more}; paired tests need "
        "the same tasks and queries on both sides"
    )


def _mean(values: Scores, axis: int = -1) -> Scores:
    return np.mean(values, axis=axis)


def _exact_mean(values: Scores) -> float:
    """Mean whose sum is rounded once, so that no order of addition shows in it."""
    return math.fsum(values) / len(values)


def _batch(queries: int) -> int:
    return max(1, CELLS // queries)
