"""Scores are mteb's own, and per-query scores average to them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import pytrec_eval

from ettin_retrieval.data.dataset import RetrievalDataset
from ettin_retrieval.evaluation.score import TaskScores, load_search, score_task
from ettin_retrieval.settings.load import load_settings
from ettin_retrieval.sources import tiny
from tests.mteb_search import assert_scores_are_mtebs
from tests.small import ROOT


@pytest.fixture(scope="module")
def graded() -> RetrievalDataset:
    """Judgments of several levels."""
    return tiny.benchmark()["TinyNFCorpus"]


@pytest.fixture(scope="module")
def scored(checkpoint: Path, graded: RetrievalDataset) -> TaskScores:
    search = load_search(checkpoint, load_settings(ROOT / "params.yaml"))
    return score_task(search, "TinyNFCorpus", graded)


@pytest.mark.parametrize("name", tiny.TASKS)
def test_scores_are_those_of_mtebs_own_search(checkpoint: Path, name: str) -> None:
    whole = tiny.benchmark()[name]
    # The whole corpus and a sample of the queries, to save time.
    sample = random.Random(1).sample(whole.queries["id"].tolist(), 30)
    assert_scores_are_mtebs(checkpoint, name, whole.with_queries(sample))


def test_per_query_scores_average_to_what_mteb_reports(
    scored: TaskScores, graded: RetrievalDataset
) -> None:
    assert scored.per_query["query_id"].tolist() == sorted(graded.queries["id"])
    reported = scored.result.scores["test"][0]
    by_query = scored.per_query.set_index("query_id")
    for metric, values in by_hand(scored.run, graded.judgments()).items():
        assert len(values) == len(by_query) == 100
        assert scored.scores[metric] == pytest.approx(sum(values.values()) / 100, abs=1e-6)
        for query, value in values.items():
            assert by_query[metric][query] == pytest.approx(value, abs=1e-6)
        # mteb rounds to five digits.
        assert scored.scores[metric] == pytest.approx(reported[metric], abs=5.1e-6)


def by_hand(
    run: dict[str, dict[str, float]], judgments: dict[str, dict[str, int]]
) -> dict[str, dict[str, float]]:
    """Each metric by query: trec_eval's numbers, and MRR@10 by the formula of MS MARCO."""
    names = {
        "ndcg_at_10": "ndcg_cut_10",
        "recall_at_100": "recall_100",
        "map_at_100": "map_cut_100",
    }
    measures = {"ndcg_cut.10", "recall.100", "map_cut.100"}
    scores = pytrec_eval.RelevanceEvaluator(judgments, measures).evaluate(run)
    found = {metric: {q: scores[q][name] for q in scores} for metric, name in names.items()}
    found["mrr_at_10"] = {}
    for query, hits in run.items():
        first = sorted(hits, key=lambda passage: (-hits[passage], passage))[:10]
        ranks = [rank for rank, p in enumerate(first, 1) if judgments[query].get(p, 0) > 0]
        found["mrr_at_10"][query] = 1 / ranks[0] if ranks else 0.0
    return found
