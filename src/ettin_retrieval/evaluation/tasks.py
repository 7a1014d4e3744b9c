"""mteb tasks over datasets on disk, with mteb's own classes, metrics and names."""

from __future__ import annotations

from functools import partial
from typing import Any

import mteb
import pandas as pd
from datasets import Dataset
from mteb._evaluators.retrieval_metrics import mrr
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.task_metadata import TaskMetadata

from ettin_retrieval.data.dataset import Origin, RetrievalDataset
from ettin_retrieval.data.storage import StoredDataset
from ettin_retrieval.evaluation.corpus import Corpus
from ettin_retrieval.tasks import full_name


def task_for(name: str, dataset: RetrievalDataset | StoredDataset) -> Any:
    """A loaded mteb task that scores the split its dataset holds.

    A name that mteb knows gets mteb's own class; any other collection gets a plain retrieval task.
    The metadata names the origin of the data. Once evaluated, the task has the attributes
    `per_query` and `run` of `TaskScores`. The corpus of a stored dataset stays on disk, and only
    `ExactSearch` can search it.
    """
    split = dataset.origin.split
    cls, metadata = _class_and_metadata(name, dataset.origin)
    namespace = {"__module__": cls.__module__, "metadata": metadata}
    task: Any = type(cls.__name__, (_KeepsPerQuery, cls), namespace)()
    table = partial(Dataset.from_pandas, preserve_index=False)
    loaded = {
        "corpus": (Corpus if isinstance(dataset, StoredDataset) else table)(dataset.corpus),
        "queries": table(dataset.queries),
        "relevant_docs": dataset.judgments(),
        "top_ranked": None,
    }
    task.filter_eval_splits([split])
    task.dataset = {"default": {split: loaded}}
    task.data_loaded = True
    return task


def _class_and_metadata(name: str, origin: Origin) -> tuple[type[AbsTaskRetrieval], TaskMetadata]:
    data: Any = {"path": origin.source, "revision": origin.revision}
    try:
        official = mteb.get_task(full_name(name))
    except KeyError:
        official = None
    if isinstance(official, AbsTaskRetrieval):
        metadata = official.metadata.model_copy(update={"name": name, "dataset": data})
        return type(official), metadata
    return AbsTaskRetrieval, TaskMetadata(
        name=name,
        description=f"Retrieval over the collection {name}",
        dataset=data,
        type="Retrieval",
        category="t2t",
        modalities=["text"],
        eval_splits=[origin.split],
        eval_langs=["eng-Latn"],
        main_score="ndcg_at_10",
    )


class _KeepsPerQuery(AbsTaskRetrieval):
    """Keeps per-query scores and the run, which mteb drops."""

    per_query: pd.DataFrame
    run: dict[str, dict[str, float]]

    def task_specific_scores(
        self, scores: Any, qrels: Any, results: Any, *where: Any, **named: Any
    ) -> Any:
        best = {query_id: leading(hits, 10) for query_id, hits in results.items()}
        self.per_query = pd.DataFrame(
            {
                "query_id": list(results),
                "ndcg_at_10": [scores[q]["ndcg_cut_10"] for q in results],
                "mrr_at_10": mrr(qrels, best, [10])["MRR@10"],
                "recall_at_100": [scores[q]["recall_100"] for q in results],
                "map_at_100": [scores[q]["map_cut_100"] for q in results],
            }
        ).sort_values("query_id", ignore_index=True)
        self.run = results
        return super().task_specific_scores(scores, qrels, results, *where, **named)


def leading(hits: dict[str, float], k: int) -> dict[str, float]:
    """The k passages with the highest scores, and all that tie with the last of them.

    Saves mteb from sorting a thousand passages for a metric of the first ten.

    >>> leading({"a": 0.3, "b": 0.5, "c": 0.3, "d": 0.1}, 2)
    {'a': 0.3, 'b': 0.5, 'c': 0.3}
    """
    lowest = min(sorted(hits.values(), reverse=True)[:k], default=0.0)
    return {passage: score for passage, score in hits.items() if score >= lowest}
