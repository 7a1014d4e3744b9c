"""Texts to embeddings, by role: queries and passages have their own lengths."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from ettin_retrieval.errors import InputError
from ettin_retrieval.params import Precision

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Embeddings = npt.NDArray[np.float32]


def encode(
    model: SentenceTransformer,
    texts: list[str],
    role: Literal["query", "passage"],
    *,
    batch_size: int,
    precision: Precision = "fp32",
) -> Embeddings:
    """Embed texts; the same text is encoded once.

    Returns
    -------
    Array of shape (len(texts), dimension), float32 whatever the precision of the forward pass.
    """
    unique = list(dict.fromkeys(texts))
    encode_role = model.encode_query if role == "query" else model.encode_document
    with autocast(model, precision):
        embeddings = encode_role(
            unique, batch_size=batch_size, show_progress_bar=True, convert_to_tensor=True
        )
    vectors: Embeddings = embeddings.float().cpu().numpy()
    if len(unique) == len(texts):
        return vectors
    row = {text: index for index, text in enumerate(unique)}
    return vectors[[row[text] for text in texts]]


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
    if precision == "bf16" and device == "cuda" and not torch.cuda.is_bf16_supported():
        raise InputError(f"params.yaml: {key}: this GPU has no bf16; use fp16 or fp32")
