"""MTEB retrieval tasks at mteb's pinned revisions, as RetrievalDatasets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from ettin_retrieval import hub
from ettin_retrieval.data.dataset import CORPUS, QRELS, QUERIES, Origin, RetrievalDataset, frame
from ettin_retrieval.tasks import expand, mteb_task, split_of


def load(names: list[str], split: str | None = None) -> Iterator[tuple[str, RetrievalDataset]]:
    """Name and data of each task, one at a time: only one is in memory.

    `split` takes the judgments of that split, such as `train`; None those that a task is scored
    on. Raises InputError if a task is unknown or the Hub cannot be reached.
    """
    tasks = {name: mteb_task(name) for name in expand(names)}
    for task in tasks.values():
        dataset = task.metadata.dataset
        hub.resolve_commit(dataset["path"], dataset["revision"], "dataset")
    for name, task in tasks.items():
        yield name, _read(task, split or split_of(name))


def _read(task: Any, split: str) -> RetrievalDataset:
    repository, revision = task.metadata.dataset["path"], task.metadata.dataset["revision"]
    with hub.downloading(repository, "dataset"):
        task.filter_eval_splits([split]).load_data()
    data = task.dataset["default"][split]
    corpus: pd.DataFrame = data["corpus"].to_pandas()
    if "title" not in corpus:
        corpus["title"] = ""
    relevant = data["relevant_docs"]
    # Sorted, because mteb's order differs from run to run.
    judgments = [(q, d, int(relevant[q][d])) for q in sorted(relevant) for d in sorted(relevant[q])]
    task.unload_data()
    return RetrievalDataset(
        corpus=corpus.fillna("")[CORPUS.names].reset_index(drop=True),
        queries=data["queries"].to_pandas()[QUERIES.names],
        qrels=frame(judgments, QRELS),
        origin=Origin(repository, revision, task.metadata.license or "unknown", split),
    ).validate(lambda table, row: f"{repository} {split}: {table} row {row + 1}", as_published=True)
