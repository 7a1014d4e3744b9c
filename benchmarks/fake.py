"""A collection without words and an encoder without a model: only what is around them counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.harness import Inputs
from ettin_retrieval.data.dataset import CORPUS, QRELS, QUERIES, Origin, RetrievalDataset, frame

Vectors = npt.NDArray[np.float32]


class FakeEncoder:
    """Random unit vectors, looked up by the number at the end of a text.

    The same sizes (documents, queries, dimensions) give the same vectors in every process.
    """

    device = "cpu"

    def __init__(self, inputs: Inputs) -> None:
        random = np.random.default_rng(42)
        sizes = ((inputs[name], inputs["dimensions"]) for name in ("documents", "queries"))
        self.documents, noise = (_unit(random.standard_normal(s, dtype=np.float32)) for s in sizes)
        # A little of the relevant passage in each query, so that some are found.
        self.queries = _unit(noise + 0.2 * self.documents[_relevant(inputs)])

    def encode_document(self, texts: list[str], **_: Any) -> Vectors:
        """Shape (len(texts), dimensions)."""
        return self.documents[[int(text[text.rindex(" ") + 1 :]) for text in texts]]

    def encode_query(self, texts: list[str], **_: Any) -> Vectors:
        """Shape (len(texts), dimensions)."""
        return self.queries[[int(text[text.rindex(" ") + 1 :]) for text in texts]]


def fake_dataset(inputs: Inputs, words: str = "passage") -> RetrievalDataset:
    """Numbered passages and queries, one relevant passage a query."""
    documents, queries = range(inputs["documents"]), range(inputs["queries"])
    judged = zip(queries, _relevant(inputs).tolist(), strict=True)
    return RetrievalDataset(
        corpus=frame([(f"d{row}", "", f"{words} {row}") for row in documents], CORPUS),
        queries=frame([(f"q{row}", f"query {row}") for row in queries], QUERIES),
        qrels=frame([(f"q{row}", f"d{passage}", 1) for row, passage in judged], QRELS),
        origin=Origin("fake", "1", "CC0-1.0", "test"),
    )


def _relevant(inputs: Inputs) -> npt.NDArray[np.int64]:
    size = (inputs["queries"],)
    return np.random.default_rng(42).integers(inputs["documents"], size=size)


def _unit(vectors: Vectors) -> Vectors:
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors
