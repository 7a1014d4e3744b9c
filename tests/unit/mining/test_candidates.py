"""What negatives are chosen from: the corpus, a query's own passages, what a teacher scored."""

from __future__ import annotations

from typing import Any

import pytest

from ettin_retrieval.runtime.errors import InputError
from tests.unit.mining.plane import POSITIVE, ROW, dataset, mined, settings


@pytest.mark.parametrize(
    ("changes", "negatives"),
    [
        # a is the nearest of all, but not one of the query's own passages b, c, d.
        ({}, ["b", "c"]),
        ({"range_min": 1}, ["c", "d"]),
        ({"range_max": 2, "num_negatives": 1, "range_min": 1}, ["c"]),
        ({"sampling": "semi_hard", "margin": 0.4, "absolute_margin": 0.2}, ["c", "?"]),
        ({"relative_margin": 0.2}, ["c", "d"]),
        ({"sampling": "random", "num_negatives": 3}, ["b", "c", "d"]),
    ],
)
def test_the_query_s_own_passages_come_first(changes: dict[str, Any], negatives: list[str]) -> None:
    pairs, report = mined(dataset(ROW), settings(source="row", **changes))
    assert [positive for _, positive, _ in pairs] == ["p", "twin"]
    for _, _, chosen in pairs:
        assert len(chosen) == len(negatives)
        # A shortfall (?) is filled from the corpus, never with a positive.
        assert all(got == want or want == "?" for got, want in zip(chosen, negatives, strict=True))
        assert not {"p", "twin"} & set(chosen)
    assert report.filled_at_random == 2 * negatives.count("?")


def test_queries_with_different_numbers_of_candidates_keep_their_own() -> None:
    qrels = [("q", "p", 1), ("q", "b", 0), ("r", "a", 1), ("r", "c", 0), ("r", "d", 0)]
    pairs, report = mined(dataset(qrels, queries=("q", "r")), settings(source="row"))
    assert pairs[1] == ("r", "a", ["c", "d"])
    assert pairs[0][:2] == ("q", "p") and pairs[0][2][0] == "b"
    assert (report.candidates, report.filled_at_random) == (3, 1)
    assert report.skipped == {}


def test_the_source_row_needs_passages_judged_0() -> None:
    with pytest.raises(InputError, match=r"negatives.source: row takes passages judged 0"):
        mined(dataset(), settings(source="row"))


def test_a_collection_without_passages_judged_0_falls_back_to_its_corpus(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    either = settings(source="row_or_corpus")
    assert mined(dataset(ROW), either)[0] == mined(dataset(ROW), settings(source="row"))[0]
    assert not caplog.messages
    assert mined(dataset(), either)[0] == [("q", "p", ["a", "twin"])]
    assert caplog.messages == [
        "negatives: test has no passages judged 0; they are taken from its whole corpus"
    ]
    [(_, _, drawn)], _ = mined(dataset(), settings(source="row_or_corpus", sampling="random"))
    assert len(set(drawn) - {"p"}) == 2


@pytest.mark.parametrize(
    ("changes", "negatives"),
    [
        ({}, ["a", "c"]),
        ({"num_negatives": 4}, ["a", "c"]),
        ({"absolute_margin": 0.1}, ["c"]),
        ({"sampling": "random", "num_negatives": 4}, ["a", "c"]),
        ({"source": "row"}, ["c"]),
    ],
)
def test_margin_mse_takes_only_what_the_teacher_scored(
    changes: dict[str, Any], negatives: list[str]
) -> None:
    qrels = [*POSITIVE, ("q", "twin", 1), ("q", "c", 0), ("q", "b", 0)]
    teacher = [("q", "p", 1.0), ("q", "a", 0.5), ("q", "c", 0.25)]
    distil = settings(objective="margin_mse", **changes)
    pairs, report = mined(dataset(qrels, teacher=teacher), distil)
    # The positive twin has no score. A shortfall stays, because random passages have none either.
    assert pairs == [("q", "p", negatives)]
    assert report.pairs_without_teacher == 1
    assert report.filled_at_random == 0
    assert report.shortfall == distil.negatives.num_negatives - len(negatives)


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        (None, "margin_mse needs a teacher's scores, and the training data (test) has none"),
        ([("q", "p", 1.0)], "margin_mse found no query whose positive and another passage"),
    ],
)
def test_margin_mse_without_scores_is_refused(
    teacher: list[tuple[str, str, float]] | None, message: str
) -> None:
    with pytest.raises(InputError) as refused:
        mined(dataset(teacher=teacher), settings(objective="margin_mse"))
    assert message in str(refused.value)
