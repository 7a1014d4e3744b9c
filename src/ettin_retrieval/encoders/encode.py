"""Texts to embeddings.

Texts are tokenised once and sorted by length, and each forward pass takes about the same number
of tokens, so almost nothing of it is padding.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt
from tqdm.auto import tqdm

from ettin_retrieval.encoders.checkpoint import name_of
from ettin_retrieval.encoders.precision import autocast
from ettin_retrieval.encoders.tokenise import (
    Lengths,
    Role,
    Texts,
    max_length_of,
    prompt_of,
    task_of,
    tokenise,
)
from ettin_retrieval.runtime.determinism import arithmetic
from ettin_retrieval.runtime.distributed import all_gather, rank_and_world_size
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.runtime.files import code_digest
from ettin_retrieval.settings.sections import Precision

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Item = TypeVar("Item")
Embeddings = npt.NDArray[np.float32]  # of shape (texts, dimension)

SHARD = 16_384
"""Texts tokenised, encoded and cached at a time: caps memory and the work lost when killed."""

LENGTHS = ".lengths"
"""Suffix of the file beside cached embeddings: lengths of the texts before they were cut."""

CPU_BATCH, CPU_TOKENS = 32, 2048
"""Texts of full length, and tokens, per forward pass on a CPU. More tokens do not fit its caches:
with all-MiniLM-L6-v2, 8,192 at a time take 1.2 to 1.3 times as long. 1,024 tokens reach 0.75 of
the arithmetic peak, 2,048 reach 0.80 and 4,096 reach 0.78, in processor time on two cores."""

EXAMPLE = 60
"""Characters of a text that a message quotes."""


@dataclass(frozen=True)
class EmbeddingCache:
    """One file per shard of texts.

    A shard is looked up as a whole: its texts are batched by length, and the last digits of an
    embedding depend on its batch, so a cached shard holds exactly what would be computed.
    """

    checkpoint: str  # fingerprint: weights, pooling, normalisation and lengths
    directory: Path = Path("data/embeddings")  # beside the outputs that DVC tracks

    def path(self, texts: list[str], role: Role, *reading: object) -> Path:
        """The file of a shard, whether it exists or not.

        Its key covers the code, libraries, threads and device, and as `reading` what else decides
        the embeddings: precision, prompt, length and batch size.
        """
        key = [self.checkpoint, role, *reading, code_digest("encoders"), arithmetic()]
        digest = hashlib.sha256(json.dumps(key).encode())
        for text in texts:
            digest.update(hashlib.sha256(text.encode()).digest())
        return self.directory / f"{digest.hexdigest()}.npy"

    @staticmethod
    def save(vectors: npt.NDArray[Any], path: Path) -> None:
        """Write the file whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.partial")
        with partial.open("wb") as file:
            np.save(file, vectors)
        partial.replace(path)


@dataclass(frozen=True)
class TextEncoder:
    """A model, and how it encodes texts.

    Attributes
    ----------
    model
        A SentenceTransformer, or any object with `encode_query` and `encode_document`.
    batch_size
        Texts of full length per forward pass on a GPU. Shorter texts share a pass in greater
        number: the budget is `batch_size` times the maximum length in tokens. A CPU takes
        `CPU_BATCH` texts and at most `CPU_TOKENS` tokens, whatever the batch size.
    cache
        Embeddings of passages to read and to add to, shard by shard.
    """

    model: SentenceTransformer
    batch_size: int
    precision: Precision = "fp32"
    cache: EmbeddingCache | None = None

    def encode(self, texts: list[str], role: Role, shared: bool = False) -> Embeddings:
        """Embed texts; equal texts are encoded once.

        Parameters
        ----------
        shared
            Whether all ranks call this with the same texts and share the work.

        Returns
        -------
        Array of shape (len(texts), dimension), float32 whatever the precision.

        Raises
        ------
        InputError
            An embedding is not a finite number.
        """
        unique = list(dict.fromkeys(texts))
        parts = (unique[start : start + SHARD] for start in range(0, len(unique), SHARD))
        shards = list(self.encode_shards(parts, role, shared))
        vectors = shards[0] if len(shards) == 1 else np.concatenate(shards)
        if len(unique) == len(texts):
            return vectors
        row = {text: index for index, text in enumerate(unique)}
        return vectors[[row[text] for text in texts]]

    def encode_shards(
        self,
        shards: Iterable[list[str]],
        role: Role,
        shared: bool = False,
        lengths: list[Lengths] | None = None,
    ) -> Iterator[Embeddings]:
        """Embed shard by shard; a thread reads and tokenises the next one meanwhile.

        Parameters
        ----------
        lengths
            Gets, before each shard is yielded, the lengths of its texts in tokens before they are
            cut, of shape (texts,). A model that is not a SentenceTransformer adds nothing.

        Yields
        ------
        For each shard, which is not empty, an array of shape (texts, dimension).
        """
        for texts, path, cached, tokens in ahead(self._prepared(shards, role)):
            # Ranks on different machines have different caches.
            if path is not None and (all(all_gather(cached)) if shared else cached):
                if lengths is not None and hasattr(self.model, "preprocess"):
                    lengths.append(np.load(path.with_suffix(LENGTHS)))
                yield np.load(path)
                continue
            if tokens is None and hasattr(self.model, "preprocess"):
                tokens = tokenise(self.model, texts, role)
            with autocast(self.model, self.precision):
                vectors = self._encode_shard(texts, tokens, role, shared)
            self._check_finite(vectors, texts, role)
            if path is not None:
                if tokens is not None:
                    EmbeddingCache.save(tokens.whole, path.with_suffix(LENGTHS))
                EmbeddingCache.save(vectors, path)
            if lengths is not None and tokens is not None:
                lengths.append(tokens.whole)
            yield vectors

    def _prepared(
        self, shards: Iterable[list[str]], role: Role
    ) -> Iterator[tuple[list[str], Path | None, bool, Texts | None]]:
        """Shards, their files in the cache, whether these exist, and tokens where they do not."""
        model = self.model
        reading = (self.precision, prompt_of(model, role), max_length_of(model, role))
        for texts in shards:
            path = None
            if self.cache is not None and role == "passage":
                path = self.cache.path(texts, role, *reading, self.batch_size)
            tokenises = hasattr(model, "preprocess")
            cached = path is not None and path.is_file()
            if path is not None and tokenises:
                cached = cached and path.with_suffix(LENGTHS).is_file()
            needs_tokens = tokenises and not cached
            yield texts, path, cached, tokenise(model, texts, role) if needs_tokens else None

    def _check_finite(self, vectors: Embeddings, texts: list[str], role: Role) -> None:
        """Refuse to score by what is not a number: such passages can rank first."""
        finite = np.isfinite(vectors).all(axis=1)
        if finite.all():
            return
        wrong = np.flatnonzero(~finite)
        example = texts[wrong[0]]
        if len(example) > EXAMPLE:
            example = f"{example[:EXAMPLE]}..."
        raise InputError(
            f"{name_of(self.model)}: the embeddings of {len(wrong):,} of {len(texts):,} {role} "
            f"texts are not finite numbers, such as that of {example!r}; the weights are damaged, "
            f"or {self.precision} is too narrow for them"
        )

    def _encode_shard(
        self, texts: list[str], tokens: Texts | None, role: Role, shared: bool
    ) -> Embeddings:
        model = self.model
        if tokens is None:
            encode_role = model.encode_query if role == "query" else model.encode_document
            return np.asarray(encode_role(texts, batch_size=self.batch_size), dtype=np.float32)
        lengths = tokens.lengths
        longest = max_length_of(model, role) or max(lengths)
        on_cpu = model.device.type == "cpu"
        budget = min(CPU_BATCH * longest, CPU_TOKENS) if on_cpu else self.batch_size * longest
        batches = list(length_batches(lengths, budget))
        if shared:
            # Every rank makes the same batches: their bytes do not depend on the world size.
            rank, world_size = rank_and_world_size()
            parts = all_gather(_encode_batches(model, tokens, batches[rank::world_size], role))
        else:
            parts = [_encode_batches(model, tokens, batches, role)]
        order = [row for rows, _ in parts for row in rows]
        vectors = np.concatenate([vectors for rows, vectors in parts if rows])
        in_order: Embeddings = np.empty_like(vectors)
        in_order[order] = vectors
        return in_order


def _encode_batches(
    model: SentenceTransformer, tokens: Texts, batches: list[list[int]], role: Role
) -> tuple[list[int], Embeddings]:
    """Rows of all batches, one after the other, and their embeddings."""
    import torch
    from sentence_transformers.util import batch_to_device

    parts = []
    model.eval()
    rows = [row for batch in batches for row in batch]
    with (
        torch.inference_mode(),
        tqdm(
            total=len(rows), desc=f"encoding {role} texts", unit="text", leave=False, delay=1
        ) as progress,
    ):
        for batch in batches:
            features = batch_to_device(tokens.features(batch), model.device)
            output = model(features, task=task_of(role))
            parts.append(output["sentence_embedding"][:, : model.truncate_dim].float())
            progress.update(len(batch))
        vectors = torch.cat(parts).cpu().numpy() if parts else np.zeros((0, 0), dtype=np.float32)
    return rows, vectors


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
