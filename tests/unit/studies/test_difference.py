"""Differences of a study's arms, with intervals over seeds and queries."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from ettin_retrieval.reports.pairing import Pairs, Stratum
from ettin_retrieval.reports.significance import bootstrap_interval
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.studies.difference import (
    Arm,
    Difference,
    difference,
    intervals_in_words,
    p_value,
)
from ettin_retrieval.tasks import CQADUPSTACK, CQADUPSTACK_PARTS
from tests.unit.studies.inputs import outcome

RANDOM = np.random.default_rng(1)


def arms(gains: dict[int, dict[str, list[float]]]) -> tuple[Arm, Arm]:
    """An arm that scores 0 everywhere, and one that scores the gains: seed to task to queries."""
    before = {
        seed: outcome({task: [0.0] * len(of) for task, of in tasks.items()})
        for seed, tasks in gains.items()
    }
    return before, {seed: outcome(tasks) for seed, tasks in gains.items()}


def one_task(gains: npt.NDArray[np.float64]) -> Pairs:
    return (Stratum("T", np.zeros((len(gains), 1)), gains[:, None]),)


def test_the_same_gain_on_every_query_is_certain_whatever_the_sizes_of_tasks() -> None:
    found = difference(*arms({1: {"S": [0.4] * 50, "L": [0.4] * 10_000}}), ["S", "L"])
    assert found == Difference(0.4, (0.4, 0.4))


def test_tasks_count_equally() -> None:
    gains = {1: {"S": [0.5] * 10, "L": [0.0] * 1000, "other": [1.0]}}
    assert difference(*arms(gains), ["S", "L"]) == Difference(0.25, (0.25, 0.25))


def test_where_queries_do_not_vary_the_interval_is_that_of_the_seeds() -> None:
    gains = {seed: {"T": [gain] * 20} for seed, gain in ((1, 0.1), (2, 0.2), (3, 0.3))}
    found = difference(*arms(gains), ["T"])
    # The bootstrap of three seeds spans all of them, 0.1 to 0.3, and is widened 2.7 times.
    assert found.interval == pytest.approx((0.2 - 0.269, 0.2 + 0.269), abs=0.001)
    assert found.mean == 0.2


def test_of_one_seed_it_is_the_interval_over_queries() -> None:
    gains = RANDOM.normal(0.1, 0.3, 200)
    _, interval = difference(*arms({1: {"T": gains.tolist()}}), ["T"])
    assert interval == pytest.approx(bootstrap_interval(one_task(gains), 42), abs=0.004)


def test_seeds_and_queries_together_vary_more_than_either() -> None:
    shared = RANDOM.normal(0, 0.3, 200)
    gains = {seed: {"T": (shared + gain).tolist()} for seed, gain in ((1, 0.0), (2, 0.1))}
    low, high = difference(*arms(gains), ["T"]).interval or (0, 0)
    inside = bootstrap_interval(one_task(shared + 0.05), 42) or (0, 0)
    assert low < inside[0] and high > inside[1]
    assert high - low > 0.1, "the spread of the seeds"


def test_an_interval_that_holds_0_is_inconclusive_whatever_the_sign() -> None:
    gains = {1: {"T": [0.1, -0.05] * 5}, 2: {"T": [-0.1, 0.1] * 5}}
    found = difference(*arms(gains), ["T"])
    assert found.mean > 0 and found.verdict("gained", "forgot") == "inconclusive"
    assert Difference(0.1, (0.05, 0.15)).verdict("gained", "forgot") == "gained"
    assert Difference(-0.1, (-0.15, -0.05)).verdict("gained", "forgot") == "forgot"


def test_the_forums_of_cqadupstack_are_one_task() -> None:
    forums = {part: [0.6] * 3 for part in CQADUPSTACK_PARTS}
    found = difference(*arms({1: forums | {"SciFact": [0.0]}}), [CQADUPSTACK, "SciFact"])
    assert found.mean == 0.3


def test_one_query_under_one_seed_has_no_interval() -> None:
    found = difference(*arms({1: {"T": [0.5]}}), ["T"])
    assert (found.cells, found.verdict("a", "b")) == (("+50.0", "--"), "inconclusive")


def test_other_queries_on_one_side_are_refused() -> None:
    with pytest.raises(InputError, match="same tasks and queries on both sides"):
        difference({1: outcome({"T": [0.5]})}, {1: outcome({"T": [0.5, 0.5]})}, ["T"])


def test_p_is_over_queries_of_means_over_seeds() -> None:
    # Means over seeds: 0.5 three times, and 0. Two of eight sign patterns are as far.
    gains = {1: {"T": [0.4, 0.5, 0.6, 0.1]}, 2: {"T": [0.6, 0.5, 0.4, -0.1]}}
    assert p_value(*arms(gains), "T") == "0.2500"


def test_one_seed_says_that_seed_noise_is_not_in_the_interval() -> None:
    assert "how much seeds differ is not in them" in intervals_in_words([42])
    assert "over seeds and queries together" in intervals_in_words([42, 43])
