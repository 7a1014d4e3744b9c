"""MTEB retrieval tasks at mteb's pinned revisions, as RetrievalDatasets."""

from __future__ import annotations

from collections.abc import Iterator
from numbers import Real
from typing import Any

import pandas as pd
import pyarrow as pa

from ettin_retrieval import hub
from ettin_retrieval.data.dataset import CORPUS, QRELS, QUERIES, Origin, RetrievalDataset, frame
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.tasks import TASKS_KEY, expand, mteb_task, split_of


def load(
    names: list[str],
    split: str | None = None,
    *,
    strict: bool = False,
    key: str = TASKS_KEY,
    revision: str | None = None,
) -> Iterator[tuple[str, RetrievalDataset]]:
    """Name and data of each task, one at a time: only one is in memory.

    `split` takes the judgments of that split, such as `train`; None those that a task is scored
    on. With `strict`, a relevant passage must have a text and be in the corpus
    (`RetrievalDataset.validate`). `revision` is another commit than mteb pins.

    Raises InputError if a task is unknown (of the setting `key`), the Hub cannot be reached, or the
    data is malformed.
    """
    tasks = {name: mteb_task(name) for name in expand(names, key)}
    for task in tasks.values():
        dataset = task.metadata.dataset
        if revision is not None:
            dataset = {**dataset, "revision": revision}
            task.metadata = task.metadata.model_copy(update={"dataset": dataset})
        hub.resolve_commit(dataset["path"], dataset["revision"], "dataset")
    for name, task in tasks.items():
        yield name, _read(task, split or split_of(name), strict)


def _read(task: Any, split: str, strict: bool) -> RetrievalDataset:
    repository, revision = task.metadata.dataset["path"], task.metadata.dataset["revision"]
    where = f"hub dataset {repository} {split}"
    try:
        with hub.downloading(repository, "dataset"):
            task.filter_eval_splits([split]).load_data()
    except pa.ArrowInvalid as error:  # mteb casts ids to text and scores to whole numbers
        raise InputError(f"{where}: a column has another type than mteb reads: {error}") from None
    data = task.dataset["default"][split]
    corpus: pd.DataFrame = data["corpus"].to_pandas()
    if "title" not in corpus:
        corpus["title"] = ""
    tables = {
        "corpus": _texts(corpus, CORPUS, f"{where}: corpus"),
        "queries": _texts(data["queries"].to_pandas(), QUERIES, f"{where}: queries"),
        "qrels": frame(_judgments(data["relevant_docs"], where), QRELS),
    }
    task.unload_data()
    dataset = RetrievalDataset(
        **tables, origin=Origin(repository, revision, task.metadata.license or "unknown", split)
    ).validate(lambda table, row: f"{where}: {table} row {row + 1}", as_published=not strict)
    # As mteb does before it scores.
    return dataset.with_queries(dataset.qrels["query_id"].unique().tolist())


def _texts(rows: pd.DataFrame, schema: pa.Schema, where: str) -> pd.DataFrame:
    """The schema's columns, with empty text for null; an InputError if one holds anything else."""
    columns = rows.fillna("")[schema.names].reset_index(drop=True)
    for name in schema.names:
        is_text = columns[name].map(lambda value: isinstance(value, str))
        if not is_text.all():
            row = int((~is_text).to_numpy().argmax())
            value = columns[name].iloc[row]
            raise InputError(
                f"{where} row {row + 1}: {name} is {value!r:.40}, which is {type(value).__name__} "
                "and not text"
            )
    return columns


def _is_whole(score: Any) -> bool:
    is_number = isinstance(score, Real) and not isinstance(score, bool)
    return is_number and float(score).is_integer()


def _judgments(relevant: dict[Any, dict[Any, Any]], where: str) -> list[tuple[str, str, int]]:
    """Query id, passage id and score, sorted because mteb's order differs from run to run."""
    judgments = []
    for query_id, scores in relevant.items():
        for corpus_id, score in scores.items():
            texts = isinstance(query_id, str) and isinstance(corpus_id, str)
            if not texts or not _is_whole(score):
                raise InputError(
                    f"{where}: the judgment ({query_id!r}, {corpus_id!r}, {score!r}) is not two "
                    "ids and a whole number"
                )
            judgments.append((query_id, corpus_id, int(score)))
    return sorted(judgments)
