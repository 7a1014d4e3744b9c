"""Paired tests: values worked out by hand."""

from __future__ import annotations

import random
from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ettin_retrieval.reports import significance
from ettin_retrieval.reports.pairing import Pairs, Scores, Stratum
from ettin_retrieval.reports.significance import (
    bootstrap_interval,
    compare,
    compare_benchmarks,
    extent,
    holm,
    randomisation_p_value,
    seed_spread,
)
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.tasks import CQADUPSTACK, CQADUPSTACK_PARTS, ENG_V2_TASKS, GUIDE_TASKS
from tests.unit.reports.frames import forums, frame, many


def one_task(differences: Scores) -> Pairs:
    """A task with these differences."""
    return (Stratum("T", np.zeros((len(differences), 1)), differences[:, None]),)


def test_a_small_comparison_by_hand() -> None:
    # Differences +0.3, +0.1, -0.2, 0 have the mean 0.05. The 8 sign patterns of the three that
    # moved sum to 0.6, 0.4, 0.2, 0 and their negatives: 3 of 8 reach the observed 0.2, and as
    # many on the other side.
    base = frame(a=0.2, b=0.5, c=0.7, d=0.4)
    other = frame(a=0.5, b=0.6, c=0.5, d=0.4)
    [task] = compare(base, other)
    assert (task.base, task.other, task.difference) == (0.45, 0.5, 0.05)
    assert (task.wins, task.losses, task.ties, task.queries) == (2, 1, 1, 4)
    assert task.exact
    assert task.p_value == 0.75


def test_the_exact_p_value_is_that_of_counting_every_sign_pattern() -> None:
    differences = np.array([0.31, 0.12, -0.05, 0.22, 0.4, -0.11, 0.07, 0.02])
    sums = [np.dot(signs, differences) for signs in product([1, -1], repeat=8)]
    as_far = sum(abs(s) >= differences.sum() - 1e-9 for s in sums) / len(sums)
    p_value, exact = randomisation_p_value(differences, seed=3)
    assert exact
    assert p_value == pytest.approx(as_far, abs=1e-10)


def test_random_patterns_agree_with_the_exact_value() -> None:
    differences = np.random.default_rng(1).normal(0.1, 0.3, 12)
    exact, counted = randomisation_p_value(differences, seed=0)
    drawn, also_counted = randomisation_p_value(differences, seed=0, resamples=4000)
    assert counted and not also_counted
    assert drawn == pytest.approx(exact, abs=0.03)


def test_the_random_p_value_is_that_of_scipy_on_symmetric_samples() -> None:
    """SciPy doubles the smaller tail; ours counts both, which is the same on symmetric samples."""
    differences = np.round(np.random.default_rng(4).normal(0.04, 0.3, 80), 10)
    ours, exact = randomisation_p_value(differences, seed=1)
    theirs = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=9_999, vectorized=True,
        rng=np.random.default_rng(9), axis=-1,
    )  # fmt: skip
    assert not exact
    assert 0.05 < ours < 0.95  # both estimates vary, here by about 0.005
    assert ours == pytest.approx(theirs.pvalue, abs=0.02)


def test_ties_with_the_observed_sum_are_counted() -> None:
    """18 queries of +0.1 and 2 of -0.1: patterns with 2 or fewer of one sign are as far.

    Sums of 0.1 differ in their last bits by order, although they are equal.
    """
    differences = np.array([0.1] * 18 + [-0.1] * 2)
    p_value, exact = randomisation_p_value(differences, seed=2, resamples=200_000)
    as_far = 2 * (1 + 20 + 190) / 2**20
    assert not exact
    assert p_value == pytest.approx(as_far, rel=0.3)


def test_twelve_forums_are_one_task_whose_mean_is_over_forums() -> None:
    base, other = forums([0.6, *[0.0] * 11], [30, *[10] * 11])
    [task] = compare(base, other)
    assert (task.task, task.queries) == (CQADUPSTACK, 140)
    assert (task.other, task.difference) == (0.05, 0.05)  # 0.6 / 12, not 0.6 * 30 / 140
    assert (task.wins, task.losses, task.ties) == (30, 0, 110)
    left, right = (f[f["task"] != "CQADupstackGisRetrieval"] for f in (base, other))
    assert len(compare(left, right)) == 11


def together(*pairs: tuple[pd.DataFrame, pd.DataFrame]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Several tasks of two systems."""
    base, other = (pd.concat([pair[side] for pair in pairs]) for side in (0, 1))
    return base, other


def shifted(queries: int, task: str, by: float = 0.4) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A second system that is exactly as much better on every query."""
    base, _ = many(queries, 0, task=task)
    return base, base.assign(ndcg_at_10=base["ndcg_at_10"] + by)


def test_a_task_of_two_benchmarks_has_one_value_in_one_family() -> None:
    forum, other_forum = "CQADupstackGamingRetrieval", "CQADupstackGisRetrieval"
    base, other = together(
        forums([0.2] * 12, [10] * 12),
        many(40, 0.02, task="SciFact"),
        many(20, 0.0, seed=1, task="FEVERHardNegatives"),
        many(10, 0.0, seed=2, task="own"),
    )
    benchmarks = {
        "one": [CQADUPSTACK, "SciFact", "NQ"],
        "two": [forum, "FEVERHardNegatives", "SciFact"],
        "three": [other_forum],  # is part of the whole, and adds nothing to it
    }
    families = compare_benchmarks(base, other, benchmarks)
    assert list(families) == ["one", "two", ""]
    assert [t.task for t in families["one"]] == [CQADUPSTACK, "SciFact"]
    assert [t.task for t in families["two"]] == [forum, "FEVERHardNegatives", "SciFact", "Average"]
    assert [t.task for t in families[""]] == ["own"]
    assert families["one"][1] is families["two"][2]
    tasks = {t.task: t for each in families.values() for t in each if t.task != "Average"}
    assert len(tasks) == 5
    corrected = holm([t.p_value for t in tasks.values()])
    assert [t.holm_p_value for t in tasks.values()] == corrected
    assert {t.holm_tasks for t in tasks.values()} == {5}
    *listed, average = families["two"]
    assert average.difference == pytest.approx(sum(t.difference for t in listed) / 3, abs=1e-9)
    assert (average.holm_p_value, average.holm_tasks) == (None, None)
    assert average.wins == sum(t.wins for t in listed)


@pytest.mark.parametrize(
    "tasks",
    [
        ["contracts", "leases"],  # of no benchmark
        ["contracts", "SciFact-subsampled-100"],
        [*sorted(CQADUPSTACK_PARTS), "contracts"],
        ["CQADupstackGamingRetrieval", "CQADupstackUnixRetrieval", "FEVER", "FEVERHardNegatives"],
        [task for task in GUIDE_TASKS if task not in (CQADUPSTACK, "NQ")],
        list(ENG_V2_TASKS[1:]),
    ],
)
def test_only_a_whole_benchmark_has_an_average(tasks: list[str]) -> None:
    base, other = together(*(shifted(3, task) for task in tasks))
    benchmarks = {"v1": GUIDE_TASKS, "v2": ENG_V2_TASKS}
    found = compare_benchmarks(base, other, benchmarks)
    assert "Average" not in {t.task for each in found.values() for t in each}
    whole = together(*(shifted(3, t) for t in ENG_V2_TASKS), shifted(3, "NQ"))
    found = compare_benchmarks(*whole, benchmarks)
    assert {name: [t.task for t in each][-1] for name, each in found.items()} == {
        "v1": "TRECCOVID", "v2": "Average",
    }  # fmt: skip
    assert extent("v1", found["v1"], GUIDE_TASKS) == "5 of 15 tasks of v1"
    assert extent("v2", found["v2"], ENG_V2_TASKS) == "v2"


def test_equal_gains_on_every_query_leave_nothing_uncertain_in_an_average() -> None:
    """Drawn from all queries together, the interval was 0.348 to 0.456."""
    base, other = together(shifted(50, "A"), shifted(10_000, "B"))
    [*_, average] = compare_benchmarks(base, other, {"both": ["A", "B"]})["both"]
    assert (average.difference, average.interval) == (0.4, (0.4, 0.4))
    [cqadupstack] = compare(*forums([0.4] * 12, [5, 700, *[20] * 10]))
    assert (cqadupstack.difference, cqadupstack.interval) == (0.4, (0.4, 0.4))


def test_the_interval_of_an_average_is_that_of_independent_tasks() -> None:
    """The variance of a mean of T tasks is the sum of the variances of their means, over T²."""
    pairs = {"A": many(50, 0.1, 1, "A"), "B": many(4000, 0.0, 2, "B"), "C": many(50, 0.1, 1, "C")}
    base, other = together(*pairs.values())
    *tasks, average = compare_benchmarks(base, other, {"three": list(pairs)})["three"]
    # A and C have the same differences, but are not drawn together.
    assert tasks[0].difference == tasks[2].difference
    assert tasks[0].interval != tasks[2].interval
    differences = [right["ndcg_at_10"] - left["ndcg_at_10"] for left, right in pairs.values()]
    error = sum(d.var(ddof=0) / len(d) for d in differences) ** 0.5 / 3
    assert average.interval is not None
    low, high = average.interval
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.05)
    assert (high + low) / 2 == pytest.approx(average.difference, abs=0.1 * error)


def test_the_p_value_of_an_average_is_of_the_mean_of_task_means() -> None:
    few, more = [0.3, -0.1, 0.25], [0.2, 0.1, -0.05, 0.15, 0.1]
    base, other = together(
        (frame("A", a=0.5, b=0.5, c=0.5), frame("A", a=0.8, b=0.4, c=0.75)),
        (frame("B", a=0.5, b=0.5, c=0.5, d=0.5, e=0.5),
         frame("B", a=0.7, b=0.6, c=0.45, d=0.65, e=0.6)),
    )  # fmt: skip
    [*_, average] = compare_benchmarks(base, other, {"two": ["A", "B"]})["two"]
    observed = (sum(few) / 3 + sum(more) / 5) / 2
    means = [
        (np.dot(signs[:3], few) / 3 + np.dot(signs[3:], more) / 5) / 2
        for signs in product([1, -1], repeat=8)
    ]
    assert average.exact
    assert average.difference == pytest.approx(observed)
    assert average.p_value == sum(abs(m) >= observed - 1e-9 for m in means) / 256


def test_a_mean_with_a_stratum_of_one_query_has_no_interval() -> None:
    base, other = together(shifted(50, "A"), shifted(1, "B"))
    [a, b, average] = compare_benchmarks(base, other, {"both": ["A", "B"]})["both"]
    assert (a.interval, b.interval, average.interval) == ((0.4, 0.4), None, None)


def test_seeds_that_agree_add_nothing_and_seeds_that_do_not_widen_the_interval() -> None:
    base, other = many(60, 0.1)
    [one] = compare(base, other)
    assert compare([base], [other, other, other]) == [one]
    # 0.1, 0.2 and 0.3 better on every query: all that is uncertain is the seed.
    seeds = [base.assign(ndcg_at_10=base["ndcg_at_10"] + gain) for gain in (0.1, 0.2, 0.3)]
    [three] = compare(base, seeds)
    assert three.difference == pytest.approx(0.2)
    assert three.interval is not None
    # Student's interval of three seeds is 0.2 ± 4.303 * 0.1 / sqrt(3). Seeds drawn with replacement
    # and not widened never leave 0.1 to 0.3, and queries alone show nothing.
    assert three.interval[0] < 0.2 - 0.248
    assert three.interval[1] > 0.2 + 0.248
    assert three.interval == pytest.approx((0.2 - 0.269, 0.2 + 0.269), abs=1e-3)
    [other_way] = compare(seeds, base)
    assert other_way.interval == pytest.approx((-three.interval[1], -three.interval[0]))


def test_few_seeds_cover_as_often_as_they_should() -> None:
    """Seeds and queries both vary; the truth is 0. Unwidened, two seeds cover it in 81%."""
    rng = np.random.default_rng(0)
    hits = dict.fromkeys((2, 3, 5), 0)
    for seeds in hits:
        for _ in range(300):
            effects = rng.normal(0, 0.02, seeds)
            scores = rng.normal(0, 0.1, (100, 1)) + effects + rng.normal(0, 0.02, (100, seeds))
            stratum = Stratum("T", np.zeros((100, 1)), scores)
            interval = bootstrap_interval((stratum,), seed=1, resamples=499)
            assert interval is not None
            hits[seeds] += interval[0] <= 0 <= interval[1]
    assert all(hit >= 0.92 * 300 for hit in hits.values()), hits


def test_a_seed_is_drawn_for_all_tasks_together() -> None:
    """Seeds better on one task and as much worse on the other leave their average certain."""
    (a, _), (b, _) = shifted(30, "A"), shifted(30, "B")
    seeds = [
        pd.concat(
            [a.assign(ndcg_at_10=a["ndcg_at_10"] + up), b.assign(ndcg_at_10=b["ndcg_at_10"] - up)]
        )
        for up in (-0.1, 0.0, 0.1)
    ]
    found = compare_benchmarks(pd.concat([a, b]), seeds, {"both": ["A", "B"]})["both"]
    assert [t.interval == pytest.approx((0, 0), abs=1e-9) for t in found] == [False, False, True]


def test_only_tasks_that_both_scored_are_in_a_family() -> None:
    both = frame("A", x=0.5, y=0.5)
    families = compare_benchmarks(
        pd.concat([both, frame("B", x=0.5)]), pd.concat([both, frame("C", x=0.5)]), {}
    )
    assert {name: [t.task for t in tasks] for name, tasks in families.items()} == {"": ["A"]}
    # And all seeds of both.
    some = compare_benchmarks([both, pd.concat([both, frame("B", x=0.5)])], both, {})
    assert [t.task for t in some[""]] == ["A"]


def test_equal_systems_differ_by_nothing() -> None:
    [task] = compare(frame(a=0.3, b=0.9), frame(a=0.3, b=0.9))
    assert (task.difference, task.interval, task.p_value) == (0.0, (0.0, 0.0), 1.0)
    assert (task.wins, task.losses, task.ties) == (0, 0, 2)


def test_one_query_has_no_interval_and_proves_nothing() -> None:
    [task] = compare(frame(a=0.1), frame(a=0.9))
    assert (task.difference, task.interval, task.p_value) == (0.8, None, 1.0)


def test_the_interval_is_about_that_of_the_normal_approximation() -> None:
    differences = np.random.default_rng(5).normal(0.02, 0.2, 400)
    interval = bootstrap_interval(one_task(differences), seed=1)
    assert interval is not None
    error = differences.std(ddof=1) / np.sqrt(400)
    bounds = (differences.mean() - 1.96 * error, differences.mean() + 1.96 * error)
    assert interval == pytest.approx(bounds, abs=0.2 * error)


def test_pairing_finds_what_unpaired_scores_would_hide() -> None:
    """A gain of 0.02 on every query is certain, although queries differ by far more."""
    base, _ = many(200, 0)
    [task] = compare(base, base.assign(ndcg_at_10=base["ndcg_at_10"] + 0.02))
    assert task.interval == (0.02, 0.02)
    # No random pattern is as far from 0 as the observed one: the least that 9,999 can show.
    assert (task.p_value, task.exact, task.at_floor) == (0.0001, False, True)


def test_holm_by_hand() -> None:
    """Sorted 0.005 0.01 0.03 0.04 times 4 3 2 1: 0.02 0.03 0.06 0.04, the last raised to 0.06."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == [0.03, 0.06, 0.06, 0.02]
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]


def test_holm_is_over_the_tasks_compared_together() -> None:
    base, other = many(8, 0.5, task="A")
    same = frame("B", x=0.5, y=0.5)
    tasks = compare(pd.concat([base, same]), pd.concat([other, same]))
    assert [t.task for t in tasks] == ["A", "B"]
    assert tasks[0].p_value == 2 / 256
    assert tasks[0].holm_p_value == 4 / 256
    assert tasks[1].holm_p_value == 1.0


def test_repeating_gives_the_same_and_touches_no_global_generator() -> None:
    def states() -> tuple[object, object]:
        return random.getstate(), np.random.get_state(legacy=False)["state"]["key"].tolist()

    base, other = many(60, 0.02)
    random.seed(7)
    np.random.seed(7)
    before = states()
    first = compare(base, other, seed=11)
    assert states() == before
    np.random.seed(8)
    assert compare(base, other, seed=11) == first
    assert compare(base, other, seed=12) != first


def test_neither_row_order_nor_other_tasks_matter() -> None:
    base, other = many(60, 0.02)
    [alone] = compare(base, other)
    more, more_too = many(30, 0.0, seed=3, task="A")
    tasks = compare(
        pd.concat([more, base.sample(frac=1, random_state=1)]),
        pd.concat([other.sample(frac=1, random_state=2), more_too]),
    )
    assert (tasks[1].interval, tasks[1].p_value) == (alone.interval, alone.p_value)


def test_batches_cap_memory_and_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    differences = np.random.default_rng(2).normal(0.02, 0.2, 50)
    task = one_task(differences)
    whole = bootstrap_interval(task, 1, 500), randomisation_p_value(differences, 1, 500)
    monkeypatch.setattr(significance, "CELLS", 700)
    parts = bootstrap_interval(task, 1, 500), randomisation_p_value(differences, 1, 500)
    assert parts == whole


def test_the_spread_over_seeds_is_that_of_the_seeds_means() -> None:
    """Means 0.3 and 0.5: mean 0.4, deviation sqrt(0.02) with one degree of freedom."""
    spread = seed_spread([frame(a=0.2, b=0.4), frame(a=0.4, b=0.6)])
    assert spread.index.tolist() == ["T"]
    assert spread.loc["T", "mean"] == 0.4
    assert spread.loc["T", "deviation"] == pytest.approx(0.02**0.5, abs=1e-9)
    single = seed_spread([frame(a=0.2, b=0.4)])
    assert single.loc["T", "mean"] == 0.3
    assert single["deviation"].isna().all()


def test_seeds_must_have_the_same_queries() -> None:
    with pytest.raises(InputError, match="query 'b'"):
        seed_spread([frame(a=0.2, b=0.4), frame(a=0.4)])
