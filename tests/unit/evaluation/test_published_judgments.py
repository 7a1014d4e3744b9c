"""Judgments with a flaw score as in mteb: missing passages, scores below 0, hits on the own id."""

from __future__ import annotations

from math import log2
from typing import Any

import pytest

from ettin_retrieval.data.dataset import CORPUS, QRELS, QUERIES, Origin, RetrievalDataset, frame
from ettin_retrieval.evaluation.score import score_task
from ettin_retrieval.evaluation.search import model_meta
from ettin_retrieval.tasks import ignores_own_id

RECORD = {
    "fingerprint": "0" * 64, "parameters": 7, "embedding_dimension": 4, "normalize": True,
    "max_passage_length": 64,
}  # fmt: skip


class Fixed:
    """A search that finds passage `a`, then `b`, then `c`, whatever the query."""

    def __init__(self) -> None:
        self.mteb_model_meta = model_meta(RECORD, "ettin-retrieval/fixed")

    def index(self, corpus: Any, **_: Any) -> None:
        pass

    def search(self, queries: Any, **_: Any) -> dict[str, dict[str, float]]:
        return {query: {"a": 0.9, "b": 0.8, "c": 0.7} for query in queries["id"]}


def score(name: str, query_id: str, judged: dict[str, int]) -> dict[str, float]:
    dataset = RetrievalDataset(
        frame([(passage, "", f"passage {passage}") for passage in "abc"], CORPUS),
        frame([(query_id, "a query")], QUERIES),
        frame([(query_id, passage, value) for passage, value in judged.items()], QRELS),
        Origin("beir", "1", "unknown", "test"),
    ).validate(as_published=True)
    search: Any = Fixed()
    return score_task(search, name, dataset).scores


def test_a_missing_relevant_passage_counts_as_not_found() -> None:
    scores = score("leases", "q", {"a": 1, "lost": 1})
    assert scores["ndcg_at_10"] == pytest.approx(1 / (1 + 1 / log2(3)))
    assert scores["recall_at_100"] == 0.5
    assert scores["map_at_100"] == 0.5
    assert scores["mrr_at_10"] == 1


@pytest.mark.parametrize("negative", [-1, -2, -1000])
def test_a_negative_score_is_not_relevant_in_any_metric(negative: int) -> None:
    scores = score("leases", "q", {"a": negative, "b": 1, "c": 2})
    assert scores == score("leases", "q", {"a": 0, "b": 1, "c": 2})
    assert scores["mrr_at_10"] == 0.5
    ideal = 2 + 1 / log2(3)
    assert scores["ndcg_at_10"] == pytest.approx((1 / log2(3) + 2 / log2(4)) / ideal)


def test_the_highest_score_that_is_accepted_is_scored() -> None:
    scores = score("leases", "q", {"b": 1000})
    assert scores["ndcg_at_10"] == pytest.approx(1 / log2(3))
    assert scores["mrr_at_10"] == 0.5


@pytest.mark.parametrize(
    ("name", "left_out"),
    [
        ("ArguAna", True), ("ArguAna-subsampled-3", True), ("QuoraRetrieval", True),
        ("SciFact", False), ("arguments", False), ("CQADupstackRetrieval", False),
    ],
)  # fmt: skip
def test_a_hit_on_the_own_id_is_left_out_where_mteb_does(name: str, left_out: bool) -> None:
    assert ignores_own_id(name) == left_out
    if name != "CQADupstackRetrieval":
        scores = score(name, "a", {"b": 1})
        assert scores["ndcg_at_10"] == pytest.approx(1 if left_out else 1 / log2(3))
        assert scores["mrr_at_10"] == (1 if left_out else 0.5)
