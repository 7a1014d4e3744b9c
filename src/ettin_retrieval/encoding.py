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
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
from tqdm.auto import tqdm

from ettin_retrieval.determinism import computed_by
from ettin_retrieval.errors import InputError
from ettin_retrieval.params import Precision

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

logger = logging.getLogger("ettin_retrieval")

Embeddings = npt.NDArray[np.float32]
TokenIds = npt.NDArray[np.int32]
Role = Literal["query", "passage"]
Item = TypeVar("Item")

KEPT = Path("data/embeddings")
"""Embeddings kept between stages: beside the DVC outputs, because they are no result."""

SHARD = 16_384
"""Texts that are tokenised, encoded and kept at a time: bounds memory, and what a kill costs."""

TOKENISED_AT_ONCE = 1024
"""Texts per call of the tokenizer, whose lists of numbers take ten times the space of arrays."""

TOKENS_ON_CPU = 2048
"""Tokens of a batch at most on a CPU, whose caches do not hold what more of them need: with
all-MiniLM-L6-v2 8,192 tokens at a time take 1.2 to 1.3 times as long. Of the
arithmetic's peak 1,024 reach 0.75, 2,048 0.80 and 4,096 0.78, in processor time on two cores."""


LIBRARIES = ("numpy", "sentence-transformers", "tokenizers", "torch", "transformers")
"""Libraries whose release may change an embedding."""


@dataclass(frozen=True)
class KeptEmbeddings:
    """Embeddings on disk, one file a shard, under a key of all that decides them.

    The texts of a shard are batched by length, and its last digits depend on the batches: a text
    is found again in the shard it was kept in, and nowhere else, so that what is read is what
    would be computed.

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
            What else decides the embeddings: precision, prompt, length, size of a batch. Code,
            libraries, threads and device do too, and are part of the key of themselves.
        """
        by = computed_by(LIBRARIES, [Path(__file__)])
        key = [self.checkpoint, role, len(texts), *reading, by]
        digest = hashlib.sha256(json.dumps(key).encode())
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


@dataclass(frozen=True)
class Crew:
    """Processes that encode the same texts together, each some of the batches.

    Attributes
    ----------
    rank, ranks
        This process, counted from 0, and how many there are.
    gather
        Every process's value, in order of rank; all call it in the same order.
    """

    rank: int
    ranks: int
    gather: Callable[[Any], list[Any]]


def encode(
    model: SentenceTransformer,
    texts: list[str],
    role: Role,
    *,
    batch_size: int,
    precision: Precision = "fp32",
    keep: KeptEmbeddings | None = None,
    crew: Crew | None = None,
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
    crew
        Processes that share the work; None where this one does all.

    Returns
    -------
    Array of shape (len(texts), dimension), float32 whatever the precision of the forward pass.
    """
    unique = list(dict.fromkeys(texts))
    cut = (unique[start : start + SHARD] for start in range(0, len(unique), SHARD))
    shards = list(
        encode_shards(
            model, cut, role, batch_size=batch_size, precision=precision, keep=keep, crew=crew
        )
    )
    vectors = shards[0] if len(shards) == 1 else np.concatenate(shards)
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
    keep: KeptEmbeddings | None = None,
    crew: Crew | None = None,
) -> Iterator[Embeddings]:
    """Embed shard by shard; while one is encoded, a thread reads and tokenises the next.

    Parameters
    ----------
    shards
        Texts that are tokenised, batched and kept together; none is empty.

    Yields
    ------
    Of each shard, an array of shape (texts, dimension). Parameters are those of `encode`.
    """
    reading = (precision, _prompt(model, role), _length(model, role), batch_size)

    def prepared() -> Iterator[_Shard]:
        for texts in shards:
            path = None if keep is None else keep.path(texts, role, *reading)
            there = path is not None and path.is_file()
            tokenised = None if there else _tokenised(model, texts, role)
            yield _Shard(texts, path, tokenised)

    for shard in ahead(prepared()):
        # One process may find what another, on another machine, does not.
        there = shard.tokenised is None
        if crew is not None and keep is not None:
            there = all(crew.gather(there))
        if there and shard.path is not None:
            yield np.load(shard.path)
            continue
        with autocast(model, precision):
            vectors = _encode_shard(model, shard, role, batch_size, crew)
        if shard.path is not None:
            _save(vectors, shard.path)
        yield vectors


@dataclass(frozen=True)
class _Shard:
    """What is known of a shard before it is encoded; `tokenised` is None where it is kept."""

    texts: list[str]
    path: Path | None
    tokenised: Tokenised | None


def ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The items of an iterator; a thread gets the next one while one is worked on.

    No more than one item is waiting. What the iterator raises is raised here, in its turn.

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
    model: SentenceTransformer, shard: _Shard, role: Role, batch_size: int, crew: Crew | None
) -> Embeddings:
    """Embeddings of shape (texts, dimension), in order of the texts."""
    if not hasattr(model, "preprocess"):
        encode_role = model.encode_query if role == "query" else model.encode_document
        return np.asarray(encode_role(shard.texts, batch_size=batch_size), dtype=np.float32)
    tokenised = shard.tokenised or _tokenised(model, shard.texts, role)
    lengths = [len(ids) for ids in tokenised.ids]
    tokens = batch_size * (_length(model, role) or max(lengths))
    if model.device.type == "cpu":
        tokens = min(tokens, TOKENS_ON_CPU)
    made = list(batches(lengths, tokens))
    if crew is None:
        parts = [_encode_batches(model, tokenised, made, role)]
    else:
        # The same batches, whoever encodes them: with the same bytes.
        own = made[crew.rank :: crew.ranks]
        parts = crew.gather(_encode_batches(model, tokenised, own, role))
    order = [row for rows, _ in parts for row in rows]
    vectors = np.concatenate([vectors for rows, vectors in parts if rows])
    in_order: Embeddings = np.empty_like(vectors)
    in_order[order] = vectors
    return in_order


def _encode_batches(
    model: SentenceTransformer, tokenised: Tokenised, made: list[list[int]], role: Role
) -> tuple[list[int], Embeddings]:
    """Rows of all batches, one after the other, and their embeddings."""
    import torch

    parts = []
    model.eval()
    total = sum(map(len, made))
    progress = tqdm(total=total, desc=f"encoding {role} texts", unit="text", leave=False)
    with torch.inference_mode():
        for rows in made:
            features = _padded([tokenised.ids[row] for row in rows], model.tokenizer)
            moved = {name: part.to(model.device) for name, part in features.items()}
            embedded = model({**tokenised.extra, **moved})["sentence_embedding"]
            parts.append(embedded[:, : model.truncate_dim].float())
            progress.update(len(rows))
        vectors = torch.cat(parts).cpu().numpy() if parts else np.zeros((0, 0), dtype=np.float32)
    progress.close()
    return [row for rows in made for row in rows], vectors


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
                tokenised = _tokenised(model, [texts[n] for n in part], role)
                self.extra[task] = tokenised.extra
                ends[part + 1] = [len(tokens) for tokens in tokenised.ids]
                flat.frombytes(np.concatenate(tokenised.ids).tobytes())
            self.ids[task] = np.frombuffer(flat, dtype=np.int32)
            self.ends[task] = np.cumsum(ends)

    def __call__(self, numbers: TokenIds, task: str) -> dict[str, Any]:
        """Features of a batch, padded to its longest text."""
        flat, ends = self.ids[task], self.ends[task]
        ids = [flat[ends[n] : ends[n + 1]] for n in numbers]
        return {**self.extra[task], **_padded(ids, self.tokenizer)}


@dataclass(frozen=True)
class Tokenised:
    """Token ids of texts, cut at their role's length, and what else the modules want to know."""

    ids: list[TokenIds]
    extra: dict[str, Any]


def _tokenised(model: SentenceTransformer, texts: list[str], role: Role) -> Tokenised:
    """Token ids as `model.preprocess` gives them.

    A tokenizer of the library tokenizers is asked itself, for ids alone, once `preprocess` has
    set it up for the role: masks and lists of numbers took a third of the time.
    """
    if not hasattr(model, "preprocess"):
        return Tokenised([], {})
    longest = max(texts, key=len)
    asked, extra = _preprocessed(model, [longest], role)
    fast = getattr(model.tokenizer, "backend_tokenizer", None)
    prompt = _prompt(model, role) or ""

    def own(part: list[str]) -> list[TokenIds]:
        encoded = fast.encode_batch_fast([prompt + text for text in part])  # type: ignore[union-attr]
        return [_never_empty(text.ids, model) for text in encoded]

    # Whatever a module does to its texts before it tokenises them, it does to this one.
    same = fast is not None and np.array_equal(own([longest])[0], asked[0])
    ids: list[TokenIds] = []
    for start in range(0, len(texts), TOKENISED_AT_ONCE):
        part = texts[start : start + TOKENISED_AT_ONCE]
        ids += own(part) if same else _preprocessed(model, part, role)[0]
    return Tokenised(ids, extra)


def _preprocessed(
    model: SentenceTransformer, texts: list[str], role: Role
) -> tuple[list[TokenIds], dict[str, Any]]:
    """Token ids of each text, cut at the role's length, and what else the modules want to know."""
    features = model.preprocess(
        texts,
        prompt=_prompt(model, role),
        task=_task(role),
        processing_kwargs={"text": {"padding": False}, "common": {"return_tensors": None}},
    )
    ids = [_never_empty(tokens, model) for tokens in features["input_ids"]]
    return ids, {name: features[name] for name in ("modality", "prompt_length") if name in features}


def _never_empty(tokens: list[int], model: SentenceTransformer) -> TokenIds:
    """An empty text has no tokens where the tokenizer adds none of its own: one of padding."""
    return np.asarray(tokens or [model.tokenizer.pad_token_id], dtype=np.int32)


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
