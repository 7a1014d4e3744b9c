"""Texts to token ids, by role: queries and passages have their own prompts and lengths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

TokenIds = npt.NDArray[np.int32]
Role = Literal["query", "passage"]

TEXTS_PER_CALL = 1024
"""Texts per call of the tokenizer, whose lists take ten times the memory of arrays."""


@dataclass(frozen=True)
class Tokenised:
    """Token ids of texts, and further features that the model's modules ask for.

    Attributes
    ----------
    ids
        One array per text, cut at the length of the role.
    """

    ids: list[TokenIds]
    extra: dict[str, Any]


def tokenise(model: SentenceTransformer, texts: list[str], role: Role) -> Tokenised:
    """Token ids as `model.preprocess` gives them.

    A fast tokenizer is called directly, for ids alone: masks and Python lists take a third of the
    time. `preprocess` still tokenises the longest text, and everything if the two differ.
    """
    longest = max(texts, key=len)
    expected, extra = _preprocess(model, [longest], role)
    fast = getattr(model.tokenizer, "backend_tokenizer", None)
    prompt = prompt_of(model, role) or ""

    def directly(part: list[str]) -> list[TokenIds]:
        encoded = fast.encode_batch_fast([prompt + text for text in part])  # type: ignore[union-attr]
        return [_at_least_one(text.ids, model) for text in encoded]

    same = fast is not None and np.array_equal(directly([longest])[0], expected[0])
    ids: list[TokenIds] = []
    for start in range(0, len(texts), TEXTS_PER_CALL):
        part = texts[start : start + TEXTS_PER_CALL]
        ids += directly(part) if same else _preprocess(model, part, role)[0]
    return Tokenised(ids, extra)


def pad(ids: list[TokenIds], tokenizer: Any) -> dict[str, Any]:
    """Token ids and attention mask as tensors of shape (len(ids), longest), on the CPU."""
    import torch

    longest = max(map(len, ids))
    tokens = np.full((len(ids), longest), tokenizer.pad_token_id, dtype=np.int64)
    mask = np.zeros_like(tokens)
    for row, text in enumerate(ids):
        columns = slice(len(text)) if tokenizer.padding_side == "right" else slice(-len(text), None)
        tokens[row, columns] = text
        mask[row, columns] = 1
    return {"input_ids": torch.from_numpy(tokens), "attention_mask": torch.from_numpy(mask)}


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
    longest: int | None = getattr(model, "max_seq_length", None)
    transformer: Any = model[0] if longest is not None else None
    return getattr(transformer, f"{task_of(role)}_length", None) or longest


def _preprocess(
    model: SentenceTransformer, texts: list[str], role: Role
) -> tuple[list[TokenIds], dict[str, Any]]:
    features = model.preprocess(
        texts,
        prompt=prompt_of(model, role),
        task=task_of(role),
        processing_kwargs={"text": {"padding": False}, "common": {"return_tensors": None}},
    )
    ids = [_at_least_one(tokens, model) for tokens in features["input_ids"]]
    return ids, {name: features[name] for name in ("modality", "prompt_length") if name in features}


def _at_least_one(tokens: list[int], model: SentenceTransformer) -> TokenIds:
    """A tokenizer without special tokens gives an empty text no token: it gets one of padding."""
    return np.asarray(tokens or [model.tokenizer.pad_token_id], dtype=np.int32)
