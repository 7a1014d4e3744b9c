"""Training texts, tokenised once before training, and the features of a batch."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sentence_transformers import SentenceTransformer

from ettin_retrieval.encoders.tokenise import (
    TEXTS_PER_CALL,
    Role,
    TokenIds,
    pad,
    task_of,
    tokenise,
)
from ettin_retrieval.training.batches import Share
from ettin_retrieval.training.examples import TextNumbers, TrainingRows


class TokenisedTexts:
    """Token ids of numbered texts, as `model.preprocess` would give them for every batch anew.

    The ids of a role are one array: an array per text would take more memory than its ids.

    Parameters
    ----------
    numbers
        Of each role, the numbers of its texts.
    """

    def __init__(
        self, model: SentenceTransformer, texts: list[str], numbers: dict[Role, TextNumbers]
    ) -> None:
        self.tokenizer = model.tokenizer
        self.ids: dict[str, TokenIds] = {}
        self.ends: dict[str, npt.NDArray[np.int64]] = {}
        self.extra: dict[str, dict[str, Any]] = {}
        for role, of_role in numbers.items():
            task, wanted = task_of(role), np.unique(of_role)
            flat = array("i")
            # The ids of text n are those from ends[n] to ends[n + 1].
            ends = np.zeros(len(texts) + 1, dtype=np.int64)
            for start in range(0, len(wanted), TEXTS_PER_CALL):
                part = wanted[start : start + TEXTS_PER_CALL]
                tokenised = tokenise(model, [texts[n] for n in part], role)
                self.extra[task] = tokenised.extra
                ends[part + 1] = [len(tokens) for tokens in tokenised.ids]
                flat.frombytes(np.concatenate(tokenised.ids).tobytes())
            self.ids[task] = np.frombuffer(flat, dtype=np.int32)
            self.ends[task] = np.cumsum(ends)

    def __call__(self, numbers: TextNumbers, task: str) -> dict[str, Any]:
        """Features of some texts, padded to the longest; the task is `query` or `document`."""
        flat, ends = self.ids[task], self.ends[task]
        ids = [flat[ends[n] : ends[n + 1]] for n in numbers]
        return {**self.extra[task], **pad(ids, self.tokenizer)}


class TrainingFeatures:
    """The training set for torch's DataLoader, which fetches a batch at a time."""

    def __init__(self, model: SentenceTransformer, rows: TrainingRows, texts: list[str]) -> None:
        self.rows = rows
        roles: dict[Role, TextNumbers] = {"query": rows.texts[:, 0], "passage": rows.texts[:, 1:]}
        self.tokens = TokenisedTexts(model, texts, roles)

    def __len__(self) -> int:
        return len(self.rows.query_ids)

    def __getitems__(self, share: Share) -> dict[str, Any]:
        """Features and labels, named as sentence-transformers' losses read them, and the share."""
        rows = self.rows
        batch: dict[str, Any] = {}
        for column, numbers in zip(rows.columns, rows.texts[share.rows].T, strict=True):
            task = "query" if column == "query" else "document"
            features = {**self.tokens(numbers, task), "task": task}
            batch |= {f"{column}_{name}": feature for name, feature in features.items()}
        if rows.labels is not None:
            batch["label"] = torch.from_numpy(rows.labels[share.rows])
        return {**batch, "query_ids": [rows.query_ids[row] for row in share.rows], "share": share}
