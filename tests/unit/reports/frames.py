"""Per-query scores to compare."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ettin_retrieval.tasks import CQADUPSTACK_PARTS


def frame(task: str = "T", /, **scores: float) -> pd.DataFrame:
    """nDCG@10 of queries of one task, by their ids."""
    values = [float(score) for score in scores.values()]
    return pd.DataFrame({"task": task, "query_id": list(scores), "ndcg_at_10": values})


def many(
    queries: int, shift: float, seed: int = 0, task: str = "T"
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Two systems, of which the second is about `shift` better."""
    generator = np.random.default_rng(seed)
    base = generator.uniform(0, 0.5, queries)
    other = base + generator.normal(shift, 0.1, queries)
    ids = [f"q{i}" for i in range(queries)]
    left = pd.DataFrame({"task": task, "query_id": ids, "ndcg_at_10": base})
    return left, left.assign(ndcg_at_10=other)


def forums(scores: Sequence[float], queries: Sequence[int]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The parts of CQADupstackRetrieval: base 0; one score and number of queries for each."""
    rows = [
        (forum, f"q{q}", score)
        for forum, score, count in zip(sorted(CQADUPSTACK_PARTS), scores, queries, strict=True)
        for q in range(count)
    ]
    other = pd.DataFrame(rows, columns=["task", "query_id", "ndcg_at_10"])
    return other.assign(ndcg_at_10=0.0), other
