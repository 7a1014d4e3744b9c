"""Paired tests: values worked out by hand."""

from __future__ import annotations

import random
from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ettin_retrieval.reports import significance
from ettin_retrieval.reports.significance import (
    bootstrap_interval,
    compare,
    compare_benchmarks,
    holm,
    randomisation_p_value,
    seed_spread,
)
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.tasks import CQADUPSTACK
from tests.unit.reports.frames import forums, frame, many


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


def test_a_family_is_a_benchmark_with_an_average_outside_holm() -> None:
    forum, other_forum = "CQADupstackGamingRetrieval", "CQADupstackGisRetrieval"
    pairs = [
        forums([0.2] * 12, [10] * 12),
        many(40, 0.1, task="SciFact"),
        many(20, 0.0, seed=1, task="FEVERHardNegatives"),
        many(10, 0.0, seed=2, task="own"),
    ]
    base, other = (pd.concat([pair[i] for pair in pairs]) for i in (0, 1))
    benchmarks = {
        "one": [CQADUPSTACK, "SciFact", "NQ"],
        "two": [forum, "FEVERHardNegatives"],
        "three": [other_forum],  # is part of the whole, and adds nothing to it
    }
    families = compare_benchmarks(base, other, benchmarks)
    assert list(families) == ["one", "two", ""]
    assert [t.task for t in families["one"]] == [CQADUPSTACK, "SciFact", "Average"]
    assert [t.task for t in families["two"]] == [forum, "FEVERHardNegatives", "Average"]
    assert [t.task for t in families[""]] == ["own"]
    for name in ("one", "two"):
        *tasks, average = families[name]
        corrected = holm([t.p_value for t in tasks])
        assert [t.holm_p_value for t in tasks] == corrected
        mean = sum(t.difference for t in tasks) / 2
        assert average.difference == pytest.approx(mean, abs=1e-9)
        assert average.holm_p_value is None
    *tasks, average = families["one"]
    assert (average.queries, average.task) == (160, "Average")
    assert average.wins == sum(t.wins for t in tasks)


def test_only_tasks_that_both_scored_are_in_a_family() -> None:
    both = frame("A", x=0.5, y=0.5)
    families = compare_benchmarks(
        pd.concat([both, frame("B", x=0.5)]), pd.concat([both, frame("C", x=0.5)]), {}
    )
    assert {name: [t.task for t in tasks] for name, tasks in families.items()} == {"": ["A"]}


def test_equal_systems_differ_by_nothing() -> None:
    [task] = compare(frame(a=0.3, b=0.9), frame(a=0.3, b=0.9))
    assert (task.difference, task.interval, task.p_value) == (0.0, (0.0, 0.0), 1.0)
    assert (task.wins, task.losses, task.ties) == (0, 0, 2)


def test_one_query_has_no_interval_and_proves_nothing() -> None:
    [task] = compare(frame(a=0.1), frame(a=0.9))
    assert (task.difference, task.interval, task.p_value) == (0.8, None, 1.0)


def test_the_interval_is_about_that_of_the_normal_approximation() -> None:
    differences = np.random.default_rng(5).normal(0.02, 0.2, 400)
    interval = bootstrap_interval(differences, seed=1)
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
    whole = bootstrap_interval(differences, 1, 500), randomisation_p_value(differences, 1, 500)
    monkeypatch.setattr(significance, "CELLS", 700)
    parts = bootstrap_interval(differences, 1, 500), randomisation_p_value(differences, 1, 500)
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
