"""Which candidates may be negatives, and for which reason the others may not."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from ettin_retrieval.mining import candidates
from ettin_retrieval.mining.mine import choose
from tests.unit.mining.plane import POSITIVE, QUERY, dataset, mined, settings, with_text

TOO_HIGH = "not below the positive (semi_hard)"
TOO_LOW = "below the positive by the margin or more (semi_hard)"
NEAR_RELATIVE = "too near the positive (relative_margin)"
NEAR_ABSOLUTE = "too near the positive (absolute_margin)"
B = [("q", "b", 1)]


@pytest.mark.parametrize(
    ("qrels", "changes", "negatives", "skipped"),
    [
        pytest.param(POSITIVE, {}, ["a", "twin"], {"positive": 1}, id="the nearest"),
        pytest.param(
            [*POSITIVE, ("q", "a", 0)], {}, ["a", "twin"], {"positive": 1}, id="judged irrelevant"
        ),
        # Ranks are a, p, twin, b, c, d: after the first three comes b.
        pytest.param(
            POSITIVE,
            {"range_min": 3},
            ["b", "c"],
            {"positive": 1, "within range_min": 2},
            id="range_min",
        ),
        # cos 30 = 0.866, so the floor is 0.566: cos 31 = 0.857 and cos 40 = 0.766 lie between;
        # cos 10 = 0.985 is above the positive, cos 60 = 0.5 and cos 89 = 0.017 below the floor.
        pytest.param(
            POSITIVE,
            {"sampling": "semi_hard"},
            ["twin", "b"],
            {"positive": 1, TOO_HIGH: 1, TOO_LOW: 2},
            id="semi_hard",
        ),
        # Nothing above b (0.766) may be taken; the floor is 0.466: only c (0.5) is between.
        pytest.param(
            B,
            {"sampling": "semi_hard", "num_negatives": 1},
            ["c"],
            {"positive": 1, TOO_HIGH: 3, TOO_LOW: 1},
            id="semi_hard below another positive",
        ),
        # 0.9 x 0.866 = 0.779: a and twin are too near.
        pytest.param(
            POSITIVE,
            {"relative_margin": 0.1},
            ["b", "c"],
            {"positive": 1, NEAR_RELATIVE: 2},
            id="relative_margin",
        ),
        # 0.866 - 0.05 = 0.816: a (0.985) and twin (0.857) are too near.
        pytest.param(
            POSITIVE,
            {"absolute_margin": 0.05},
            ["b", "c"],
            {"positive": 1, NEAR_ABSOLUTE: 2},
            id="absolute_margin",
        ),
        # Between 0.566 and 0.816 there is only b.
        pytest.param(
            POSITIVE,
            {"absolute_margin": 0.05, "sampling": "semi_hard", "num_negatives": 1},
            ["b"],
            {"positive": 1, NEAR_ABSOLUTE: 2, TOO_LOW: 2},
            id="absolute_margin and semi_hard",
        ),
    ],
)
def test_candidates_within_all_bounds_are_taken_and_the_others_counted(
    qrels: list[tuple[str, str, int]],
    changes: dict[str, Any],
    negatives: list[str],
    skipped: dict[str, int],
) -> None:
    pairs, report = mined(dataset(qrels), settings(**changes))
    assert pairs == [("q", qrels[0][1], negatives)]
    assert report.skipped == skipped
    assert report.filled_at_random == 0


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"relative_margin": 0.5}, NEAR_RELATIVE),
        ({"absolute_margin": 0.5}, NEAR_ABSOLUTE),
        ({"sampling": "semi_hard", "margin": 0.5}, TOO_LOW),
    ],
)
def test_a_score_equal_to_a_bound_is_outside(changes: dict[str, Any], reason: str) -> None:
    scores = {"p": 1.0, "a": 0.5, "b": 0.625, "c": 0.375, "d": 0.25, "twin": 0.75}
    passages = np.array([[score, 0] for score in scores.values()], dtype=np.float32)
    [(_, _, negatives)], report = choose(dataset(), QUERY, passages, settings(**changes))
    assert negatives == (["twin", "b"] if reason == TOO_LOW else ["c", "d"])
    assert report.skipped[reason] == 3


def test_a_window_of_ranks() -> None:
    # Ranks are a, p, twin, b, c, d: from the second to the fourth are p, twin and b.
    window = settings(range_min=1, range_max=4, num_negatives=3)
    pairs, report = mined(dataset(), window)
    assert pairs[0][2][:2] == ["twin", "b"]
    assert report.candidates == 4
    assert report.skipped == {"within range_min": 1, "positive": 1}
    assert report.filled_at_random == 1


def test_each_positive_has_its_own_negatives_and_none_is_a_positive() -> None:
    pairs, _ = mined(dataset([*POSITIVE, ("q", "a", 2)]), settings())
    assert pairs == [("q", "a", ["twin", "b"]), ("q", "p", ["twin", "b"])]


def test_each_positive_sets_its_own_semi_hard_bounds() -> None:
    # p (0.866) allows twin (0.857) and b (0.766). Below c (0.5) there is only d (0.017), too far
    # below: both of its negatives are random.
    one = settings(sampling="semi_hard", margin=0.2)
    pairs, report = mined(dataset([*POSITIVE, ("q", "c", 1)]), one)
    assert [positive for _, positive, _ in pairs] == ["c", "p"]
    assert len(set(pairs[0][2]) & {"a", "b", "d", "twin"}) == 2
    assert pairs[1][2] == ["twin", "b"]
    assert report.filled_at_random == 2
    assert report.skipped == {"positive": 4, TOO_HIGH: 3 + 1, TOO_LOW: 1 + 1}  # of two pairs


def test_a_positives_text_under_another_id_is_not_a_negative() -> None:
    pairs, report = mined(dataset(corpus=with_text("passage p", "twin")), settings())
    assert pairs == [("q", "p", ["a", "b"])]
    assert report.skipped == {"positive": 1, "same text as a positive": 1}


def test_a_text_is_a_negative_once() -> None:
    same = dataset(corpus=with_text("passage a", "twin", "b"))
    pairs, report = mined(same, settings())
    assert pairs == [("q", "p", ["a", "c"])]
    assert report.skipped == {"positive": 1, "same text as a nearer candidate": 2}
    [(_, _, negatives)], _ = mined(same, settings(sampling="random", num_negatives=3))
    assert len({"a" if name in {"twin", "b"} else name for name in negatives}) == 3


def test_texts_are_distinguished_by_all_bits_of_their_hashes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def nearly_equal(texts: list[str]) -> npt.NDArray[np.uint64]:
        return np.arange(len(texts), dtype=np.uint64) + np.uint64(2**63)

    monkeypatch.setattr(candidates, "hash_texts", nearly_equal)
    pairs, report = mined(dataset(), settings())
    assert pairs == [("q", "p", ["a", "twin"])]
    assert report.skipped == {"positive": 1}
