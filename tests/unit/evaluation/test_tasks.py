"""mteb's tasks over datasets on disk."""

from __future__ import annotations

import pandas as pd

from ettin_retrieval.data.dataset import Origin, RetrievalDataset
from ettin_retrieval.evaluation.tasks import leading, task_for


def test_a_known_name_has_mtebs_class_and_the_origin_of_the_data(
    dataset: RetrievalDataset,
) -> None:
    task = task_for("SciFact", dataset)
    assert task.metadata.dataset == {"path": "tiny", "revision": dataset.origin.revision}
    assert task.metadata.domains == ["Academic", "Medical", "Written"]


def test_any_other_name_is_a_plain_retrieval_task(dataset: RetrievalDataset) -> None:
    task = task_for("my-contracts", dataset)
    assert task.metadata.main_score == "ndcg_at_10"
    assert task.metadata.dataset == {"path": "tiny", "revision": dataset.origin.revision}


def test_a_cut_task_keeps_mtebs_class_under_another_name() -> None:
    corpus = pd.DataFrame({"id": ["a", "b"], "title": "", "text": ["x", "y"]})
    queries = pd.DataFrame({"id": ["a"], "text": ["x"]})
    qrels = pd.DataFrame({"query_id": ["a"], "corpus_id": ["b"], "score": [1]})
    small = RetrievalDataset(corpus, queries, qrels, Origin("s", "1", "CC0-1.0", "test"))
    task = task_for("ArguAna-subsampled-2", small)
    assert task.metadata.name == "ArguAna-subsampled-2"
    assert task.ignore_identical_ids  # as ArguAna's own class says
    assert task.metadata.dataset == {"path": "s", "revision": "1"}


def test_leading_passages_of_a_query_without_hits() -> None:
    assert leading({}, 10) == {}
