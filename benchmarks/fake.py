"""An encoder without a model, and a collection without words: only what is around them is timed.

A text ends with the number of its row, and a row's vector comes from a table of random ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ettin_retrieval.data.dataset import CORPUS, QRELS, QUERIES, Origin, RetrievalDataset, frame

SEED = 42
Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class FakeEncoder:
    """Random unit vectors by row: shape (documents, d) and (queries, d)."""

    documents: Vectors
    queries: Vectors

    def __call__(self, texts: list[str], role: str) -> Vectors:
        """Vectors of texts in a role (`query` or `passage`), shape (len(texts), d)."""
        rows = [int(text[text.rindex(" ") + 1 :]) for text in texts]
        return (self.queries if role == "query" else self.documents)[rows]


def fake_encoder(documents: int, queries: int, dimensions: int) -> FakeEncoder:
    """The same vectors for the same sizes, in whatever process."""
    random = np.random.default_rng(SEED)
    passages = _unit(random.standard_normal((documents, dimensions), dtype=np.float32))
    noise = _unit(random.standard_normal((queries, dimensions), dtype=np.float32))
    # A little of the relevant passage in each query: some are found, and scores say something.
    return FakeEncoder(passages, _unit(noise + 0.2 * passages[relevant_rows(documents, queries)]))


def _unit(vectors: Vectors) -> Vectors:
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def relevant_rows(documents: int, queries: int) -> npt.NDArray[np.int64]:
    """The row of the relevant passage of each query."""
    return np.random.default_rng(SEED).integers(documents, size=queries)


def fake_dataset(documents: int, queries: int) -> RetrievalDataset:
    """Numbered passages and queries, one relevant passage a query."""
    relevant = relevant_rows(documents, queries)
    return RetrievalDataset(
        corpus=frame([(f"d{row}", "", f"passage {row}") for row in range(documents)], CORPUS),
        queries=frame([(f"q{row}", f"query {row}") for row in range(queries)], QUERIES),
        qrels=frame([(f"q{row}", f"d{d}", 1) for row, d in enumerate(relevant.tolist())], QRELS),
        origin=Origin("fake", "1", "CC0-1.0", "test"),
    )


def our_encode(encoder: FakeEncoder) -> Any:
    """In place of `ettin_retrieval.encoding.encode`."""

    def encode(_: object, texts: list[str], role: str, **__: object) -> Vectors:
        return encoder(texts, role)

    return encode
