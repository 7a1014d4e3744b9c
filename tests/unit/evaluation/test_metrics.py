"""Metrics against implementations that are not trec_eval's: ranx, and the formulas written out."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np
import pandas as pd
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from ettin_retrieval.data.dataset import CORPUS, QRELS, QUERIES, Origin, RetrievalDataset, frame
from ettin_retrieval.evaluation.score import score_task
from ettin_retrieval.evaluation.search import model_meta

os.environ["NUMBA_DISABLE_JIT"] = "1"  # ranx compiles for a minute what runs for milliseconds

from ranx import Qrels, Run, evaluate

Scores = dict[str, dict[str, float]]
Judgments = dict[str, dict[str, int]]

RECORD = {
    "fingerprint": "0" * 64, "parameters": 1, "normalize": True, "max_passage_length": 8,
    "embedding_dimension": 2,
}  # fmt: skip


class GivenRun:
    """A search that returns a run as it is."""

    def __init__(self, run: Scores) -> None:
        self.run = run
        self.mteb_model_meta = model_meta(RECORD, "ettin-retrieval/run")

    def index(self, corpus: Any, **_: Any) -> None:
        pass

    def search(self, queries: Dataset, **_: Any) -> Scores:
        return {query: dict(self.run[query]) for query in queries["id"]}


def per_query(run: Scores, judgments: Judgments, passages: int) -> pd.DataFrame:
    """Scores by this project's evaluation, by query id."""
    dataset = RetrievalDataset(
        frame([(f"d{n}", "", f"text {n}") for n in range(passages)], CORPUS),
        frame([(query, f"question {query}") for query in judgments], QUERIES),
        frame([(q, d, s) for q, found in judgments.items() for d, s in found.items()], QRELS),
        Origin("random", "1", "CC0-1.0", "test"),
    ).validate()
    search: Any = GivenRun(run)
    return score_task(search, "random", dataset).per_query.set_index("query_id")


def ranked(hits: dict[str, float]) -> list[str]:
    """Passages by score; of equal scores the one with the greater id first, as in trec_eval."""
    return sorted(hits, key=lambda passage: (hits[passage], passage), reverse=True)


def by_formula(run: Scores, judgments: Judgments) -> dict[str, dict[str, float]]:
    """nDCG (Järvelin and Kekäläinen, 2002) with the judgment as gain, and the other metrics."""
    found = {}
    for query, judged in judgments.items():
        gains = [max(0, judged.get(passage, 0)) for passage in ranked(run[query])]
        ideal = sorted((max(0, score) for score in judged.values()), reverse=True)
        relevant = sum(gain > 0 for gain in ideal)
        hits = [rank for rank, gain in enumerate(gains, 1) if gain > 0]
        dcg, best = (
            sum(gain / math.log2(rank + 1) for rank, gain in enumerate(ordered[:10], 1))
            for ordered in (gains, ideal)
        )
        precisions = [(n + 1) / rank for n, rank in enumerate(hits) if rank <= 100]
        found[query] = {
            "ndcg_at_10": dcg / best if best else 0.0,
            "mrr_at_10": next((1 / rank for rank in hits if rank <= 10), 0.0),
            "recall_at_100": sum(rank <= 100 for rank in hits) / relevant if relevant else 0.0,
            "map_at_100": sum(precisions) / relevant if relevant else 0.0,
        }
    return found


def by_ranx(run: Scores, judgments: Judgments) -> dict[str, dict[str, float]]:
    """ranx's metrics of the run, with ranks for scores so that none are equal."""
    ranks = {q: {d: 1 / (n + 1) for n, d in enumerate(ranked(hits))} for q, hits in run.items()}
    # ranx takes any judgment for relevant, and a query without hits for an error.
    relevant = {q: {d: s for d, s in found.items() if s > 0} for q, found in judgments.items()}
    scored = [query for query in judgments if relevant[query] and ranks[query]]
    names = {"ndcg_at_10": "ndcg@10", "mrr_at_10": "mrr@10", "recall_at_100": "recall@100"}
    names["map_at_100"] = "map@100"
    found: dict[str, dict[str, float]] = {query: {} for query in judgments}
    for ours, theirs in names.items():
        values = evaluate(
            Qrels({query: relevant[query] for query in scored}),
            Run({query: ranks[query] for query in scored}),
            theirs,
            return_mean=False,
        )
        by_query = dict(zip(sorted(scored), np.atleast_1d(values).tolist(), strict=True))
        for query in judgments:
            found[query][ours] = by_query.get(query, 0.0)
    return found


def random_case(seed: int) -> tuple[Scores, Judgments, int]:
    """A run with many equal scores and a query without hits; judgments from 0 to 3."""
    rng = np.random.default_rng(seed)
    passages = int(rng.integers(12, 160))
    run: Scores = {}
    judgments: Judgments = {}
    for number in range(5):
        hits = rng.permutation(passages)[: int(rng.integers(1, passages + 1))]
        levels = int(rng.choice([2, 5, 1000]))
        run[f"q{number}"] = {f"d{d}": float(rng.integers(levels)) / levels for d in hits}
        judged = rng.permutation(passages)[: int(rng.integers(1, 12))]
        scores = rng.integers(0, 4, len(judged))
        judgments[f"q{number}"] = {f"d{d}": int(s) for d, s in zip(judged, scores, strict=True)}
    judgments["q0"][next(iter(judgments["q0"]))] = 1  # one judgment at least is relevant
    run["q4"] = {}
    return run, judgments, passages


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1))
def test_metrics_are_those_of_ranx_and_of_the_formulas(seed: int) -> None:
    run, judgments, passages = random_case(seed)
    ours = per_query(run, judgments, passages)
    for expected in (by_formula(run, judgments), by_ranx(run, judgments)):
        for query, scores in expected.items():
            for metric, value in scores.items():
                # trec_eval computes in single precision.
                found = float(ours.to_dict("index")[query][metric])
                assert found == pytest.approx(value, abs=1e-6), (query, metric)
