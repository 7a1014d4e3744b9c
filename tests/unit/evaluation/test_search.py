"""Exact search: duplicates, shards, and how mteb keys a checkpoint's results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from datasets import Dataset

from ettin_retrieval.data.dataset import RetrievalDataset
from ettin_retrieval.encoders.checkpoint import load_checkpoint, read_checkpoint, save_checkpoint
from ettin_retrieval.encoders.encode import TextEncoder
from ettin_retrieval.evaluation import search as search_module
from ettin_retrieval.evaluation.search import ExactSearch, model_meta
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
