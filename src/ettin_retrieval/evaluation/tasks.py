"""MTEB task objects over RetrievalDatasets on disk: official classes, metrics and names.

A name that mteb knows gets mteb's own class; any other collection gets a retrieval task of its
own. In both cases the data comes from the local directory, whose origin and revision the task's
metadata names, and per-query scores are kept.
"""

from __future__ import annotations

import logging
from bisect import bisect_right
from itertools import islice
from operator import neg
from typing import Any

import mteb
import pandas as pd
from datasets import Dataset
from mteb._evaluators.retrieval_metrics import mrr
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.task_metadata import TaskMetadata

from ettin_retrieval.data.dataset import RetrievalDataset
from ettin_retrieval.data.storage import StoredDataset
from ettin_retrieval.evaluation.corpus import StoredCorpus
from ettin_retrieval.tasks import full_name

logger = logging.getLogger(__name__)


def task_for(name: str, dataset: RetrievalDataset | StoredDataset) -> Any:
    """A loaded mteb task that scores the split its dataset holds.

    The corpus of a stored dataset stays on disk, and only `ExactSearch` can search it.

    The task has an attribute `per_query`, a data frame of query_id and `METRICS`, and an
    attribute `run`, {query id: {passage id: score}}, once it was evaluated.
    """
    cls = _official_class(name) or _class_of_own(name, dataset)
    # mteb's own metadata names the data that mteb would load; results tell what was scored.
    origin = {"path": dataset.origin.source, "revision": dataset.origin.revision}
    metadata = cls.metadata.model_copy(update={"name": name, "dataset": origin})
    namespace = {"__module__": cls.__module__, "metadata": metadata}
    task = type(cls.__name__, (_KeepsPerQuery, cls), namespace)()
    split = dataset.origin.split
    corpus: Any = (
        StoredCorpus(dataset.corpus)
        if isinstance(dataset, StoredDataset)
        else Dataset.from_pandas(dataset.corpus, preserve_index=False)
    )
    task.filter_eval_splits([split])
    task.dataset = {
        "default": {
            split: {
                "corpus": corpus,
                "queries": Dataset.from_pandas(dataset.queries, preserve_index=False),
                "relevant_docs": dataset.judgments(),
                "top_ranked": None,
            }
        }
    }
    task.data_loaded = True
    return task


class _KeepsPerQuery(AbsTaskRetrieval):
    """Keeps what mteb averages away."""

    per_query: pd.DataFrame
    run: dict[str, dict[str, float]]

    def task_specific_scores(
        self,
        scores: dict[str, dict[str, float]],
        qrels: Any,
        results: dict[str, dict[str, float]],
        hf_split: str,
        hf_subset: str,
    ) -> dict[str, float]:
        ids = list(results)
        first = {query_id: leading(hits, 10) for query_id, hits in results.items()}
        reciprocal_ranks = mrr(qrels, first, [10])["MRR@10"]
        self.per_query = pd.DataFrame(
            {
                "query_id": ids,
                "ndcg_at_10": [scores[q]["ndcg_cut_10"] for q in ids],
                "mrr_at_10": reciprocal_ranks,
                "recall_at_100": [scores[q]["recall_100"] for q in ids],
                "map_at_100": [scores[q]["map_cut_100"] for q in ids],
            }
        ).sort_values("query_id", ignore_index=True)
        self.run = results
        specific: dict[str, float] = super().task_specific_scores(
            scores, qrels, results, hf_split=hf_split, hf_subset=hf_subset
        )
        return specific


def leading(hits: dict[str, float], k: int) -> dict[str, float]:
    """The k passages of the highest scores, and all whose score equals the lowest of these.

    >>> leading({"a": 0.3, "b": 0.5, "c": 0.3, "d": 0.1}, 2)
    {'a': 0.3, 'b': 0.5, 'c': 0.3}
    """
    # Sorting what is sorted already takes no time, and few passages are looked at.
    falling = sorted(hits.values(), reverse=True)
    lowest = falling[:k][-1] if falling else 0.0
    wanted = bisect_right(falling, -lowest, key=neg)
    found = ((passage_id, score) for passage_id, score in hits.items() if score >= lowest)
    return dict(islice(found, wanted))


def _official_class(name: str) -> type[AbsTaskRetrieval] | None:
    try:
        cls = type(mteb.get_task(full_name(name)))
    except KeyError:
        return None
    return cls if issubclass(cls, AbsTaskRetrieval) else None


def _class_of_own(name: str, dataset: RetrievalDataset | StoredDataset) -> type[AbsTaskRetrieval]:
    """A task class for a collection that mteb does not know."""
    metadata = TaskMetadata(
        name=name,
        description=f"Retrieval over the collection {name}",
        dataset={"path": dataset.origin.source, "revision": dataset.origin.revision},
        type="Retrieval",
        category="t2t",
        modalities=["text"],
        eval_splits=[dataset.origin.split],
        eval_langs=["eng-Latn"],
        main_score="ndcg_at_10",
    )
    namespace = {"metadata": metadata, "__module__": __name__}
    return type(name.replace("-", "_"), (AbsTaskRetrieval,), namespace)
