"""The control of the contamination study; training is replaced."""

from __future__ import annotations

from typing import Any

import pytest

from ettin_retrieval.data.dataset import RetrievalDataset
from ettin_retrieval.experiment import Material
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.studies.contamination import (
    ALL,
    RANDOM,
    SHARING,
    conclusion,
    run,
    scores_table,
    shares_answers,
)
from ettin_retrieval.studies.difference import Arm
from ettin_retrieval.studies.report import Report
from tests.unit.studies.inputs import SETTINGS, STUDIES, arm, material, outcome

TASK = "TinySciFact"


class Trains:
    """A study of 20 queries, the first of which share an answer with the evaluation."""

    def __init__(self, sharing: int) -> None:
        self.sharing = {f"q{i}" for i in range(sharing)}
        self.settings, self.params = SETTINGS, STUDIES
        self.material, self.tasks = material(), [TASK]
        self.trained: dict[tuple[str, int], set[str]] = {}

    def without_overlap(self, sets: dict[str, RetrievalDataset]) -> Any:
        train = sets["train"]
        kept = [q for q in train.queries["id"] if q not in self.sharing]
        shared = {TASK: {"queries_with_the_same_answer": len(self.sharing)}}
        tasks = shared if self.sharing else {}
        return {"train": train.with_queries(kept)}, {"train": {"tasks": tasks}}

    def base(self) -> Arm:
        return dict.fromkeys(self.params.seeds, outcome({TASK: [0.1] * 4}))

    def train(self, name: str, settings: Any, given: Material) -> Any:
        queries = set(given.train.queries["id"])
        assert {query for query, _, _ in given.pairs or []} == queries
        self.trained[name, settings.seed] = queries
        return outcome({TASK: [0.5 if name != SHARING else 0.3] * 4})

    def rate_in_words(self) -> str:
        return "Learning rate 1."


def ran(study: Trains) -> Report:
    found: Any = study
    return run(found)


def test_as_many_queries_that_share_nothing_are_left_out_instead() -> None:
    study = Trains(6)
    ran(study)
    seeds = STUDIES.seeds
    assert set(study.trained) == {(arm, seed) for arm in (ALL, SHARING, RANDOM) for seed in seeds}
    every = study.trained[ALL, seeds[0]]
    left_out = [every - study.trained[RANDOM, seed] for seed in seeds]
    assert all(len(every - study.trained[SHARING, seed]) == 6 for seed in seeds)
    assert all(len(of) == 6 and of.isdisjoint(study.sharing) for of in left_out)
    assert len(set(map(frozenset, left_out))) == len(seeds), "each seed draws its own"


def test_the_two_smaller_sets_are_tested_against_each_other() -> None:
    report = ran(Trains(6))
    amounts, differences = report.tables
    assert [row[:3] for row in amounts.rows] == [
        ("base", "0", "0"), ("all", "20", "20"),
        ("without-overlap", "14", "14"), ("without-random", "14", "14"),
    ]  # fmt: skip
    assert differences.rows[-1] == (
        TASK, "without-overlap - without-random", "-20.0", "-20.0 to -20.0", "0.1250",
    )  # fmt: skip
    assert report.summary.startswith("the queries that share an answer are worth more than others")


def test_a_forum_is_a_task_of_its_own() -> None:
    """Where all twelve are scored, the flat scores have their mean alone."""
    forum = "CQADupstackGisRetrieval"
    one = outcome({forum: [0.25, 0.75]}, {"CQADupstackRetrieval.ndcg_at_10": 0.1})
    assert scores_table({"base": {1: one}}, {}, [forum]).rows == (("base", "0", "0", "50.0"),)


def test_a_task_with_a_smaller_corpus_is_that_of_the_whole_one() -> None:
    overlaps = {"tasks": {"SciFact": {"queries_with_the_same_answer": 3}}}
    assert shares_answers(overlaps, "SciFact-subsampled-1000")
    assert not shares_answers(overlaps, "NFCorpus")


def test_a_difference_within_chance_is_no_claim() -> None:
    arms = {RANDOM: arm((0.5, 0.5), (0.6, 0.6)), SHARING: arm((0.5, 0.6), (0.6, 0.5))}
    assert conclusion(arms, [TASK]).startswith("inconclusive: without them +0.0 points (-91.7 to")


def test_without_overlap_nothing_is_trained() -> None:
    study = Trains(0)
    report = ran(study)
    assert not study.trained and not report.tables
    assert report.summary == (
        "no training query shares a relevant passage with the evaluation: nothing to test"
    )
    assert report.notes == [f"N{report.summary[1:]}."]


def test_too_few_others_are_refused() -> None:
    with pytest.raises(
        InputError, match="10 training queries share an answer with the evaluation and 10"
    ):
        ran(Trains(10))
