"""Texts to embeddings, by role: queries and passages have their own lengths."""

from __future__ import annotations

import hashlib
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from ettin_retrieval.errors import InputError
from ettin_retrieval.params import Precision

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Embeddings = npt.NDArray[np.float32]

KEPT = Path("data/embeddings")
"""Embeddings kept between stages: beside the DVC outputs, because they are no result."""


@dataclass(frozen=True)
class KeptEmbeddings:
    """Embeddings on disk, under a key of all that decides them.

    Attributes
    ----------
    checkpoint
        Identity of the encoder: weights, pooling, normalisation and lengths.
    directory
        Where the files are.
    """

    checkpoint: str
    directory: Path = KEPT

    def path(self, texts: list[str], role: str, precision: str) -> Path:
        """The file of these texts, whether it is there or not."""
        digest = hashlib.sha256(f"{self.checkpoint}\0{role}\0{precision}\0{len(texts)}".encode())
        for text in texts:
            digest.update(hashlib.sha256(text.encode()).digest())
        return self.directory / f"{digest.hexdigest()}.npy"


def _save(vectors: Embeddings, path: Path) -> None:
    """Write whole or not at all: a killed run leaves no half file behind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.save(file, vectors)
    partial.replace(path)


def encode(
    model: SentenceTransformer,
    texts: list[str],
    role: Literal["query", "passage"],
    *,
    batch_size: int,
    precision: Precision = "fp32",
    keep: KeptEmbeddings | None = None,
) -> Embeddings:
    """Embed texts; the same text is encoded once.

    Parameters
    ----------
    keep
        Where embeddings are looked up and kept; None encodes anew.

    Returns
    -------
    Array of shape (len(texts), dimension), float32 whatever the precision of the forward pass.
    """
    unique = list(dict.fromkeys(texts))
    kept = None if keep is None else keep.path(unique, role, precision)
    if kept is not None and kept.is_file():
        vectors: Embeddings = np.load(kept)
    else:
        encode_role = model.encode_query if role == "query" else model.encode_document
        with autocast(model, precision):
            embeddings = encode_role(
                unique, batch_size=batch_size, show_progress_bar=True, convert_to_tensor=True
            )
        vectors = embeddings.float().cpu().numpy()
        if kept is not None:
            _save(vectors, kept)
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
