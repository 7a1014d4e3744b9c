"""Encoding and exact search: batches, shards, ties, a corpus on disk, kept embeddings."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Dataset

from ettin_retrieval.base_encoder.random_weights import random_encoder
from ettin_retrieval.data.dataset import RetrievalDataset
from ettin_retrieval.data.storage import open_dataset, write_dataset
from ettin_retrieval.encoders import encode as encoding
from ettin_retrieval.encoders.checkpoint import load_checkpoint, save_checkpoint
from ettin_retrieval.encoders.embedding_cache import EmbeddingCache
from ettin_retrieval.encoders.encode import ahead, batches, encode
from ettin_retrieval.evaluation import search as search_module
from ettin_retrieval.evaluation.corpus import StoredCorpus, corpus_of, passage_texts
from ettin_retrieval.evaluation.duplicates import Duplicates
from ettin_retrieval.evaluation.result_files import run_table
from ettin_retrieval.evaluation.search import ExactSearch
from ettin_retrieval.evaluation.topk import TopK, merged
from ettin_retrieval.runtime import determinism
from ettin_retrieval.runtime.distributed import World
from ettin_retrieval.settings.load import load_settings
from ettin_retrieval.settings.schema import Evaluation, Shape
from ettin_retrieval.sources.tiny import generator as synthetic
from ettin_retrieval.training.token_store import TokenisedTexts

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


@pytest.mark.parametrize("prompts", [{}, {"query": "find: ", "document": "text: "}])
def test_token_ids_are_those_of_preprocess(
    model: Any, dataset: RetrievalDataset, prompts: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "prompts", prompts)
    texts = [*dataset.passage_texts()[:60], "", "  two  words ", "é\u2028[SEP] x", "word " * 300]
    for role, task, longest in (("query", "query", 32), ("passage", "document", 64)):
        prompt = prompts.get(task)
        told = encoding._tokenised(model, texts, role)  # type: ignore[arg-type]
        theirs = model.preprocess(texts, prompt=prompt, task=task)
        for row, ids in enumerate(told.ids):
            there = theirs["attention_mask"][row].bool()
            assert ids.tolist() == theirs["input_ids"][row][there].tolist()
        assert len(told.ids[-1]) == longest
        assert told.extra.get("prompt_length") == theirs.get("prompt_length")


def test_a_tokenizer_that_reads_otherwise_is_asked_through_preprocess(model: Any) -> None:
    class Shouting:
        """A module that changes its texts before they are tokenised."""

        prompts = model.prompts
        tokenizer = model.tokenizer
        max_seq_length = None

        def preprocess(self, texts: list[str], **told: Any) -> Any:
            return model.preprocess([f"river {text}" for text in texts], **told)

    expected = encoding._preprocessed(model, ["river a", "river sea"], "passage")[0]
    shouted = encoding._tokenised(Shouting(), ["a", "sea"], "passage")  # type: ignore[arg-type]
    assert [ids.tolist() for ids in shouted.ids] == [ids.tolist() for ids in expected]


def test_one_item_is_got_ahead_and_no_more() -> None:
    got: list[int] = []

    def items() -> Iterator[int]:
        for number in range(5):
            got.append(number)
            yield number

    for number in ahead(items()):
        time.sleep(0.02)
        assert number in got and len(got) <= number + 2
    assert got == list(range(5))


def test_what_getting_ahead_raises_is_raised_in_its_turn() -> None:
    def items() -> Iterator[str]:
        yield "whole"
        raise OSError("no such shard")

    came = []
    with pytest.raises(OSError, match="no such shard"):
        for item in ahead(items()):
            came.append(item)
    assert came == ["whole"]
    # Whoever stops early leaves no thread behind.
    for _ in ahead(iter(range(9))):
        break
    assert not [t for t in threading.enumerate() if t.name.startswith("ahead")]


def test_reading_goes_on_while_a_shard_is_encoded() -> None:
    read, encoding_first = threading.Event(), threading.Event()

    class Waiting(Seen):
        def encode_document(self, texts: list[str], batch_size: int) -> np.ndarray:
            encoding_first.set()
            assert read.wait(5), "the second shard is read only after the first was encoded"
            return super().encode_document(texts, batch_size)

    def shards() -> Iterator[list[str]]:
        yield ["a"]
        assert encoding_first.wait(5)
        read.set()
        yield ["b"]

    found = list(encoding.encode_shards(Waiting(), shards(), "passage", batch_size=8))  # type: ignore[arg-type]
    assert [vectors.tolist() for vectors in found] == [[[1, 0]], [[0, 1]]]


@pytest.mark.parametrize("ranks", [2, 3, 50])
def test_a_crew_s_embeddings_are_those_of_one_process(
    model: Any, dataset: RetrievalDataset, ranks: int
) -> None:
    texts = dataset.passage_texts()[:60]
    alone = encode(model, texts, "passage", batch_size=4)
    own: list[Any] = []
    for rank in range(ranks):
        # First what each rank encodes, then what all make of it.
        with pytest.raises(InterruptedError):
            encode(model, texts, "passage", batch_size=4, crew=World(rank, ranks, collect(own)))
    assert max(len(rows) for rows, _ in own) < len(texts)
    together = encode(model, texts, "passage", batch_size=4, crew=World(0, ranks, lambda _: own))
    np.testing.assert_array_equal(together, alone)


def collect(own: list[Any]) -> Any:
    def gather(value: Any) -> list[Any]:
        own.append(value)
        raise InterruptedError

    return gather


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
    kept = EmbeddingCache("a", tmp_path)
    paths = {
        kept.path(["x", "y"], "passage", "fp32", "prompt", 64),
        kept.path(["xy"], "passage", "fp32", "prompt", 64),
        kept.path(["y", "x"], "passage", "fp32", "prompt", 64),
        kept.path(["x", "y"], "query", "fp32", "prompt", 64),
        kept.path(["x", "y"], "passage", "bf16", "prompt", 64),
        kept.path(["x", "y"], "passage", "fp32", None, 64),
        kept.path(["x", "y"], "passage", "fp32", "prompt", 32),
        EmbeddingCache("b", tmp_path).path(["x", "y"], "passage", "fp32", "prompt", 64),
    }
    assert len(paths) == 8


@pytest.mark.parametrize("changed", ["libraries", "pinned", "threads", "device", "code"])
def test_what_computes_them_is_part_of_kept_embeddings_key(
    changed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = EmbeddingCache("a", tmp_path)
    before = kept.path(["x"], "passage")
    assert kept.path(["x"], "passage") == before
    if changed == "libraries":
        monkeypatch.setattr(determinism, "version", lambda name: f"another {name}")
    elif changed == "pinned":
        value = "default" if os.environ.get("ATEN_CPU_CAPABILITY") == "avx2" else "avx2"
        monkeypatch.setenv("ATEN_CPU_CAPABILITY", value)
    elif changed == "threads":
        monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    elif changed == "device":
        gpu = torch.device("cuda")
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: gpu)
    else:
        (tmp_path / "encoding.py").write_text("other code")
        monkeypatch.setattr(encoding, "__file__", str(tmp_path / "encoding.py"))
    assert kept.path(["x"], "passage") != before


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

    keep = EmbeddingCache("fake", tmp_path)
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
        shard = passages[start : start + 30]
        best.add(queries, shard, np.arange(start, start + len(shard)))
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
            shard = passages[start : start + size]
            best.add(queries, shard, np.arange(start, start + len(shard)))
        parts.append(best.ranked())
    expected = np.argsort(-(queries @ passages.T), axis=1, kind="stable")[:, :6]
    np.testing.assert_array_equal(merged(parts, 6)[1], expected)
    if ranks == 1:
        np.testing.assert_array_equal(parts[0][1], expected)


def test_fewer_passages_than_k_and_runs_follow_trec_eval() -> None:
    best = TopK(1, 3)
    one = np.ones((1, 2), dtype=np.float32)
    best.add(one, one, np.array([0]))
    scores, rows = best.ranked()
    assert rows.tolist() == [[0, -1, -1]]
    assert scores.tolist() == [[2, -np.inf, -np.inf]]
    table = run_table({"q": {"a": 1.0, "b": 1.0, "c": 2.0}})
    assert table["corpus_id"].to_pylist() == ["c", "b", "a"]


def test_a_run_is_ordered_by_score_then_by_falling_passage_id() -> None:
    ties = {"a": 1.0, "c": 0.5, "b": 0.5, "d": 0.25}
    table = run_table({"q2": {"z": 3.0}, "q1": ties, "q10": {}})
    assert table.to_pylist() == [
        {"query_id": query, "corpus_id": passage, "rank": rank, "score": score}
        for query, passage, rank, score in [
            ("q1", "a", 1, 1.0), ("q1", "c", 2, 0.5), ("q1", "b", 3, 0.5), ("q1", "d", 4, 0.25),
            ("q2", "z", 1, 3.0),
        ]
    ]  # fmt: skip
    assert run_table({}).num_rows == 0


def searched(
    passages: list[str], queries: list[str], k: int, model: Any = None
) -> dict[str, list[tuple[str, float]]]:
    """Hits of each query, in order."""
    checkpoint = {"identity": "0" * 64, "parameters": 1, "embedding_dimension": 2}
    checkpoint |= {"normalize": False, "max_passage_length": 9}
    exact = ExactSearch(model or Seen(), checkpoint, "a/b", Evaluation())
    corpus = pd.DataFrame({"id": [f"d{row}" for row in range(len(passages))], "text": passages})
    asked = pd.DataFrame({"id": queries, "text": queries})
    exact.index(Dataset.from_pandas(corpus, preserve_index=False))
    found = exact.search(Dataset.from_pandas(asked, preserve_index=False), top_k=k)
    return {query: list(hits.items()) for query, hits in found.items()}


@pytest.mark.parametrize("k", [1, 4, 15, 60, 200])
@pytest.mark.parametrize("shard", [1, 7, 30, 500])
def test_copies_are_encoded_once_and_found_as_if_each_had_been(
    shard: int, k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_module, "SHARD", shard)
    # Few texts, many copies of each far apart, and different texts of equal scores.
    letters = np.random.default_rng(shard).choice(list("abc"), size=(120, 3))
    passages = ["".join(word) for word in letters]
    queries = ["a", "b", "aab"]
    model = Seen()
    found = searched(passages, queries, k, model)
    assert sorted(model.texts[len(queries) :]) == sorted(set(passages))
    vectors = np.array([[p.count("a"), p.count("b")] for p in passages])
    for query in queries:
        scores = vectors @ [query.count("a"), query.count("b")]
        best = np.argsort(-scores, kind="stable")[:k]
        assert found[query] == [(f"d{row}", scores[row]) for row in best]


def test_a_copy_of_a_passage_in_another_shard_has_its_score(
    model: Any, dataset: RetrievalDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_module, "SHARD", 40)
    passages = dataset.passage_texts()[:100]
    queries = dataset.queries["text"].tolist()[:3]
    once = searched(passages, queries, 200, model)
    twice = searched([*passages, *passages[::-1]], queries, 200, model)
    for query in queries:
        scores = dict(twice[query])
        for row in range(100):
            assert scores[f"d{row}"] == scores[f"d{199 - row}"]
            assert scores[f"d{row}"] == dict(once[query])[f"d{row}"]


@pytest.mark.parametrize("seed", range(5))
def test_copies_are_those_that_a_loop_finds(seed: int) -> None:
    texts = [str(n) for n in np.random.default_rng(seed).integers(0, 8, size=25)]
    copies = Duplicates.among([texts[:10], texts[10:11], texts[11:]])
    assert dict(zip(copies.rows.tolist(), copies.originals.tolist(), strict=True)) == {
        row: texts.index(text) for row, text in enumerate(texts) if texts.index(text) < row
    }
    kept = copies.originals_in(3, 99).tolist()
    assert kept == [row for row in range(3, 25) if texts.index(texts[row]) == row]


def test_a_stored_corpus_reads_as_a_loaded_one(tmp_path: Path, dataset: RetrievalDataset) -> None:
    write_dataset(dataset, tmp_path)
    stored = corpus_of(StoredCorpus(open_dataset(tmp_path).corpus))
    loaded = corpus_of(Dataset.from_pandas(dataset.corpus, preserve_index=False))
    for corpus in (stored, loaded):
        texts = dict.fromkeys(range(len(dataset.corpus)), "")
        for rank in range(3):
            numbers = range(rank, -(-len(dataset.corpus) // 100), 3)
            for number, shard in zip(numbers, corpus.shards(100, numbers), strict=True):
                texts |= dict(enumerate(passage_texts(shard), start=100 * number))
        assert list(texts.values()) == dataset.passage_texts()
        rows = np.array([0, 3, len(dataset.corpus) - 1])
        assert corpus.ids(rows) == dataset.corpus["id"].iloc[rows].tolist()
        assert corpus.ids(np.array([], dtype=np.int64)) == []


def test_a_corpus_without_titles_is_read() -> None:
    corpus = corpus_of(Dataset.from_pandas(pd.DataFrame({"id": ["a"], "text": [" b "]})))
    [shard] = corpus.shards(10, [0])
    assert passage_texts(shard) == ["b"]
