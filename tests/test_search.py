"""Encoding and exact search: batches, shards, ties, a corpus on disk, kept embeddings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from ettin_retrieval import encoding
from ettin_retrieval.encoders import load_checkpoint, random_encoder, save_checkpoint
from ettin_retrieval.encoding import KeptEmbeddings, TokenisedTexts, batches, encode
from ettin_retrieval.evaluation import search as search_module
from ettin_retrieval.evaluation.corpus import StoredCorpus, corpus_of, passage_texts
from ettin_retrieval.evaluation.results import run_table
from ettin_retrieval.evaluation.search import TopK, merged
from ettin_retrieval.params import Shape, load_settings
from ettin_retrieval.records import RetrievalDataset, open_dataset, write_dataset
from ettin_retrieval.sources import synthetic

ROOT = Path(__file__).resolve().parents[1]
SHAPE = Shape(layers=2, hidden_size=32, intermediate_size=64, heads=2, vocabulary=2048)


@pytest.fixture(scope="module")
def dataset() -> RetrievalDataset:
    return synthetic.benchmark()["TinySciFact"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, dataset: RetrievalDataset) -> Any:
    scratch, directory = (tmp_path_factory.mktemp(name) for name in ("scratch", "checkpoint"))
    entry = load_settings(ROOT / "params.yaml").encoders["ettin_tiny"]
    made = random_encoder(SHAPE, dataset.passage_texts(), entry, seed=1, scratch=scratch)
    save_checkpoint(made, directory, {"source": "embedded", "revision": "seed 1"})
    return load_checkpoint(directory)


class Seen:
    """An encoder that is none: the numbers of a text's letters, and what it was asked for."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def encode_document(self, texts: list[str], batch_size: int) -> np.ndarray:
        self.texts += texts
        return np.array([[text.count("a"), text.count("b")] for text in texts], dtype=np.float32)

    encode_query = encode_document


def test_embeddings_are_those_of_sentence_transformers(
    model: Any, dataset: RetrievalDataset
) -> None:
    texts = [*dataset.passage_texts()[:50], "one", "two words", " ".join(["long"] * 200)]
    ours = encode(model, texts, "passage", batch_size=4)
    theirs = model.encode_document(texts, batch_size=4)
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    queries = dataset.queries["text"].tolist()[:20]
    ours = encode(model, queries, "query", batch_size=4)
    np.testing.assert_allclose(ours, model.encode_query(queries, batch_size=4), atol=1e-6)


def test_a_prompt_is_read_as_sentence_transformers_reads_it(model: Any) -> None:
    model.prompts = {"query": "find: ", "passage": "text: "}
    try:
        for role, theirs in (("query", model.encode_query), ("passage", model.encode_document)):
            ours = encode(model, ["a river", "b"], role, batch_size=2)
            np.testing.assert_allclose(ours, theirs(["a river", "b"]), atol=1e-6)
            assert not np.allclose(ours, model.encode(["a river", "b"]), atol=1e-3)
    finally:
        model.prompts = {}


def test_texts_tokenised_in_advance_are_those_of_sentence_transformers(
    model: Any, dataset: RetrievalDataset
) -> None:
    passages, queries = dataset.passage_texts()[:40], dataset.queries["text"].tolist()[:10]
    texts, numbers = [*queries, *passages], np.arange(50, dtype=np.int32)
    in_advance = TokenisedTexts(model, texts, {"query": numbers[:10], "passage": numbers[10:]})
    for asked, task in ((numbers[[29, 13, 13]], "document"), (numbers[:4], "query")):
        theirs = model.preprocess([texts[n] for n in asked], task=task)
        ours = in_advance(asked, task)
        assert torch.equal(ours["input_ids"], theirs["input_ids"])
        assert torch.equal(ours["attention_mask"], theirs["attention_mask"])
        assert {key: ours[key] for key in ours if key not in ("input_ids", "attention_mask")} == {
            key: value
            for key, value in theirs.items()
            if key not in ("input_ids", "attention_mask")
        }


def test_training_reads_the_prompts_that_scoring_reads(model: Any) -> None:
    model.prompts = {"query": "find: "}
    try:
        one = np.zeros(1, dtype=np.int32)
        told = TokenisedTexts(model, ["a river"], {"query": one, "passage": one})
    finally:
        model.prompts = {}
    query, passage = (told(one, task) for task in ("query", "document"))
    prompted = model.preprocess(["find: a river"], task="query")
    assert torch.equal(query["input_ids"], prompted["input_ids"])
    assert query["input_ids"].shape[1] > passage["input_ids"].shape[1]


def test_batches_hold_their_bound_of_tokens_and_every_row_once() -> None:
    lengths = np.random.default_rng(0).integers(1, 50, size=300).tolist()
    made = list(batches(lengths, 64))
    assert sorted(row for rows in made for row in rows) == list(range(300))
    assert all(len(rows) * max(lengths[row] for row in rows) <= 64 for rows in made)
    assert list(batches([100, 1], 64)) == [[0], [1]]


def test_the_same_text_is_encoded_once() -> None:
    fake: Any = Seen()
    vectors = encode(fake, ["ab", "b", "ab"], "passage", batch_size=8)
    assert vectors.tolist() == [[1, 1], [0, 1], [1, 1]]
    assert fake.texts == ["ab", "b"]


def test_kept_embeddings_have_a_key_of_all_that_decides_them(tmp_path: Path) -> None:
    kept = KeptEmbeddings("a", tmp_path)
    paths = {
        kept.path(["x", "y"], "passage", "fp32", "prompt", 64),
        kept.path(["xy"], "passage", "fp32", "prompt", 64),
        kept.path(["y", "x"], "passage", "fp32", "prompt", 64),
        kept.path(["x", "y"], "query", "fp32", "prompt", 64),
        kept.path(["x", "y"], "passage", "bf16", "prompt", 64),
        kept.path(["x", "y"], "passage", "fp32", None, 64),
        kept.path(["x", "y"], "passage", "fp32", "prompt", 32),
        KeptEmbeddings("b", tmp_path).path(["x", "y"], "passage", "fp32", "prompt", 64),
    }
    assert len(paths) == 8


def test_a_killed_encoding_continues_with_the_missing_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "SHARD", 2)
    texts = ["a", "ab", "b", "aab", "aa"]

    class Killed(Seen):
        def encode_document(self, texts: list[str], batch_size: int) -> np.ndarray:
            if "aa" in texts:
                raise KeyboardInterrupt
            return super().encode_document(texts, batch_size)

    keep = KeptEmbeddings("fake", tmp_path)
    first: Any = Killed()
    with pytest.raises(KeyboardInterrupt):
        encode(first, texts, "passage", batch_size=8, keep=keep)
    assert first.texts == texts[:4]
    again: Any = Seen()
    vectors = encode(again, texts, "passage", batch_size=8, keep=keep)
    assert again.texts == ["aa"]
    np.testing.assert_array_equal(vectors, encode(Seen(), texts, "passage", batch_size=8))  # type: ignore[arg-type]


def test_top_k_merges_shards_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_module, "QUERIES_AT_ONCE", 2)
    generator = np.random.default_rng(0)
    queries = generator.standard_normal((5, 8)).astype(np.float32)
    passages = generator.standard_normal((100, 8)).astype(np.float32)
    best = TopK(5, 7)
    for start in range(0, 100, 30):
        best.add(queries, passages[start : start + 30], start)
    scores, rows = best.ranked()
    np.testing.assert_array_equal(rows, np.argsort(-(queries @ passages.T), axis=1)[:, :7])
    assert (np.diff(scores, axis=1) <= 0).all()


@pytest.mark.parametrize("size", [1, 3, 7, 40])
@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_of_equal_scores_the_earlier_rows_are_kept_whatever_the_shards(
    size: int, ranks: int
) -> None:
    # Many ties: scores are small whole numbers.
    passages = np.random.default_rng(1).integers(0, 3, size=(40, 1)).astype(np.float32)
    queries = np.array([[1], [-1], [0]], dtype=np.float32)
    parts = []
    for rank in range(ranks):
        best = TopK(3, 6)
        for start in range(rank * size, 40, ranks * size):
            best.add(queries, passages[start : start + size], start)
        parts.append(best.ranked())
    expected = np.argsort(-(queries @ passages.T), axis=1, kind="stable")[:, :6]
    np.testing.assert_array_equal(merged(parts, 6)[1], expected)
    if ranks == 1:
        np.testing.assert_array_equal(parts[0][1], expected)


def test_fewer_passages_than_k_and_runs_follow_trec_eval() -> None:
    best = TopK(1, 3)
    one = np.ones((1, 2), dtype=np.float32)
    best.add(one, one, 0)
    scores, rows = best.ranked()
    assert rows.tolist() == [[0, -1, -1]]
    assert scores.tolist() == [[2, -np.inf, -np.inf]]
    table = run_table({"q": {"a": 1.0, "b": 1.0, "c": 2.0}})
    assert table["corpus_id"].to_pylist() == ["c", "b", "a"]


def test_a_stored_corpus_reads_as_a_loaded_one(tmp_path: Path, dataset: RetrievalDataset) -> None:
    from datasets import Dataset

    write_dataset(dataset, tmp_path)
    stored = corpus_of(StoredCorpus(open_dataset(tmp_path).corpus))
    loaded = corpus_of(Dataset.from_pandas(dataset.corpus, preserve_index=False))
    for corpus in (stored, loaded):
        texts = dict.fromkeys(range(len(dataset.corpus)), "")
        for rank in range(3):
            for start, shard in corpus.shards(100, rank, 3):
                assert start // 100 % 3 == rank
                texts |= dict(enumerate(passage_texts(shard), start=start))
        assert list(texts.values()) == dataset.passage_texts()
        rows = np.array([0, 3, len(dataset.corpus) - 1])
        assert corpus.ids(rows) == dataset.corpus["id"].iloc[rows].tolist()
        assert corpus.ids(np.array([], dtype=np.int64)) == []


def test_a_corpus_without_titles_is_read() -> None:
    from datasets import Dataset

    corpus = corpus_of(Dataset.from_pandas(pd.DataFrame({"id": ["a"], "text": [" b "]})))
    [(start, shard)] = corpus.shards(10, 0, 1)
    assert (start, passage_texts(shard)) == (0, ["b"])
