"""Hand-made inputs: one query and six passages as vectors in the plane."""

from __future__ import annotations

from typing import Any

import numpy as np

from ettin_retrieval.data.dataset import (
    CORPUS,
    QRELS,
    QUERIES,
    TEACHER,
    Origin,
    RetrievalDataset,
    frame,
)
from ettin_retrieval.data.negatives import Pair
from ettin_retrieval.encoders.encode import Embeddings
from ettin_retrieval.mining.mine import mine, needs_encoder
from ettin_retrieval.mining.report import MiningReport
from ettin_retrieval.settings.load import load_settings
from ettin_retrieval.settings.schema import Settings
from tests.workspace import ROOT

ORIGIN = Origin("test", "1", "CC0-1.0", "train")

# Degrees from the query at 0. By similarity, the nearest first: a 0.985, p 0.866, twin 0.857,
# b 0.766, c 0.5, d 0.017.
ANGLES = {"p": 30, "a": 10, "b": 40, "c": 60, "d": 89, "twin": 31}
CORPUS_ROWS = [(name, "", f"passage {name}") for name in ANGLES]
POSITIVE = [("q", "p", 1)]
ROW = [*POSITIVE, ("q", "twin", 2), ("q", "c", 0), ("q", "b", 0), ("q", "d", 0)]


def vectors(angles: list[float]) -> Embeddings:
    radians = np.deg2rad(angles)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


QUERY = vectors([0])
PASSAGES = vectors(list(ANGLES.values()))


def dataset(
    qrels: list[tuple[str, str, int]] = POSITIVE,
    corpus: list[tuple[str, str, str]] = CORPUS_ROWS,
    teacher: list[tuple[str, str, float]] | None = None,
    queries: tuple[str, ...] = ("q",),
) -> RetrievalDataset:
    return RetrievalDataset(
        frame(corpus, CORPUS),
        frame([(name, f"query {name}") for name in queries], QUERIES),
        frame(qrels, QRELS),
        ORIGIN,
        None if teacher is None else frame(teacher, TEACHER),
    )


def with_text(text: str, *names: str) -> list[tuple[str, str, str]]:
    """The corpus, with the same text for some of its passages."""
    return [(n, title, text if n in names else own) for n, title, own in CORPUS_ROWS]


def settings(
    margin: float = 0.3, objective: str = "contrastive", seed: int = 42, **negatives: Any
) -> Settings:
    """Settings for two hard negatives, with changes to the section `negatives`."""
    content = load_settings(ROOT / "params.yaml").model_dump()
    content["negatives"] |= {"num_negatives": 2, "range_max": 6, "sampling": "hard"} | negatives
    content["finetuning"] |= {"margin": margin, "objective": objective}
    return Settings.model_validate(content | {"seed": seed})


class Lookup:
    """Stands for an encoder: the embedding of a text is a row of a table."""

    def __init__(self, given: RetrievalDataset, queries: Embeddings, passages: Embeddings) -> None:
        texts = [*given.queries["text"], *given.passage_texts()]
        self.table = dict(zip(texts, np.concatenate([queries, passages]), strict=True))
        self.calls: list[int] = []

    def encode_document(self, texts: list[str], **_: Any) -> Embeddings:
        self.calls.append(len(texts))
        return np.stack([self.table[text] for text in texts])

    encode_query = encode_document


def mined(
    given: RetrievalDataset,
    wanted: Settings,
    queries: Embeddings | None = None,
    passages: Embeddings = PASSAGES,
) -> tuple[list[Pair], MiningReport]:
    """Negatives by the vectors above, or by others; all queries are at 0 unless given."""
    if queries is None:
        queries = np.repeat(QUERY, len(given.queries), axis=0)
    encoder: Any = Lookup(given, queries, passages) if needs_encoder(wanted) else None
    return mine(given, encoder, wanted)
