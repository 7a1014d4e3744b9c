"""Seeded draws: among the eligible candidates, and from the corpus where they are too few."""

from __future__ import annotations

import numpy as np
import pytest

from ettin_retrieval.mining import candidates
from tests.unit.mining.plane import CORPUS_ROWS, POSITIVE, ROW, dataset, mined, settings


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
