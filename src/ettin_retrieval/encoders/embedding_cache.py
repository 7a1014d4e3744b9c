"""Embeddings on disk, keyed on everything that decides them."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ettin_retrieval.encoders.tokenise import Role
from ettin_retrieval.runtime.determinism import arithmetic
from ettin_retrieval.runtime.files import code_digest

Embeddings = npt.NDArray[np.float32]
"""Of shape (texts, dimension)."""


@dataclass(frozen=True)
class EmbeddingCache:
    """One file per shard of texts.

    A shard is looked up as a whole: its texts are batched by length, and the last digits of an
    embedding depend on its batch, so a cached shard holds exactly what would be computed.

    Attributes
    ----------
    checkpoint
        Fingerprint of the encoder: weights, pooling, normalisation and lengths.
    directory
        Beside the outputs that DVC tracks, because a cache is not a result.
    """

    checkpoint: str
    directory: Path = Path("data/embeddings")

    def path(self, texts: list[str], role: Role, *reading: object) -> Path:
        """The file of a shard, whether it exists or not.

        Parameters
        ----------
        reading
            What else decides the embeddings: precision, prompt, length, batch size. The code,
            libraries, threads and device are always part of the key.
        """
        key = [self.checkpoint, role, *reading, code_digest("encoders"), arithmetic()]
        digest = hashlib.sha256(json.dumps(key).encode())
        for text in texts:
            digest.update(hashlib.sha256(text.encode()).digest())
        return self.directory / f"{digest.hexdigest()}.npy"

    @staticmethod
    def save(vectors: Embeddings, path: Path) -> None:
        """Write the file whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.partial")
        with partial.open("wb") as file:
            np.save(file, vectors)
        partial.replace(path)
