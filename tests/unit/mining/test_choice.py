"""Which candidates are excluded and why, which are picked, and seeded draws where too few are."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from ettin_retrieval.mining import candidates
from tests.unit.mining.plane import (
    CORPUS_ROWS,
    POSITIVE,
    ROW,
    dataset,
    mined,
    settings,
    with_text,
)

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
    [(_, _, negatives)], report = mined(dataset(), settings(**changes), passages=passages)
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


def test_a_shortfall_is_filled_at_random_and_reported() -> None:
    # Within 0.05 below the positive there is only twin.
    [(_, _, negatives)], report = mined(
        dataset(), settings(margin=0.05, sampling="semi_hard", num_negatives=3)
    )
    assert negatives[0] == "twin"
    assert len(set(negatives)) == 3
    assert "p" not in negatives
    assert report.filled_at_random == 2


@pytest.mark.parametrize("sampling", ["random", "hard"])
def test_the_same_seed_gives_the_same_negatives(sampling: str) -> None:
    chosen = settings(sampling=sampling, num_negatives=4)
    pairs, _ = mined(dataset(), chosen)
    assert pairs == mined(dataset(), chosen)[0]
    assert len(set(pairs[0][2]) - {"p"}) == 4


def test_random_negatives_are_a_draw_of_corpus_rows_seeded_with_the_query() -> None:
    qrels = [*POSITIVE, ("r", "c", 1)]
    pairs, _ = mined(dataset(qrels, queries=("q", "r")), settings(sampling="random", seed=7))
    for row, (_, positive, negatives) in enumerate(pairs):
        drawn = np.random.default_rng([7, row]).choice(6, size=6, replace=False)
        names = [CORPUS_ROWS[number][0] for number in drawn]
        assert negatives == [name for name in names if name != positive][:2]


def test_rare_texts_are_found_in_a_corpus_of_duplicates() -> None:
    corpus = [(f"d{row:03}", "", f"text {max(0, row - 195)}") for row in range(200)]
    many = settings(sampling="random", num_negatives=4)
    [(_, _, negatives)], report = mined(dataset([("q", "d000", 1)], corpus), many)
    assert set(negatives) == {"d196", "d197", "d198", "d199"}
    assert report.shortfall == 0


def test_another_seed_gives_other_random_negatives() -> None:
    drawn = {
        tuple(mined(dataset(), settings(sampling="random", seed=seed))[0][0][2])
        for seed in range(8)
    }
    assert len(drawn) > 1


def test_each_pair_of_a_query_has_its_own_random_sample() -> None:
    drawn = set()
    for seed in range(12):
        one = settings(seed=seed, source="row", sampling="random", num_negatives=1)
        pairs, _ = mined(dataset(ROW), one)
        drawn.add(tuple(negatives[0] for _, _, negatives in pairs))
    assert {name for pair in drawn for name in pair} == {"b", "c", "d"}
    assert any(first != second for first, second in drawn)


def test_a_sample_does_not_depend_on_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    own = [settings(seed=s, source="row", sampling="random", num_negatives=1) for s in range(4)]
    together = [mined(dataset(ROW), one)[0] for one in own]
    monkeypatch.setattr(candidates, "PAIRS", 1)
    assert together == [mined(dataset(ROW), one)[0] for one in own]


def test_the_random_strategy_samples_the_eligible_in_order_of_similarity() -> None:
    # Eligible under the absolute margin are b, c and d; the nearest are b and c.
    drawn = set()
    for seed in range(12):
        sampled = settings(sampling_strategy="random", absolute_margin=0.05, seed=seed)
        pairs, report = mined(dataset(), sampled)
        assert pairs == mined(dataset(), sampled)[0]
        assert report.filled_at_random == 0
        drawn.add(tuple(pairs[0][2]))
    assert drawn == {("b", "c"), ("b", "d"), ("c", "d")}
    top = settings(sampling_strategy="top", absolute_margin=0.05)
    assert mined(dataset(POSITIVE), top)[0] == [("q", "p", ["b", "c"])]
