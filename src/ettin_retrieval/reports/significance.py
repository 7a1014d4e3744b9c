"""Is one system better than another? Paired tests over queries and, with several, over seeds.

Tasks are fixed: an interval is for these tasks with new queries. Queries are drawn anew within each
task, and within each forum of CQADupstackRetrieval; every task counts equally in an average, and
every forum in its task, however many queries it has. Where a system was trained with several
seeds, the difference is of the means over seeds, and its interval is over seeds and queries. With
one seed, how training varies is not in it.

The tests follow M. Smucker, J. Allan, B. Carterette, "A comparison of statistical significance
tests for information retrieval evaluation", CIKM 2007.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import stats

from ettin_retrieval.reports.pairing import (
    Pairs,
    Runs,
    Scores,
    Stratum,
    folded,
    paired,
    require_same,
    scores_of,
    together,
)

RESAMPLES = 9_999
"""Samples of the bootstrap and of the randomisation test; 10,000 with the observed one."""

CELLS = 1_000_000
"""Numbers per batch of samples: caps memory whatever the number of queries."""

AVERAGE = "Average"
"""Name of the comparison over all tasks of a benchmark."""

DIGITS = 10
"""Decimals kept: below them a CPU's vector width decides the order of the sums."""


@dataclass(frozen=True)
class TaskComparison:
    """Two systems on one task, paired by query. Scores and differences are fractions.

    Over several seeds scores are means over them, and a query's difference is that of its means.
    A single query shows nothing of how queries vary: it has no interval, nor has a mean over tasks
    or forums of which one has a single query. Holm's correction is over all tasks compared; an
    average of them is not a separate claim and has none.
    """

    task: str
    metric: str
    queries: int
    base: float
    other: float
    difference: float
    interval: tuple[float, float] | None  # 95% percentile bootstrap, of the difference
    p_value: float  # two-sided paired randomisation test over queries, for these seeds
    holm_p_value: float | None
    holm_tasks: int | None  # in Holm's family
    exact: bool  # whether every sign pattern was counted, rather than `RESAMPLES` random ones
    wins: int  # queries on which `other` scores higher
    losses: int
    ties: int

    @property
    def at_floor(self) -> bool:
        """Whether no random pattern reached the observed difference, so that p is a bound."""
        return not self.exact and self.p_value <= 1 / (RESAMPLES + 1)


def compare(
    base: Runs, other: Runs, metric: str = "ndcg_at_10", seed: int = 42
) -> list[TaskComparison]:
    """Compare two systems on every task, query by query, as one family.

    Except for Holm's correction, a task's figures depend on its own queries, its name and the seed
    of the random samples alone, not on the order of the rows or on other tasks.

    Parameters
    ----------
    base, other
        Columns task, query_id and the metric; one row per query, as in the ledger. For a system
        with several seeds, a frame for each.

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
    return list(_family(folded(paired(base, other, metric)), metric, seed).values())


def compare_benchmarks(
    base: Runs,
    other: Runs,
    benchmarks: Mapping[str, Iterable[str]],
    metric: str = "ndcg_at_10",
    seed: int = 42,
) -> dict[str, list[TaskComparison]]:
    """Compare two systems on every task that all their seeds scored.

    All tasks are one family of Holm's, so that a task of two benchmarks has one value. A benchmark
    that adds neither a task nor an average to those before it is left out; tasks of no benchmark
    come last.

    Parameters
    ----------
    benchmarks
        Name to tasks.

    Returns
    -------
    Benchmark, empty for tasks of none, to its tasks in order of name and, if all of the benchmark
    and several, their `AVERAGE`, in which they count equally. Other tasks have no average.
    """
    runs = [[f] if isinstance(f, pd.DataFrame) else list(f) for f in (base, other)]
    shared = set.intersection(*(set(frame["task"]) for side in runs for frame in side))
    left, right = ([f[f["task"].isin(shared)] for f in side] for side in runs)
    aligned = paired(left, right, metric)
    as_tasks = folded(aligned)
    # Two forums are tasks of MTEB(eng, v2), while the twelve are one task of MTEB(eng, v1).
    every = aligned | as_tasks
    # The parts of a folded task are reported with it.
    groups: dict[str, set[str]] = {}
    whole = {name for name, listed in benchmarks.items() if {*listed} <= {*every}}
    whole = {name for name in whole if len({*benchmarks[name]}) > 1}
    covered = set(aligned) - set(as_tasks)
    for name, listed in benchmarks.items():
        tasks = set(listed) & set(every)
        if tasks - covered or name in whole:
            groups[name] = tasks
            covered |= tasks
    if rest := set(as_tasks) - covered:
        groups[""] = rest
    family = sorted(set().union(*groups.values()))
    alone = _family({task: every[task] for task in family}, metric, seed)
    compared = {name: [alone[task] for task in sorted(tasks)] for name, tasks in groups.items()}
    for name in whole & groups.keys():
        pairs = together(every[task] for task in sorted(groups[name]))
        compared[name].append(_compare_task(AVERAGE, metric, pairs, seed))
    return compared


def extent(benchmark: str, tasks: Sequence[TaskComparison], listed: Iterable[str]) -> str:
    """How much of a benchmark was compared, in words.

    >>> extent("MTEB(eng, v2)", [], ["SciFact", "NQ"]), extent("", [], [])
    ('0 of 2 tasks of MTEB(eng, v2)', 'tasks of no benchmark')
    """
    compared, whole = sum(task.task != AVERAGE for task in tasks), len(set(listed))
    if not benchmark:
        return "tasks of no benchmark"
    return benchmark if compared == whole else f"{compared} of {whole} tasks of {benchmark}"


def _family(tasks: dict[str, Pairs], metric: str, seed: int) -> dict[str, TaskComparison]:
    """Every task, with Holm's correction over all of them."""
    alone = [_compare_task(task, metric, pairs, seed) for task, pairs in tasks.items()]
    corrected = holm([each.p_value for each in alone])
    return {
        each.task: replace(each, holm_p_value=p, holm_tasks=len(alone))
        for each, p in zip(alone, corrected, strict=True)
    }


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
    task: Pairs, seed: int, resamples: int = RESAMPLES
) -> tuple[float, float] | None:
    """95% percentile interval of the mean difference, by a bootstrap over seeds and queries.

    Queries are drawn within each stratum, because tasks and forums are fixed: A. Davison,
    D. Hinkley, "Bootstrap methods and their application", 1997, section 3.2. Drawing differences
    keeps the pairing. Seeds of a system are drawn first, with replacement, and all of them have
    the same queries, as in the ledger. None if a stratum has a single query.
    """
    if any(len(stratum.base) < 2 for stratum in task):
        return None
    means = _mean_of_strata(
        (s.share for s in task),
        (resampled_means(_differences(s), seed, s.name, resamples) for s in task),
    )
    for side, sign in (("base", -1), ("other", 1)):
        by_seed = _mean_of_strata(
            (s.share for s in task), (getattr(s, side).mean(axis=0) for s in task)
        )
        means = means + sign * seed_shifts(by_seed, [seed, 2, sign + 1], resamples)
    low, high = np.percentile(means, [2.5, 97.5])
    return round(float(low), DIGITS), round(float(high), DIGITS)


def resampled_means(
    differences: Scores, seed: int, name: str = "", resamples: int = RESAMPLES
) -> Scores:
    """Mean of as many queries drawn with replacement; shape (resamples,).

    The stream of random numbers belongs to the name, so that strata are drawn independently.
    """
    rng = np.random.default_rng([seed, 0, zlib.crc32(name.encode())])
    queries = len(differences)
    # Whole numbers of the last decimal kept: their sums are exact in any order.
    whole = np.rint(differences * 10**DIGITS).astype(np.int64)
    batch = _batch(queries)
    sums = [
        whole[rng.integers(queries, size=(rows, queries), dtype=np.uint32)].sum(axis=1)
        for rows in (min(batch, resamples - start) for start in range(0, resamples, batch))
    ]
    return np.asarray(np.concatenate(sums) / (queries * 10**DIGITS), dtype=np.float64)


def seed_shifts(by_seed: Scores, seed: Sequence[int], resamples: int = RESAMPLES) -> Scores:
    """Mean over seeds drawn with replacement, less the mean over all; shape (resamples,).

    The bootstrap of n values is too narrow by sqrt((n - 1) / n), and by the normal quantile in
    place of Student's with n - 1 degrees of freedom, both of which matter for two to four seeds.
    Shifts are widened by these factors, which T. Hesterberg, "What teachers should know about the
    bootstrap", The American Statistician 69, 2015, puts into the level of the interval: 9.2 for
    two seeds, 2.7 for three, 1.6 for five. Zero for one seed, which shows no spread.

    >>> seed_shifts(np.array([0.5]), [1], resamples=2)
    array([0., 0.])
    """
    seeds = len(by_seed)
    if seeds == 1:
        return np.zeros(resamples)
    widened = math.sqrt(seeds / (seeds - 1)) * stats.t.ppf(0.975, seeds - 1) / stats.norm.ppf(0.975)
    drawn = np.random.default_rng(seed).integers(seeds, size=(resamples, seeds))
    # Rounded, so that equal seeds shift nothing.
    deviations = np.round(by_seed - by_seed.mean(), DIGITS)
    return np.asarray(widened * deviations[drawn].mean(axis=1), dtype=np.float64)


def _mean_of_strata(shares: Iterable[float], values: Iterable[Scores]) -> Scores:
    return np.asarray(sum(s * v for s, v in zip(shares, values, strict=True)), dtype=np.float64)


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


def _compare_task(task: str, metric: str, strata: Pairs, seed: int) -> TaskComparison:
    differences = [_differences(stratum) for stratum in strata]
    raw = np.concatenate(differences)
    # The mean over queries of these is the mean of the strata's means.
    weights = [s.share * len(raw) / len(s.base) for s in strata]
    weighted = [np.round(w * d, DIGITS) for w, d in zip(weights, differences, strict=True)]
    p_value, exact = randomisation_p_value(np.concatenate(weighted), seed)
    shares = [stratum.share for stratum in strata]
    return TaskComparison(
        task=task,
        metric=metric,
        queries=len(raw),
        base=_mean(shares, [stratum.base.mean(axis=1) for stratum in strata]),
        other=_mean(shares, [stratum.other.mean(axis=1) for stratum in strata]),
        difference=_mean(shares, differences),
        interval=bootstrap_interval(strata, seed),
        p_value=p_value,
        holm_p_value=None,
        holm_tasks=None,
        exact=exact,
        wins=int((raw > 0).sum()),
        losses=int((raw < 0).sum()),
        ties=int((raw == 0).sum()),
    )


def _differences(stratum: Stratum) -> Scores:
    """Of each query, between the means over seeds."""
    # Rounded: 0.8 - 0.7 and 0.3 - 0.2 are the same difference but differ in the last bit.
    return np.round(stratum.other.mean(axis=1) - stratum.base.mean(axis=1), DIGITS)


def _mean(shares: Sequence[float], strata: Sequence[Scores]) -> float:
    """Of the strata's means, with exact sums, which do not depend on the order of addition."""
    means = [share * math.fsum(s) / len(s) for share, s in zip(shares, strata, strict=True)]
    return round(math.fsum(means), DIGITS)


def _batch(queries: int) -> int:
    return max(1, CELLS // queries)
