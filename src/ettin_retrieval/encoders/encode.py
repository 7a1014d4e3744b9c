"""Texts to embeddings.

Texts are tokenised once and sorted by length, and each forward pass takes about the same number
of tokens, so almost nothing of it is padding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from tqdm.auto import tqdm

from ettin_retrieval.encoders.embedding_cache import EmbeddingCache, Embeddings
from ettin_retrieval.encoders.precision import autocast
from ettin_retrieval.encoders.tokenise import (
    Role,
    Tokenised,
    max_length_of,
    pad,
    prompt_of,
    tokenise,
)
from ettin_retrieval.runtime.distributed import all_gather, rank_and_world_size
from ettin_retrieval.settings.sections import Precision

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Item = TypeVar("Item")

SHARD = 16_384
"""Texts tokenised, encoded and cached at a time: caps memory and the work lost when killed."""

CPU_BATCH, CPU_TOKENS = 32, 2048
"""Texts of full length, and tokens, per forward pass on a CPU. More tokens do not fit its caches:
with all-MiniLM-L6-v2, 8,192 at a time take 1.2 to 1.3 times as long. 1,024 tokens reach 0.75 of
the arithmetic peak, 2,048 reach 0.80 and 4,096 reach 0.78, in processor time on two cores."""


def encode(
    model: SentenceTransformer,
    texts: list[str],
    role: Role,
    *,
    batch_size: int,
    precision: Precision = "fp32",
    cache: EmbeddingCache | None = None,
    shared: bool = False,
) -> Embeddings:
    """Embed texts; equal texts are encoded once.

    Parameters
    ----------
    model
        A SentenceTransformer, or any object with `encode_query` and `encode_document`.
    batch_size
        Texts of full length per forward pass on a GPU. Shorter texts share a pass in greater
        number: the budget is `batch_size` times the maximum length in tokens. A CPU takes
        `CPU_BATCH` texts and at most `CPU_TOKENS` tokens, whatever the batch size.
    cache
        Embeddings to read and to add to, shard by shard.
    shared
        Whether all ranks call this with the same texts and share the work.

    Returns
    -------
    Array of shape (len(texts), dimension), float32 whatever the precision.
    """
    unique = list(dict.fromkeys(texts))
    parts = (unique[start : start + SHARD] for start in range(0, len(unique), SHARD))
    shards = encode_shards(
        model, parts, role, batch_size=batch_size, precision=precision, cache=cache, shared=shared
    )
    vectors = np.concatenate(list(shards))
    if len(unique) == len(texts):
        return vectors
    row = {text: index for index, text in enumerate(unique)}
    return vectors[[row[text] for text in texts]]


def encode_shards(
    model: SentenceTransformer,
    shards: Iterable[list[str]],
    role: Role,
    *,
    batch_size: int,
    precision: Precision = "fp32",
    cache: EmbeddingCache | None = None,
    shared: bool = False,
) -> Iterator[Embeddings]:
    """Embed shard by shard; a thread reads and tokenises the next one meanwhile.

    Parameters are those of `encode`; no shard is empty.

    Yields
    ------
    For each shard an array of shape (texts, dimension).
    """
    reading = (precision, prompt_of(model, role), max_length_of(model, role), batch_size)

    def prepared() -> Iterator[_Shard]:
        for texts in shards:
            path = None if cache is None else cache.path(texts, role, *reading)
            cached = path is not None and path.is_file()
            tokenised = None
            if not cached and hasattr(model, "preprocess"):
                tokenised = tokenise(model, texts, role)
            yield _Shard(texts, path, cached, tokenised)

    for shard in ahead(prepared()):
        # Ranks on different machines have different caches.
        cached = all(all_gather(shard.cached)) if shared and cache is not None else shard.cached
        if cached and shard.path is not None:
            yield np.load(shard.path)
            continue
        with autocast(model, precision):
            vectors = _encode_shard(model, shard, role, batch_size, shared)
        if shard.path is not None:
            EmbeddingCache.save(vectors, shard.path)
        yield vectors


@dataclass(frozen=True)
class _Shard:
    """A shard before it is encoded; without `tokenised` if it is cached."""

    texts: list[str]
    path: Path | None
    cached: bool
    tokenised: Tokenised | None


def ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The items of an iterator; a thread fetches the next one while one is in use.

    At most one item waits. What the iterator raises is raised here, in its turn.

    >>> list(ahead(iter("abc")))
    ['a', 'b', 'c']
    """
    end: Any = object()
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as thread:
        coming = thread.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = thread.submit(next, items, end)
            yield item


def _encode_shard(
    model: SentenceTransformer, shard: _Shard, role: Role, batch_size: int, shared: bool
) -> Embeddings:
    if not hasattr(model, "preprocess"):
        encode_role = model.encode_query if role == "query" else model.encode_document
        return np.asarray(encode_role(shard.texts, batch_size=batch_size), dtype=np.float32)
    tokenised = shard.tokenised or tokenise(model, shard.texts, role)
    lengths = [len(ids) for ids in tokenised.ids]
    batches = list(length_batches(lengths, _token_budget(model, role, batch_size, max(lengths))))
    if shared:
        # Every rank makes the same batches, so that their bytes do not depend on the world size.
        rank, world_size = rank_and_world_size()
        parts = all_gather(_encode_batches(model, tokenised, batches[rank::world_size], role))
    else:
        parts = [_encode_batches(model, tokenised, batches, role)]
    order = [row for rows, _ in parts for row in rows]
    vectors = np.concatenate([vectors for rows, vectors in parts if rows])
    in_order: Embeddings = np.empty_like(vectors)
    in_order[order] = vectors
    return in_order


def _token_budget(model: SentenceTransformer, role: Role, batch_size: int, longest: int) -> int:
    """Tokens per forward pass, padding included."""
    length = max_length_of(model, role) or longest
    if model.device.type == "cpu":
        return min(CPU_BATCH * length, CPU_TOKENS)
    return batch_size * length


def _encode_batches(
    model: SentenceTransformer, tokenised: Tokenised, batches: list[list[int]], role: Role
) -> tuple[list[int], Embeddings]:
    """Rows of all batches, one after the other, and their embeddings."""
    import torch

    parts = []
    model.eval()
    total = sum(map(len, batches))
    with (
        torch.inference_mode(),
        tqdm(total=total, desc=f"encoding {role} texts", unit="text", leave=False) as progress,
    ):
        for rows in batches:
            features = pad([tokenised.ids[row] for row in rows], model.tokenizer)
            moved = {name: part.to(model.device) for name, part in features.items()}
            output = model({**tokenised.extra, **moved})["sentence_embedding"]
            parts.append(output[:, : model.truncate_dim].float())
            progress.update(len(rows))
        vectors = torch.cat(parts).cpu().numpy() if parts else np.zeros((0, 0), dtype=np.float32)
    return [row for rows in batches for row in rows], vectors


def length_batches(lengths: list[int], tokens: int) -> Iterator[list[int]]:
    """Rows in batches of at most `tokens` tokens, padding included, the longest texts first.

    Memory peaks in the first batch, so what does not fit fails at once. A text longer than the
    budget is a batch of its own.

    >>> list(length_batches([2, 9, 3, 2], tokens=6))
    [[1], [2, 0], [3]]
    """
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    start = 0
    while start < len(order):
        size = max(1, tokens // lengths[order[start]])
        yield order[start : start + size]
        start += size
