"""TODO: training.token_store."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ettin_retrieval.encoders.tokenise import (
    TEXTS_PER_CALL,
    Role,
    TokenIds,
    pad,
    task_of,
    tokenise,
)

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


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
            task, wanted = task_of(role), np.unique(numbers)
            flat = array("i")
            # One more: the ids of text n are those from ends[n] to ends[n + 1].
            ends = np.zeros(len(texts) + 1, dtype=np.int64)
            for start in range(0, len(wanted), TEXTS_PER_CALL):
                part = wanted[start : start + TEXTS_PER_CALL]
                tokenised = tokenise(model, [texts[n] for n in part], role)
                self.extra[task] = tokenised.extra
                ends[part + 1] = [len(tokens) for tokens in tokenised.ids]
                flat.frombytes(np.concatenate(tokenised.ids).tobytes())
            self.ids[task] = np.frombuffer(flat, dtype=np.int32)
            self.ends[task] = np.cumsum(ends)

    def __call__(self, numbers: TokenIds, task: str) -> dict[str, Any]:
        """Features of a batch, padded to its longest text."""
        flat, ends = self.ids[task], self.ends[task]
        ids = [flat[ends[n] : ends[n + 1]] for n in numbers]
        return {**self.extra[task], **pad(ids, self.tokenizer)}
