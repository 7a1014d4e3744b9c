"""The k best over shards are the k best of the whole corpus, ties included."""

from __future__ import annotations

import numpy as np
import pytest

from ettin_retrieval.encoders.embedding_cache import Embeddings
from ettin_retrieval.evaluation import topk
from ettin_retrieval.evaluation.topk import TopK, merged


def add_shards(
    best: TopK, queries: Embeddings, passages: Embeddings, size: int, every: int = 1, first: int = 0
) -> None:
    """Add every n-th shard of `size` passages."""
    for start in range(first * size, len(passages), every * size):
        shard = passages[start : start + size]
        best.add(queries, shard, np.arange(start, start + len(shard)))


def test_shards_give_what_a_full_sort_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topk, "QUERIES_AT_ONCE", 2)
    generator = np.random.default_rng(0)
    queries = generator.standard_normal((5, 8)).astype(np.float32)
    passages = generator.standard_normal((100, 8)).astype(np.float32)
    best = TopK(5, 7)
    add_shards(best, queries, passages, 30)
    scores, rows = best.ranked()
    np.testing.assert_array_equal(rows, np.argsort(-(queries @ passages.T), axis=1)[:, :7])
    assert (np.diff(scores, axis=1) <= 0).all()


@pytest.mark.parametrize("size", [1, 3, 7, 40])
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_of_equal_scores_the_earlier_rows_are_kept(size: int, world_size: int) -> None:
    # Many ties: scores are small whole numbers.
    passages = np.random.default_rng(1).integers(0, 3, size=(40, 1)).astype(np.float32)
    queries = np.array([[1], [-1], [0]], dtype=np.float32)
    parts = []
    for rank in range(world_size):
        best = TopK(3, 6)
        add_shards(best, queries, passages, size, every=world_size, first=rank)
        parts.append(best.ranked())
    expected = np.argsort(-(queries @ passages.T), axis=1, kind="stable")[:, :6]
    np.testing.assert_array_equal(merged(parts, 6)[1], expected)
    if world_size == 1:
        np.testing.assert_array_equal(parts[0][1], expected)


def test_fewer_passages_than_k() -> None:
    best = TopK(1, 3)
    one = np.ones((1, 2), dtype=np.float32)
    best.add(one, one, np.array([0]))
    scores, rows = best.ranked()
    assert rows.tolist() == [[0]]
    assert scores.tolist() == [[2]]
