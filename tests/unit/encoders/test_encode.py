"""Texts to embeddings: batches, shards, ranks, the cache, agreement with sentence-transformers."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from tokenizers.processors import TemplateProcessing

from ettin_retrieval.data.dataset import RetrievalDataset
from ettin_retrieval.encoders import encode as encoding
from ettin_retrieval.encoders.encode import EmbeddingCache, TextEncoder, ahead, length_batches
from ettin_retrieval.runtime import determinism
from ettin_retrieval.sources import tiny
from tests.collections import minilm
from tests.small import LetterCounts


@pytest.fixture(scope="module")
def dataset() -> RetrievalDataset:
    return tiny.benchmark()["TinySciFact"]


def test_embeddings_are_those_of_sentence_transformers(
    model: Any, dataset: RetrievalDataset
) -> None:
    texts = [*dataset.passage_texts()[:50], "one", "two words", " ".join(["long"] * 200)]
    ours = TextEncoder(model, 4).encode(texts, "passage")
    np.testing.assert_allclose(ours, model.encode_document(texts, batch_size=4), atol=1e-6)
    queries = dataset.queries["text"].tolist()[:20]
    ours = TextEncoder(model, 4).encode(queries, "query")
    np.testing.assert_allclose(ours, model.encode_query(queries, batch_size=4), atol=1e-6)


def test_prompts_are_applied_as_sentence_transformers_applies_them(model: Any) -> None:
    model.prompts = {"query": "find: ", "passage": "text: "}
    texts = ["a river", "b"]
    for ours, theirs in (
        (TextEncoder(model, 2).encode(texts, "query"), model.encode_query(texts)),
        (TextEncoder(model, 2).encode(texts, "passage"), model.encode_document(texts)),
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
        assert not np.allclose(ours, model.encode(texts), atol=1e-3)


def test_queries_and_passages_are_cut_at_their_own_lengths(
    model: Any, dataset: RetrievalDataset
) -> None:
    model[0].query_length, model[0].document_length = 4, 6
    words = " ".join(dataset.passage_texts()[:20]).split()
    known = [word for word in dict.fromkeys(words) if len(model.tokenizer.tokenize(word)) == 1]
    long, cut = " ".join(known[:5]), " ".join(known[:2])
    query = TextEncoder(model, 2).encode([long, cut], "query")
    passage = TextEncoder(model, 2).encode([long, cut], "passage")
    np.testing.assert_allclose(query[0], query[1], atol=1e-6)  # [CLS] two words [SEP]
    assert not np.allclose(passage[0], passage[1], atol=1e-3)


@pytest.mark.parametrize("world_size", [2, 3, 50])
def test_the_ranks_embeddings_are_those_of_one_process(
    model: Any, dataset: RetrievalDataset, world_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "CPU_TOKENS", 256)  # several batches
    texts = dataset.passage_texts()[:60]
    alone = TextEncoder(model, 4).encode(texts, "passage")
    gathered: list[Any] = []

    def gather(value: Any) -> list[Any]:
        gathered.append(value)
        raise InterruptedError

    # First what each rank encodes, then what all of them make of it.
    monkeypatch.setattr(encoding, "all_gather", gather)
    for rank in range(world_size):
        monkeypatch.setattr(encoding, "rank_and_world_size", lambda r=rank: (r, world_size))
        with pytest.raises(InterruptedError):
            TextEncoder(model, 4).encode(texts, "passage", shared=True)
    assert max(len(rows) for rows, _ in gathered) < len(texts)
    monkeypatch.setattr(encoding, "all_gather", lambda _: gathered)
    together = TextEncoder(model, 4).encode(texts, "passage", shared=True)
    np.testing.assert_array_equal(together, alone)


def test_equal_texts_are_encoded_once() -> None:
    model: Any = LetterCounts()
    vectors = TextEncoder(model, 8).encode(["ab", "b", "ab"], "passage")
    assert vectors.tolist() == [[1, 1], [0, 1], [1, 1]]
    assert model.texts == ["ab", "b"]


def test_batches_stay_within_the_token_budget_and_hold_every_row_once() -> None:
    lengths = np.random.default_rng(0).integers(1, 50, size=300).tolist()
    batches = list(length_batches(lengths, 64))
    assert sorted(row for rows in batches for row in rows) == list(range(300))
    assert all(len(rows) * max(lengths[row] for row in rows) <= 64 for rows in batches)
    assert list(length_batches([100, 1], 64)) == [[0], [1]]


def test_the_batch_size_changes_no_byte_on_a_cpu(model: Any, dataset: RetrievalDataset) -> None:
    """So DVC re-runs nothing when encoding.batch_size changes."""
    lengths = np.random.default_rng(0).integers(1, 90, size=150)
    words = " ".join(dataset.passage_texts()).split()
    texts = [" ".join(words[start : start + size]) for start, size in enumerate(lengths)]
    for role in ("query", "passage"):
        one, other = (TextEncoder(model.cpu(), size).encode(texts, role) for size in (2, 64))
        np.testing.assert_array_equal(one, other)


def test_a_killed_encoding_continues_with_the_missing_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "SHARD", 2)
    texts = ["a", "ab", "b", "aab", "aa"]

    class Killed(LetterCounts):
        def encode_document(self, texts: list[str], batch_size: int) -> Any:
            if "aa" in texts:
                raise KeyboardInterrupt
            return super().encode_document(texts, batch_size)

    cache = EmbeddingCache("fake", tmp_path)
    killed: Any = Killed()
    with pytest.raises(KeyboardInterrupt):
        TextEncoder(killed, 8, cache=cache).encode(texts, "passage")
    assert killed.texts == texts[:4]
    again: Any = LetterCounts()
    vectors = TextEncoder(again, 8, cache=cache).encode(texts, "passage")
    assert again.texts == ["aa"]
    fresh: Any = LetterCounts()
    np.testing.assert_array_equal(vectors, TextEncoder(fresh, 8).encode(texts, "passage"))


def test_at_most_one_item_is_fetched_ahead() -> None:
    fetched: list[int] = []

    def items() -> Iterator[int]:
        for number in range(5):
            fetched.append(number)
            yield number

    for number in ahead(items()):
        time.sleep(0.02)
        assert number in fetched and len(fetched) <= number + 2
    assert fetched == list(range(5))


def test_errors_while_fetching_ahead_are_raised_in_their_turn() -> None:
    def items() -> Iterator[str]:
        yield "whole"
        raise OSError("no such shard")

    seen = []
    with pytest.raises(OSError, match="no such shard"):
        for item in ahead(items()):
            seen.append(item)
    assert seen == ["whole"]


def test_stopping_early_leaves_no_thread() -> None:
    for _ in ahead(iter(range(9))):
        break
    assert not [t for t in threading.enumerate() if t.name.startswith("ahead")]


def test_the_next_shard_is_read_while_one_is_encoded() -> None:
    read, encoding_first = threading.Event(), threading.Event()

    class Waits(LetterCounts):
        def encode_document(self, texts: list[str], batch_size: int) -> Any:
            encoding_first.set()
            assert read.wait(5), "the second shard is read only after the first was encoded"
            return super().encode_document(texts, batch_size)

    def shards() -> Iterator[list[str]]:
        yield ["a"]
        assert encoding_first.wait(5)
        read.set()
        yield ["b"]

    model: Any = Waits()
    found = list(TextEncoder(model, 8).encode_shards(shards(), "passage"))
    assert [vectors.tolist() for vectors in found] == [[[1, 0]], [[0, 1]]]


def test_an_empty_text_is_embedded() -> None:
    model = SentenceTransformer(minilm(), device="cpu", local_files_only=True)
    vectors = TextEncoder(model, 2).encode(["", "an anchor", ""], "passage")
    expected = model.encode([""])[0]
    assert np.allclose(vectors[0], expected, atol=1e-5) and np.array_equal(vectors[0], vectors[2])

    # A tokenizer without special tokens makes no token of an empty text.
    plain = TemplateProcessing(single="$A", pair="$A $B", special_tokens=[])
    model.tokenizer.backend_tokenizer.post_processor = plain
    assert np.isfinite(TextEncoder(model, 2).encode(["", "an anchor"], "passage")).all()


def test_another_encoder_text_or_reading_has_another_key(tmp_path: Path) -> None:
    cache = EmbeddingCache("a", tmp_path)
    paths = {
        cache.path(["x", "y"], "passage", "fp32", "prompt", 64),
        cache.path(["xy"], "passage", "fp32", "prompt", 64),
        cache.path(["y", "x"], "passage", "fp32", "prompt", 64),
        cache.path(["x", "y"], "query", "fp32", "prompt", 64),
        cache.path(["x", "y"], "passage", "bf16", "prompt", 64),
        cache.path(["x", "y"], "passage", "fp32", None, 64),
        cache.path(["x", "y"], "passage", "fp32", "prompt", 32),
        EmbeddingCache("b", tmp_path).path(["x", "y"], "passage", "fp32", "prompt", 64),
    }
    assert len(paths) == 8


@pytest.mark.parametrize("changed", ["libraries", "pinned", "threads", "device", "code"])
def test_what_computes_embeddings_is_part_of_the_key(
    changed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = EmbeddingCache("a", tmp_path)
    before = cache.path(["x"], "passage")
    assert cache.path(["x"], "passage") == before
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
        monkeypatch.setattr(encoding, "code_digest", lambda *packages: f"other {packages}")
    assert cache.path(["x"], "passage") != before
