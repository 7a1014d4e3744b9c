"""Decontamination: remove training and development queries that overlap with the evaluation.

Texts are compared after normalisation: Unicode compatibility forms, case and white space do not
matter. A query is removed

- if it has the text of a query that the evaluation scores, or
- if a passage relevant to it is also relevant to a query of an evaluation task with another
  collection. In the task's own collection such passages are how queries were split, as in SciFact;
  these queries are counted, and removed with `data.decontaminate: answers`.

With a query go all queries that have its text. Other passages that training and evaluation share
are counted and kept. MS MARCO and most BEIR tasks use one collection for both, and leaving out as
negatives what the test judges relevant would train on its judgments.

A training query with the text of a development query is removed too, because development queries
choose the checkpoint.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow.parquet as pq

from ettin_retrieval.data.dataset import CORPUS, QRELS, QUERIES, RetrievalDataset, passage_text
from ettin_retrieval.data.normalisation import digest
from ettin_retrieval.runtime.errors import InputError

Setting = bool | Literal["answers"]
"""As `data.decontaminate`."""

Report = dict[str, dict[str, Any]]
"""Set (`train`, `dev`) to counts and examples of its overlaps, as in `REPORT_FILE`."""

REPORT_FILE = "decontamination.json"

SAME_COLLECTION = 0.5
"""Share of a set's passages in a task's collection above which both have the same collection."""

EXAMPLES = 5
"""Maximum number of example texts of each kind in the report."""


@dataclass
class Overlap:
    """What a training or development set shares with one evaluation task."""

    same_text: set[str] = field(default_factory=set)
    """Ids of the set's queries with the text of a query of the task."""
    same_answer: set[str] = field(default_factory=set)
    """Ids of the set's queries with a relevant passage that is relevant in the task too."""
    shared_passages: int = 0
    """Number of different passages of the set in the task's collection."""
    same_collection: bool = False
    """Whether these are more than `SAME_COLLECTION` of the set's passages."""
    queries: list[str] = field(default_factory=list)
    """The task's queries behind `same_text`."""
    passages: list[str] = field(default_factory=list)
    """The task's relevant passages behind `same_answer`."""

    def removed_by(self, setting: Setting) -> set[str]:
        """Ids of the queries that a setting removes."""
        if setting is False:
            return set()
        if setting is True and self.same_collection:
            return self.same_text
        return self.same_text | self.same_answer

    def counts(self, setting: Setting) -> dict[str, Any]:
        """The overlap as it is reported."""
        return {
            "queries_removed": len(self.removed_by(setting)),
            "queries_with_the_same_text": len(self.same_text),
            "queries_with_the_same_answer": len(self.same_answer),
            "same_collection": self.same_collection,
            "shared_passages": self.shared_passages,
            "examples": {
                "queries": self.queries[:EXAMPLES], "passages": self.passages[:EXAMPLES]
            },
        }  # fmt: skip


class Texts:
    """A set's queries and passages by the digest of their text."""

    def __init__(self, dataset: RetrievalDataset) -> None:
        self.queries: dict[bytes, list[str]] = defaultdict(list)
        """Digest to the ids of the queries with this text."""
        for query_id, text in zip(dataset.queries["id"], dataset.queries["text"], strict=True):
            self.queries[digest(text)].append(query_id)
        relevant_to: dict[str, list[str]] = defaultdict(list)
        for query_id, passages in dataset.positives().items():
            for corpus_id in passages:
                relevant_to[corpus_id].append(query_id)
        self.passages: dict[bytes, list[str]] = defaultdict(list)
        """Digest to the ids of the queries that a passage with this text is relevant to."""
        for corpus_id, text in zip(dataset.corpus["id"], dataset.passage_texts(), strict=True):
            self.passages[digest(text)] += relevant_to.get(corpus_id, [])


def decontaminate(
    datasets: dict[str, RetrievalDataset], benchmark: Path, setting: Setting
) -> tuple[dict[str, RetrievalDataset], Report]:
    """The datasets without the queries that overlap with a benchmark directory.

    A dataset from which nothing is removed is returned as the same object. The benchmark's
    passages are read in batches: memory grows with the training data alone.

    Raises
    ------
    InputError
        No query of a dataset is left.
    """
    sets = {name: Texts(dataset) for name, dataset in datasets.items()}
    found: dict[str, dict[str, Overlap]] = {name: {} for name in datasets}
    for manifest in sorted(benchmark.glob("*/manifest.json")):
        for name, overlap in _overlaps_with(manifest.parent, sets).items():
            if overlap.same_text or overlap.same_answer or overlap.shared_passages:
                found[name][manifest.parent.name] = overlap
    clean, report = {}, {}
    for name, dataset in datasets.items():
        tasks = found[name]
        removed = {q for task in tasks.values() for q in task.removed_by(setting)}
        # With a question go its other ids: mining would not know what is relevant to it.
        removed.update(*(ids for ids in sets[name].queries.values() if not removed.isdisjoint(ids)))
        report[name] = {
            "queries": len({q for task in tasks.values() for q in task.removed_by("answers")}),
            "queries_removed": len(removed),
            "tasks": {task: overlap.counts(setting) for task, overlap in tasks.items()},
        }
        clean[name] = _without(
            dataset, removed, "queries_removed_for_overlap",
            f"all queries overlap with the evaluation tasks {', '.join(tasks)}; evaluate on other "
            "tasks, or keep the queries with -S data.decontaminate=false",
        )  # fmt: skip
    return clean, report


def summary(report: Report) -> str:
    """One line for the log; empty without overlap."""
    if not any(counts["queries"] for counts in report.values()):
        return ""
    parts = ", ".join(
        f"{counts['queries_removed']:,} of {counts['queries']:,} {name}"
        for name, counts in report.items()
    )
    return f"queries that overlap with the evaluation: {parts} removed; see {REPORT_FILE}"


def remove_development_queries(
    train: RetrievalDataset, dev: RetrievalDataset
) -> tuple[RetrievalDataset, int]:
    """The training set without queries that have the text of a development query, and their number.

    Raises InputError if no training query is left.
    """
    dev_queries = {digest(text) for text in dev.queries["text"]}
    texts = zip(train.queries["id"], train.queries["text"], strict=True)
    removed = {query_id for query_id, text in texts if digest(text) in dev_queries}
    kept = _without(
        train, removed, "queries_removed_for_development",
        "every training query is a development query too; give the collection other development "
        "queries",
    )  # fmt: skip
    return kept, len(removed)


def _without(
    dataset: RetrievalDataset, removed: set[str], note: str, otherwise: str
) -> RetrievalDataset:
    """The dataset without some queries, counted in a note; an error if no other has an answer."""
    if not removed:
        return dataset
    kept = [query_id for query_id in dataset.positives() if query_id not in removed]
    if not kept:
        raise InputError(f"{dataset.origin.source} {dataset.origin.split}: {otherwise}")
    return dataset.with_queries(kept, **{note: len(removed)})


def _overlaps_with(task: Path, sets: dict[str, Texts]) -> dict[str, Overlap]:
    overlaps = {name: Overlap() for name in sets}
    qrels = pq.read_table(task / "qrels.parquet", schema=QRELS).to_pandas()
    relevant = qrels[qrels["score"] > 0]
    scored, answers = set(relevant["query_id"]), set(relevant["corpus_id"])
    for query_id, text in _rows(task / "queries.parquet", QUERIES.names):
        key = digest(text)
        for name, texts in sets.items():
            if query_id in scored and key in texts.queries:
                overlaps[name].same_text.update(texts.queries[key])
                overlaps[name].queries.append(text)
    shared: dict[str, set[bytes]] = {name: set() for name in sets}
    for corpus_id, title, body in _rows(task / "corpus.parquet", CORPUS.names):
        text = passage_text(title, body)
        key = digest(text)
        for name, texts in sets.items():
            if key not in texts.passages:
                continue
            shared[name].add(key)
            if corpus_id in answers and texts.passages[key]:
                overlaps[name].same_answer.update(texts.passages[key])
                overlaps[name].passages.append(text)
    for name, overlap in overlaps.items():
        overlap.shared_passages = len(shared[name])
        overlap.same_collection = len(shared[name]) > SAME_COLLECTION * len(sets[name].passages)
    return overlaps


def _rows(path: Path, columns: list[str]) -> Iterator[tuple[str, ...]]:
    for batch in pq.ParquetFile(path).iter_batches(columns=columns):
        yield from zip(*(batch.column(name).to_pylist() for name in columns), strict=True)
