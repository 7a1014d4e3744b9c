"""Exact search: ties, duplicates, shards, and how mteb keys a checkpoint's results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from datasets import Dataset

from ettin_retrieval.data.dataset import RetrievalDataset
from ettin_retrieval.encoders.checkpoint import load_checkpoint, read_checkpoint, save_checkpoint
from ettin_retrieval.encoders.encode import EmbeddingCache, Embeddings, TextEncoder
from ettin_retrieval.evaluation import search as search_module
from ettin_retrieval.evaluation.search import ExactSearch, TopK, merged, model_meta
from tests.small import CHANGES, LetterCounts

RECORD = {
    "fingerprint": "0" * 64,
    "parameters": 1,
    "embedding_dimension": 2,
    "normalize": False,
    "max_passage_length": 9,
}


def search(
    model: Any, passages: list[str], queries: list[str], k: int
) -> dict[str, list[tuple[str, float]]]:
    """Hits of each query, in order, of passages d0, d1, ..."""
    exact = ExactSearch(TextEncoder(model, 8), RECORD)
    corpus = pd.DataFrame({"id": [f"d{row}" for row in range(len(passages))], "text": passages})
    exact.index(Dataset.from_pandas(corpus, preserve_index=False))
    found = exact.search(Dataset.from_dict({"id": queries, "text": queries}), top_k=k)
    return {query: list(hits.items()) for query, hits in found.items()}


@pytest.mark.parametrize("k", [1, 4, 15, 60, 200])
@pytest.mark.parametrize("shard", [1, 7, 30, 500])
def test_duplicates_are_encoded_once_and_found_as_if_each_had_been(
    shard: int, k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_module, "SHARD", shard)
    # Few texts, many duplicates of each far apart, and different texts with equal scores.
    letters = np.random.default_rng(shard).choice(list("abc"), size=(120, 3))
    passages = ["".join(word) for word in letters]
    queries = ["a", "b", "aab"]
    model = LetterCounts()
    found = search(model, passages, queries, k)
    assert sorted(model.texts[len(queries) :]) == sorted(set(passages))
    vectors = np.array([[p.count("a"), p.count("b")] for p in passages])
    for query in queries:
        scores = vectors @ [query.count("a"), query.count("b")]
        best = np.argsort(-scores, kind="stable")[:k]
        assert found[query] == [(f"d{row}", scores[row]) for row in best]


def test_a_duplicate_in_another_shard_has_the_score_of_its_original(
    checkpoint: Path, dataset: RetrievalDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_module, "SHARD", 40)
    model = load_checkpoint(checkpoint)
    passages = dataset.passage_texts()[:100]
    queries = dataset.queries["text"].tolist()[:3]
    once = search(model, passages, queries, 200)
    twice = search(model, [*passages, *passages[::-1]], queries, 200)
    for query in queries:
        scores = dict(twice[query])
        for row in range(100):
            assert scores[f"d{row}"] == scores[f"d{199 - row}"]
            assert scores[f"d{row}"] == dict(once[query])[f"d{row}"]


def test_search_needs_an_index() -> None:
    model: Any = LetterCounts()
    with pytest.raises(RuntimeError, match="before index"):
        ExactSearch(TextEncoder(model, 8), RECORD).search(
            Dataset.from_dict({"text": ["a"]}), top_k=1
        )


def test_mteb_keys_results_on_the_fingerprint(checkpoint: Path, tmp_path: Path) -> None:
    model = load_checkpoint(checkpoint)
    CHANGES["weights"](model)
    changed = save_checkpoint(model, tmp_path / "changed", {})
    metas = [model_meta(record, "n/m") for record in (changed, read_checkpoint(checkpoint))]
    assert metas[0].revision == changed["fingerprint"][:40] != metas[1].revision


def test_a_precision_is_an_experiment_of_its_own() -> None:
    assert model_meta(RECORD, "n/m").experiment_kwargs is None
    assert model_meta(RECORD, "n/m", "bf16").experiment_kwargs == {"precision": "bf16"}


def add_shards(
    best: TopK, queries: Embeddings, passages: Embeddings, size: int, every: int = 1, first: int = 0
) -> None:
    """Add every n-th shard of `size` passages."""
    for start in range(first * size, len(passages), every * size):
        shard = passages[start : start + size]
        best.add(queries, shard, np.arange(start, start + len(shard)))


def test_shards_give_what_a_full_sort_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_module, "QUERIES_AT_ONCE", 2)
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


@pytest.mark.parametrize("cached", [False, True])
def test_cut_texts_are_counted_over_shards_duplicates_and_cached_embeddings(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cached: bool
) -> None:
    monkeypatch.setattr(search_module, "SHARD", 4)
    model = load_checkpoint(checkpoint)
    # The checkpoint reads 32 tokens of a query and 64 of a passage, two of them special.
    queries = ["a " * words for words in (30, 31, 31, 1, 200)]
    words = (1, 62, 63, 64, 2, 63, 3, 300, 4, 5, 62)
    passages = ["a " * count for count in words]
    cache = EmbeddingCache("id", tmp_path) if cached else None
    # Words, and two special tokens each.
    means = {"queries": 2 + 293 / 5, "passages": round(2 + 629 / 11, 2)}
    for _ in range(2):
        exact = ExactSearch(TextEncoder(model, 8, cache=cache), RECORD)
        corpus = pd.DataFrame({"id": [f"d{row}" for row in range(11)], "text": passages})
        exact.index(Dataset.from_pandas(corpus, preserve_index=False))
        exact.search(Dataset.from_dict({"id": list("abcde"), "text": queries}), top_k=3)
        assert exact.cut == {"queries": [3, 5], "passages": [4, 11], "mean_tokens": means}
    assert len(list(tmp_path.glob("*.npy"))) == (3 if cached else 0)


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_every_cut_passage_is_counted_by_one_rank(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, world_size: int
) -> None:
    """Of seven shards, of which three ranks share the last one; duplicates lie far apart."""
    monkeypatch.setattr(search_module, "SHARD", 2)
    monkeypatch.setattr(search_module, "all_gather", lambda part: [part])
    model = load_checkpoint(checkpoint)
    passages = ["a " * (300 if row % 3 else 5 + row) for row in range(13)]
    passages[12] = "b " * 400
    counted, mean = 0, 0.0
    for rank in range(world_size):
        monkeypatch.setattr(search_module, "rank_and_world_size", lambda r=rank: (r, world_size))
        exact = ExactSearch(TextEncoder(model, 8), RECORD)
        corpus = pd.DataFrame({"id": [f"d{row}" for row in range(13)], "text": passages})
        exact.index(Dataset.from_pandas(corpus, preserve_index=False))
        exact.search(Dataset.from_dict({"id": ["q"], "text": ["a"]}), top_k=1)
        assert exact.cut is not None
        counted += exact.cut["passages"][0]
        mean += exact.cut["mean_tokens"]["passages"]
    assert counted == 9
    tokens = [2 + (300 if row % 3 else 5 + row) for row in range(12)] + [402]
    assert mean == pytest.approx(np.mean(tokens), abs=0.01 * world_size)


def test_a_cached_shard_whose_lengths_are_gone_is_encoded_again(
    checkpoint: Path, tmp_path: Path
) -> None:
    encoder = TextEncoder(load_checkpoint(checkpoint), 8, cache=EmbeddingCache("id", tmp_path))
    for _ in range(2):
        lengths: list[Any] = []
        list(encoder.encode_shards([["a", "a " * 100]], "passage", lengths=lengths))
        assert [of_shard.tolist() for of_shard in lengths] == [[3, 102]]
        next(tmp_path.glob("*.lengths")).unlink()


def test_an_encoder_that_does_not_tell_has_no_count() -> None:
    model: Any = LetterCounts()
    exact = ExactSearch(TextEncoder(model, 8), RECORD)
    exact.index(Dataset.from_dict({"id": ["d"], "text": ["a"]}))
    exact.search(Dataset.from_dict({"id": ["q"], "text": ["a"]}), top_k=1)
    assert exact.cut is None
