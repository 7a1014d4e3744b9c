"""Texts to what a model reads, by role: queries and passages have their own prompts and lengths."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Role = Literal["query", "passage"]
Lengths = npt.NDArray[np.int32]

TEXTS_PER_CALL = 1024
"""Texts per call of the tokenizer, whose lists take ten times the memory of arrays."""

KNOWN_FEATURES = {"input_ids", "attention_mask", "token_type_ids", "modality", "prompt_length"}
"""What the forward pass of a transformer reads; token types are 0 where they are left out."""

POSITIONS_AFTER_PADDING = {"roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "mpnet"}
"""Architectures that number positions from the padding token's id + 1."""

CHARACTERS_PER_TOKEN = 4
"""About as in English: decides how many texts that are not tokenised yet share a batch."""


class Texts(Protocol):
    """Texts of one role, ready to be read by a model."""

    @property
    def whole(self) -> Lengths:
        """Length of each text before it is cut, in tokens, of shape (texts,)."""

    @property
    def lengths(self) -> list[int]:
        """Length of each text in tokens, as the model reads it."""

    def features(self, texts: Sequence[int] | npt.NDArray[np.integer]) -> dict[str, Any]:
        """What the model reads of some texts, on the CPU."""


@dataclass(frozen=True)
class Untokenised:
    """Texts of a model that does not read them as token ids of one transformer.

    Its first module is a router, static embeddings or of another kind. Every batch is prepared by
    the model itself, as in sentence-transformers.
    """

    model: SentenceTransformer
    texts: list[str]
    role: Role
    max_length: int | None

    @property
    def whole(self) -> Lengths:
        """Length of each text before it is cut, in tokens, of shape (texts,)."""
        tokenizer = first_module(self.model, self.role).tokenizer
        if not callable(tokenizer):  # that of static embeddings, which read whole texts
            return np.array([len(t.ids) for t in tokenizer.encode_batch(self.texts)], np.int32)
        prompt = prompt_of(self.model, self.role) or ""
        found = (
            tokenizer(f"{prompt}{text}", truncation=False, verbose=False)["input_ids"]
            for text in self.texts
        )
        return np.fromiter(map(len, found), np.int32, len(self.texts))

    @property
    def lengths(self) -> list[int]:
        """Length of each text in tokens, roughly."""
        longest = self.max_length or math.inf
        return [int(min(1 + len(text) // CHARACTERS_PER_TOKEN, longest)) for text in self.texts]

    def features(self, texts: Sequence[int] | npt.NDArray[np.integer]) -> dict[str, Any]:
        """What the model reads of some texts, on the CPU."""
        part = [self.texts[text] for text in texts]
        prompt, task = prompt_of(self.model, self.role), task_of(self.role)
        return self.model.preprocess(part, prompt=prompt, task=task, max_length=self.max_length)


@dataclass(frozen=True)
class Tokenised:
    """Token ids of texts, each cut at the length of its role.

    Those of all texts are one array: an array per text would take more memory than its ids.
    """

    ids: npt.NDArray[np.int32]
    ends: npt.NDArray[np.int64]  # text n has the ids from ends[n] to ends[n + 1]
    extra: dict[str, Any]  # further features that the model's modules ask for
    tokenizer: Any
    whole: Lengths  # of each text before it is cut, of shape (texts,)

    @property
    def lengths(self) -> list[int]:
        """Length of each text in tokens."""
        lengths: list[int] = np.diff(self.ends).tolist()
        return lengths

    def features(self, texts: Sequence[int] | npt.NDArray[np.integer]) -> dict[str, Any]:
        """What the model reads of some texts, on the CPU; tensors have shape (texts, longest)."""
        import torch

        ids = [self.ids[self.ends[text] : self.ends[text + 1]] for text in texts]
        lengths = np.array(list(map(len, ids)))
        present = np.arange(lengths.max()) < lengths[:, None]
        if self.tokenizer.padding_side == "left":
            present = present[:, ::-1]
        padded = np.full(present.shape, self.tokenizer.pad_token_id, dtype=np.int64)
        padded[present] = np.concatenate(ids)
        mask = torch.from_numpy(present.astype(np.int64, order="C"))
        return {**self.extra, "input_ids": torch.from_numpy(padded), "attention_mask": mask}


def tokenise(model: SentenceTransformer, texts: list[str], role: Role) -> Texts:
    """Texts as `model.preprocess` reads them.

    A fast tokenizer is called directly, for ids alone: masks and Python lists take a third of the
    time. `preprocess` still tokenises the shortest and the longest text, and everything if the two
    differ.
    """
    from sentence_transformers.base.modules import Transformer

    max_length = max_length_of(model, role)
    if not isinstance(model[0], Transformer):
        return Untokenised(model, texts, role, max_length)
    prompt, tokenizer = prompt_of(model, role), model.tokenizer
    fast = getattr(tokenizer, "backend_tokenizer", None)

    def preprocess(part: list[str], **text: Any) -> dict[str, Any]:
        options = {"text": {"padding": False, **text}, "common": {"return_tensors": None}}
        task = task_of(role)
        return model.preprocess(part, prompt=prompt, task=task, processing_kwargs=options)

    def directly(part: list[str]) -> Iterator[tuple[list[int], int]]:
        encoded = fast.encode_batch_fast([f"{prompt or ''}{text}" for text in part])  # type: ignore[union-attr]
        # What is cut off is in pieces, each with special tokens of its own.
        special = fast.num_special_tokens_to_add(False)  # type: ignore[union-attr]
        for text in encoded:
            yield text.ids, len(text) + sum(len(piece) - special for piece in text.overflowing)

    def slowly(part: list[str]) -> Iterator[tuple[list[int], int]]:
        found = preprocess(part)["input_ids"]
        full = [row for row, tokens in enumerate(found) if len(tokens) == max_length]
        again = [part[row] for row in full]
        whole = preprocess(again, truncation=False)["input_ids"] if full else []
        longer = {row: len(tokens) for row, tokens in zip(full, whole, strict=True)}
        return ((tokens, longer.get(row, len(tokens))) for row, tokens in enumerate(found))

    extremes = [min(texts, key=len), max(texts, key=len)]
    expected = preprocess(extremes)
    if expected.keys() - KNOWN_FEATURES or any(map(any, expected.get("token_type_ids", []))):
        return Untokenised(model, texts, role, max_length)
    same = fast is not None and [ids for ids, _ in directly(extremes)] == expected["input_ids"]
    ids, ends, whole = array("i"), array("q", [0]), array("i")
    for start in range(0, len(texts), TEXTS_PER_CALL):
        part = texts[start : start + TEXTS_PER_CALL]
        for tokens, length in directly(part) if same else slowly(part):
            # Without special tokens an empty text has no token: it gets one of padding.
            ids.extend(tokens or [tokenizer.pad_token_id])
            ends.append(len(ids))
            whole.append(length)
    extra = {name: expected[name] for name in expected.keys() & {"modality", "prompt_length"}}
    return Tokenised(
        np.frombuffer(ids, dtype=np.int32),
        np.frombuffer(ends, dtype=np.int64),
        extra,
        tokenizer,
        np.frombuffer(whole, dtype=np.int32),
    )


def task_of(role: Role) -> str:
    """sentence-transformers' name of a role.

    >>> task_of("query"), task_of("passage")
    ('query', 'document')
    """
    return "query" if role == "query" else "document"


def prompt_of(model: SentenceTransformer, role: Role) -> str | None:
    """The prompt that `encode_query` or `encode_document` would put before a text."""
    prompts = getattr(model, "prompts", {})
    names = ["query"] if role == "query" else ["document", "passage", "corpus"]
    name = next((n for n in names if n in prompts), getattr(model, "default_prompt_name", None))
    return prompts.get(name)


def max_length_of(model: SentenceTransformer, role: Role) -> int | None:
    """Maximum length of a role in tokens; None if the model has none."""
    first = first_module(model, role)
    longest = getattr(first, "max_seq_length", None)
    length = getattr(first, f"{task_of(role)}_length", None) or longest
    return None if length is None or math.isinf(length) else int(length)


def positions_of(transformer: Any) -> int | None:
    """Tokens that a transformer module has positions for; None if it has no limit."""
    config = transformer.model.config
    positions: int | None = getattr(config, "max_position_embeddings", None)
    if positions is not None and config.model_type in POSITIONS_AFTER_PADDING:
        positions -= config.pad_token_id + 1
    # XLNet says -1.
    return None if positions is None or positions < 1 else positions


def first_module(model: SentenceTransformer, role: Role) -> Any:
    """The module that reads the texts of a role; None if the model has no modules."""
    from sentence_transformers.base.modules import Router

    first: Any = model[0] if hasattr(model, "__getitem__") else None
    if isinstance(first, Router):
        route = first._resolve_route(task_of(role), "text")
        first = None if route is None else next(first.sub_modules[route].children())
    return first


@contextmanager
def cut_at(model: SentenceTransformer, lengths: Mapping[Role, int]) -> Iterator[None]:
    """Let the model cut texts of each role at other lengths than its own, for a while."""
    modules = {role: first_module(model, role) for role in lengths}
    own = {role: max_length_of(model, role) for role in lengths}
    try:
        for role, length in lengths.items():
            setattr(modules[role], f"{task_of(role)}_length", length)
        yield
    finally:
        for role, module in modules.items():
            setattr(module, f"{task_of(role)}_length", own[role])
