"""Texts to embeddings, by role: queries and passages have their own lengths.

Texts are tokenised once, sorted by their number of tokens, and go through the encoder in batches
of about the same number of tokens, padding included: almost none of it is padding.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from array import array
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from tqdm.auto import tqdm

from ettin_retrieval.errors import InputError
from ettin_retrieval.params import Precision

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

logger = logging.getLogger("ettin_retrieval")

Embeddings = npt.NDArray[np.float32]
TokenIds = npt.NDArray[np.int32]
Role = Literal["query", "passage"]

KEPT = Path("data/embeddings")
"""Embeddings kept between stages: beside the DVC outputs, because they are no result."""

SHARD = 16_384
"""Texts that are tokenised, encoded and kept at a time: bounds memory, and what a kill costs."""

TOKENISED_AT_ONCE = 1024
"""Texts per call of the tokenizer, whose lists of numbers take ten times the space of arrays."""

TOKENS_ON_CPU = 2048
"""Tokens of a batch at most on a CPU, whose caches do not hold what more of them need: with
all-MiniLM-L6-v2 8,192 tokens at a time take 1.2 to 1.3 times as long."""


@dataclass(frozen=True)
class KeptEmbeddings:
    """Embeddings on disk, one file a shard, under a key of all that decides them.

    Attributes
    ----------
    checkpoint
        Identity of the encoder: weights, pooling, normalisation and lengths.
    directory
        Where the files are.
    """

    checkpoint: str
    directory: Path = KEPT

    def path(self, texts: list[str], role: Role, *reading: object) -> Path:
        """The file of these texts, whether it is there or not.

        Parameters
        ----------
        reading
            What else decides the embeddings: precision, prompt, length, size of a batch.
        """
        digest = hashlib.sha256(json.dumps([self.checkpoint, role, len(texts), *reading]).encode())
        for text in texts:
            digest.update(hashlib.sha256(text.encode()).digest())
        return self.directory / f"{digest.hexdigest()}.npy"


def _save(vectors: Embeddings, path: Path) -> None:
    """Write whole or not at all: a killed run leaves no half file behind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    with partial.open("wb") as file:
        np.save(file, vectors)
    partial.replace(path)


def encode(
    model: SentenceTransformer,
    texts: list[str],
    role: Role,
    *,
    batch_size: int,
    precision: Precision = "fp32",
    keep: KeptEmbeddings | None = None,
) -> Embeddings:
    """Embed texts; the same text is encoded once.

    Parameters
    ----------
    model
        Any other object with the methods `encode_query` and `encode_document` is asked by these.
    batch_size
        Texts of full length per forward pass. Shorter ones share a pass in greater number: what
        is bounded is the number of tokens, `batch_size` times the role's length (on a CPU at most
        `TOKENS_ON_CPU`).
    keep
        Where embeddings are looked up and kept, shard by shard; None encodes anew.

    Returns
    -------
    Array of shape (len(texts), dimension), float32 whatever the precision of the forward pass.
    """
    unique = list(dict.fromkeys(texts))
    reading = (precision, _prompt(model, role), _length(model, role), batch_size)
    shards = []
    for start in range(0, len(unique), SHARD):
        shard = unique[start : start + SHARD]
        kept = None if keep is None else keep.path(shard, role, *reading)
        if kept is not None and kept.is_file():
            shards.append(np.load(kept))
            continue
        with autocast(model, precision):
            vectors = _encode_shard(model, shard, role, batch_size)
        if kept is not None:
            _save(vectors, kept)
        shards.append(vectors)
    vectors = shards[0] if len(shards) == 1 else np.concatenate(shards)
    if len(unique) == len(texts):
        return vectors
    row = {text: index for index, text in enumerate(unique)}
    return vectors[[row[text] for text in texts]]


def _encode_shard(
    model: SentenceTransformer, texts: list[str], role: Role, batch_size: int
) -> Embeddings:
    """Embeddings of shape (len(texts), dimension), in order of the texts."""
    import torch

    if not hasattr(model, "preprocess"):
        encode_role = model.encode_query if role == "query" else model.encode_document
        return np.asarray(encode_role(texts, batch_size=batch_size), dtype=np.float32)
    ids, extra = _tokenise(model, texts, role)
    tokens = batch_size * (_length(model, role) or max(map(len, ids)))
    if model.device.type == "cpu":
        tokens = min(tokens, TOKENS_ON_CPU)
    order, parts = [], []
    model.eval()
    progress = tqdm(total=len(texts), desc=f"encoding {role} texts", unit="text", leave=False)
    with torch.inference_mode():
        for rows in batches([len(i) for i in ids], tokens):
            features = _padded([ids[row] for row in rows], model.tokenizer)
            moved = {name: part.to(model.device) for name, part in features.items()}
            embedded = model({**extra, **moved})["sentence_embedding"]
            parts.append(embedded[:, : model.truncate_dim].float())
            order += rows
            progress.update(len(rows))
        vectors = torch.cat(parts).cpu().numpy()
    progress.close()
    in_order: Embeddings = np.empty_like(vectors)
    in_order[order] = vectors
    return in_order


def batches(lengths: list[int], tokens: int) -> Iterator[list[int]]:
    """Rows in batches of at most so many tokens, padding included, the longest texts first.

    Memory is highest in the first batch, so that what does not fit fails at the start. A text
    longer than the bound is a batch of its own.

    >>> list(batches([2, 9, 3, 2], tokens=6))
    [[1], [2, 0], [3]]
    """
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    start = 0
    while start < len(order):
        size = max(1, tokens // lengths[order[start]])
        yield order[start : start + size]
        start += size


class TokenisedTexts:
    """Texts tokenised in advance, each known by its number.

    Stands in for the encoder's `preprocess` while training, which would tokenise every batch of
    every epoch on its own, while the device waits. Prompts are those of encoding. The token ids of
    all texts of a role are one array: an array for each text would take more memory for itself
    than for the ids.

    Parameters
    ----------
    texts
        By their number.
    asked
        Numbers of the texts of each role that will be asked for.
    """

    def __init__(
        self, model: SentenceTransformer, texts: list[str], asked: dict[Role, TokenIds]
    ) -> None:
        self.tokenizer = model.tokenizer
        self.ids: dict[str, TokenIds] = {}
        self.ends: dict[str, npt.NDArray[np.int64]] = {}
        self.extra: dict[str, dict[str, Any]] = {}
        for role, numbers in asked.items():
            task, wanted = _task(role), np.unique(numbers)
            flat = array("i")
            # One more: the ids of text n are those from ends[n] to ends[n + 1].
            ends = np.zeros(len(texts) + 1, dtype=np.int64)
            for start in range(0, len(wanted), TOKENISED_AT_ONCE):
                part = wanted[start : start + TOKENISED_AT_ONCE]
                ids, self.extra[task] = _tokenise(model, [texts[n] for n in part], role)
                ends[part + 1] = [len(tokens) for tokens in ids]
                flat.frombytes(np.concatenate(ids).tobytes())
            self.ids[task] = np.frombuffer(flat, dtype=np.int32)
            self.ends[task] = np.cumsum(ends)

    def __call__(self, numbers: TokenIds, task: str) -> dict[str, Any]:
        """Features of a batch, padded to its longest text."""
        flat, ends = self.ids[task], self.ends[task]
        ids = [flat[ends[n] : ends[n + 1]] for n in numbers]
        return {**self.extra[task], **_padded(ids, self.tokenizer)}


def _tokenise(
    model: SentenceTransformer, texts: list[str], role: Role
) -> tuple[list[TokenIds], dict[str, Any]]:
    """Token ids of each text, cut at the role's length, and what else the modules want to know."""
    ids: list[TokenIds] = []
    extra: dict[str, Any] = {}
    for start in range(0, len(texts), TOKENISED_AT_ONCE):
        features = model.preprocess(
            texts[start : start + TOKENISED_AT_ONCE],
            prompt=_prompt(model, role),
            task=_task(role),
            processing_kwargs={"text": {"padding": False}, "common": {"return_tensors": None}},
        )
        # An empty text has no tokens where the tokenizer adds none of its own.
        ids += [
            np.asarray(tokens or [model.tokenizer.pad_token_id], dtype=np.int32)
            for tokens in features["input_ids"]
        ]
        extra = {name: features[name] for name in ("modality", "prompt_length") if name in features}
    return ids, extra


def _padded(ids: list[TokenIds], tokenizer: Any) -> dict[str, Any]:
    """Token ids and attention mask, each of shape (len(ids), longest), on the CPU."""
    import torch

    longest = max(map(len, ids))
    tokens = np.full((len(ids), longest), tokenizer.pad_token_id, dtype=np.int64)
    mask = np.zeros_like(tokens)
    for row, text in enumerate(ids):
        columns = slice(len(text)) if tokenizer.padding_side == "right" else slice(-len(text), None)
        tokens[row, columns] = text
        mask[row, columns] = 1
    return {"input_ids": torch.from_numpy(tokens), "attention_mask": torch.from_numpy(mask)}


def _task(role: Role) -> str:
    """sentence-transformers' word for a role."""
    return "query" if role == "query" else "document"


def _prompt(model: SentenceTransformer, role: Role) -> str | None:
    """What `encode_query` and `encode_document` would put before a text."""
    prompts = getattr(model, "prompts", {})
    names = ["query"] if role == "query" else ["document", "passage", "corpus"]
    name = next((n for n in names if n in prompts), getattr(model, "default_prompt_name", None))
    return prompts.get(name)


def _length(model: SentenceTransformer, role: Role) -> int | None:
    """The role's length in tokens, where the encoder has one."""
    own = getattr(model, "max_seq_length", None)
    first: Any = model[0] if own is not None else None
    return getattr(first, f"{_task(role)}_length", None) or own


def autocast(model: SentenceTransformer, precision: Precision) -> AbstractContextManager[object]:
    """Mixed precision for a forward pass; parameters stay fp32."""
    import torch

    if precision == "fp32":
        return nullcontext()
    check_precision(precision, model.device.type, "evaluation.precision")
    dtype = torch.bfloat16 if precision == "bf16" else torch.float16
    return torch.autocast(model.device.type, dtype=dtype)


def check_precision(precision: Precision, device: str, key: str) -> None:
    """Refuse a precision that the hardware has no arithmetic for.

    Raises
    ------
    InputError
        fp16 on a CPU, or bf16 on a GPU without it.
    """
    import torch

    if precision == "fp16" and device == "cpu":
        raise InputError(f"params.yaml: {key}: fp16 needs a GPU; use fp32 or bf16 on a CPU")
    if precision != "bf16":
        return
    # An emulation is slower than fp32 is.
    if device == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise InputError(f"params.yaml: {key}: this GPU has no bf16; use fp16 or fp32")
    if device == "cpu":
        _warn_of_emulation(key)


@cache
def _warn_of_emulation(key: str) -> None:
    """One line, once, where a CPU computes bf16 without instructions for it."""
    import torch

    there = torch.cpu.get_capabilities().get("avx512_bf16", True)  # unknown elsewhere
    pinned = os.environ.get("ONEDNN_MAX_CPU_ISA") == "AVX2"
    if pinned or not there:
        logger.warning(
            "params.yaml: %s: bf16 is emulated on a CPU %s, and about a hundred times slower "
            "than fp32",
            key,
            "in strict mode, which pins older instructions" if there else "without avx512_bf16",
        )
