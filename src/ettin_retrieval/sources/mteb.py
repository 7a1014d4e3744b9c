"""MTEB retrieval tasks at their pinned revisions, as RetrievalDatasets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from ettin_retrieval import hub
from ettin_retrieval.data.dataset import CORPUS, QRELS, QUERIES, Origin, RetrievalDataset, frame
from ettin_retrieval.tasks import expand, mteb_task, split_of


def load(names: list[str]) -> Iterator[tuple[str, RetrievalDataset]]:
    """Name and data of each task, one at a time: only one is in memory.

    Raises
    ------
    InputError
        An unknown task, or the hub cannot be reached.
    """
    tasks = [(name, mteb_task(name)) for name in expand(names)]
    for _, task in tasks:
        dataset = task.metadata.dataset
        hub.resolve_commit(dataset["path"], dataset["revision"], "dataset")
    for name, task in tasks:
        yield name, _read(task, split_of(name))


def _read(task: Any, split: str) -> RetrievalDataset:
    dataset = task.metadata.dataset
    task = task.filter_eval_splits([split]) if hasattr(task, "filter_eval_splits") else task
    try:
        task.load_data()
    except hub.transport_errors() as error:
        raise hub.broken_off("dataset", dataset["path"], error) from None
    data = task.dataset["default"][split]
    corpus: pd.DataFrame = data["corpus"].to_pandas()
    if "title" not in corpus:
        corpus["title"] = ""
    relevant = data["relevant_docs"]
    # Sorted: mteb's own order differs from run to run.
    judgments = [(q, d, int(relevant[q][d])) for q in sorted(relevant) for d in sorted(relevant[q])]
    task.unload_data()
    found = RetrievalDataset(
        corpus=corpus.fillna("")[CORPUS.names].reset_index(drop=True),
        queries=data["queries"].to_pandas()[QUERIES.names],
        qrels=frame(judgments, QRELS),
        origin=Origin(
            dataset["path"], dataset["revision"], task.metadata.license or "unknown", split
        ),
    )
    where = f"{dataset['path']} {split}"
    return found.validate(
        corpus_row=lambda row: f"{where}: passage {row + 1}",
        queries_row=lambda row: f"{where}: query {row + 1}",
        qrels_row=lambda row: f"{where}: judgment {row + 1}",
        as_published=True,
    )
