"""Exact search: the same ranking whatever order FAISS finds passages in, on CPU and GPU."""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
import pytest

from ettin_retrieval.mining import passage_index
from ettin_retrieval.mining.passage_index import Numbers, PassageIndex
from tests.unit.mining.plane import PASSAGES, QUERY


def plane() -> PassageIndex:
    return PassageIndex([PASSAGES[:4], PASSAGES[4:]], np.arange(6))


def test_the_nearest_are_those_of_a_sorted_product_of_matrices() -> None:
    random = np.random.default_rng(5)
    passages = random.normal(size=(300, 8)).astype(np.float32)
    queries = random.normal(size=(20, 8)).astype(np.float32)
    numbers = random.permutation(300)
    scores, found = PassageIndex(np.split(passages, [7, 100]), numbers).nearest(queries, 12)
    exact = queries.astype(np.float64) @ passages.T.astype(np.float64)
    order = np.argsort(-exact, axis=1)[:, :12]
    assert np.array_equal(found, numbers[order])
    assert np.allclose(scores, np.take_along_axis(exact, order, 1), atol=1e-5)


def test_more_ties_than_are_searched_for_are_ordered_by_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A search that stops at 21 of 200 equal scores may find any of them, such as the last ones.
    def last_ones(self: PassageIndex, queries: Any, neighbours: int) -> Numbers:
        return np.arange(200)[None, ::-1][:, :neighbours]

    monkeypatch.setattr(PassageIndex, "_search", last_ones)
    index = PassageIndex([np.ones((200, 2), dtype=np.float32)], np.arange(200)[::-1])
    scores, found = index.nearest(np.ones((1, 2), dtype=np.float32), 5)
    assert found.tolist() == [[0, 1, 2, 3, 4]]
    assert scores.tolist() == [[2.0] * 5]


def test_a_query_with_fewer_passages_has_them_first() -> None:
    scores, found = plane().rank(np.concatenate([QUERY, QUERY]), np.array([[2, -1], [3, 1]]), 2)
    assert found.tolist() == [[2, -1], [1, 3]]
    assert scores[0, 1] == -np.inf


def test_without_a_gpu_the_search_is_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 0)
    # faiss-gpu can be imported without a GPU, and its index of none would crash.
    monkeypatch.setattr(faiss, "StandardGpuResources", object, raising=False)
    monkeypatch.setattr(faiss, "index_cpu_to_all_gpus", None)
    assert passage_index.gpus() == 0
    assert plane().nearest(QUERY, 2)[1].tolist() == [[1, 0]]


def test_with_a_gpu_one_sharded_copy_is_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    searches = []

    class Options:
        shard = False

    class OnGpus:
        def __init__(self, index: Any) -> None:
            self.index = index

        def search(self, queries: Any, k: int) -> tuple[Any, Numbers]:
            searches.append((self, k))
            scores, found = self.index.search(queries, k)
            return np.nextafter(scores[:, ::-1], 2), np.ascontiguousarray(found[:, ::-1])

    def copy(index: Any, co: Options) -> Any:
        assert co.shard
        return OnGpus(index)

    monkeypatch.setattr(passage_index, "gpus", lambda: 1)
    monkeypatch.setattr(faiss, "GpuMultipleClonerOptions", Options, raising=False)
    monkeypatch.setattr(faiss, "index_cpu_to_all_gpus", copy)
    index = plane()
    assert index.nearest(QUERY, 2)[1].tolist() == [[1, 0]]
    assert index.nearest(QUERY, 3)[1].tolist() == [[1, 0, 5]]
    assert [k for _, k in searches] == [6, 6]
    assert searches[0][0] is searches[1][0], "copied once"
    # FAISS finds at most 2,048 neighbours on a GPU.
    monkeypatch.setattr(passage_index, "GPU_LIMIT", 5)
    assert index.nearest(QUERY, 2)[1].tolist() == [[1, 0]]
    assert len(searches) == 2
