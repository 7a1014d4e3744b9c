"""A run with ties, and a search that returns it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ettin_retrieval.evaluation.score import TaskScores
from ettin_retrieval.evaluation.search import model_meta

PASSAGES = [f"d{i}" for i in range(12)]

RUN = {
    # All scores equal: ties are broken by descending id, d9 d8 d7 ... d11 d10 d1 d0.
    "q1": dict.fromkeys(PASSAGES, 0.75),
    # A tie at the top in the wrong order of insertion, and one that float32 makes.
    "q2": {"d1": 0.9, "d2": 0.9, "d3": 0.30000001, "d4": 0.3, "d5": -0.25},
    # The only relevant passage is not retrieved.
    "q3": {"d6": 0.2, "d7": 0.1},
}
QRELS_OF_RUN = {"q1": {"d7": 1, "d0": 2}, "q2": {"d1": 1, "d4": 2, "d5": 0}, "q3": {"d0": 1}}


class FixedRun:
    """A search that returns `RUN`."""

    def __init__(self, record: dict[str, Any]) -> None:
        self.mteb_model_meta = model_meta(record, "ettin-retrieval/fixed")

    def index(self, corpus: Any, **_: Any) -> None:
        pass

    def search(self, queries: Any, **_: Any) -> dict[str, dict[str, float]]:
        return {q: {d: float(np.float32(s)) for d, s in RUN[q].items()} for q in queries["id"]}


@dataclass(frozen=True)
class Scored:
    """What the pipeline's stages wrote, and the scores in memory."""

    scores: Path
    benchmark: Path
    task: TaskScores
