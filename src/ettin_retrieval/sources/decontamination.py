"""Decontamination: remove training and development queries that overlap with the evaluation.

Texts are compared after normalisation: Unicode compatibility forms, case and white space do not
matter. A query is removed

- if it has the text of a query that the evaluation scores, or
- if a passage relevant to it is also relevant to a query of an evaluation task with another
  collection. In the task's own collection such passages are how queries were split, as in SciFact;
  these queries are counted, and removed with `data.decontaminate: answers`.

Other passages that training and evaluation share are counted and kept. MS MARCO and most BEIR
tasks use one collection for both, and leaving out as negatives what the test judges relevant would
train on its judgments.

A training query with the text of a development query is removed too, because development queries
choose the checkpoint.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow.parquet as pq

from ettin_retrieval.data.dataset import CORPUS, QRELS, QUERIES, RetrievalDataset, passage_text
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
    """What a training or development set shares with one evaluation task.

    Attributes
    ----------
    same_text
        Ids of the set's queries with the text of a query of the task.
    same_answer
        Ids of the set's queries with a relevant passage that is relevant in the task too.
    shared_passages
        Number of different passages of the set in the task's collection.
    same_collection
        Whether these are more than `SAME_COLLECTION` of the set's passages.
    texts
        The task's queries and relevant passages behind `same_text` and `same_answer`.
    """

    same_text: set[str] = field(default_factory=set)
    same_answer: set[str] = field(default_factory=set)
    shared_passages: int = 0
    same_collection: bool = False
    texts: dict[str, list[str]] = field(default_factory=lambda: {"queries": [], "passages": []})

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
            "examples": {kind: texts[:EXAMPLES] for kind, texts in self.texts.items()},
        }


def decontaminate(
    datasets: dict[str, RetrievalDataset], benchmark: Path, setting: Setting
) -> tuple[dict[str, RetrievalDataset], Report]:
    """The datasets without the queries that overlap with a benchmark directory.

    A dataset from which nothing is removed is returned as the same object.

    Raises
    ------
    InputError
        No query of a dataset is left.
    """
    clean, report = {}, {}
    for name, tasks in _find_overlaps(datasets, benchmark).items():
        removed = _removed(tasks, setting)
        report[name] = {
            "queries": len(_removed(tasks, "answers")),
            "queries_removed": len(removed),
            "tasks": {task: overlap.counts(setting) for task, overlap in tasks.items()},
        }
        clean[name] = _without(datasets[name], removed, ", ".join(tasks))
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


def _removed(tasks: dict[str, Overlap], setting: Setting) -> set[str]:
    return {query_id for task in tasks.values() for query_id in task.removed_by(setting)}


def _without(dataset: RetrievalDataset, removed: set[str], tasks: str) -> RetrievalDataset:
    if not removed:
        return dataset
    kept = [query_id for query_id in dataset.positives() if query_id not in removed]
    if not kept:
        raise InputError(
            f"{dataset.origin.source} {dataset.origin.split}: all queries overlap with the "
            f"evaluation tasks {tasks}; evaluate on other tasks, or keep the queries with "
            "-S data.decontaminate=false"
        )
    return dataset.with_queries(kept, queries_removed_for_overlap=len(removed))


def remove_development_queries(
    train: RetrievalDataset, dev: RetrievalDataset
) -> tuple[RetrievalDataset, int]:
    """The training set without queries that have the text of a development query, and their number.

    Raises
    ------
    InputError
        No training query is left.
    """
    dev_queries = {_digest(text) for text in dev.queries["text"]}
    texts = zip(train.queries["id"], train.queries["text"], strict=True)
    kept = [query_id for query_id, text in texts if _digest(text) not in dev_queries]
    removed = len(train.queries) - len(kept)
    if not removed:
        return train, 0
    if not kept:
        raise InputError(
            f"{train.origin.source}: every training query is a development query too; give the "
            "collection other development queries"
        )
    return train.with_queries(kept, queries_removed_for_development=removed), removed


class _Texts:
    """A set's queries and passages by the digest of their text.

    Attributes
    ----------
    queries
        Digest to the ids of the queries with this text.
    passages
        Digest to the ids of the queries that a passage with this text is relevant to.
    """

    def __init__(self, dataset: RetrievalDataset) -> None:
        self.queries: dict[bytes, list[str]] = {}
        for query_id, text in zip(dataset.queries["id"], dataset.queries["text"], strict=True):
            self.queries.setdefault(_digest(text), []).append(query_id)
        relevant_to: dict[str, list[str]] = {}
        for query_id, passages in dataset.positives().items():
            for corpus_id in passages:
                relevant_to.setdefault(corpus_id, []).append(query_id)
        self.passages: dict[bytes, list[str]] = {}
        for corpus_id, text in zip(dataset.corpus["id"], dataset.passage_texts(), strict=True):
            queries = self.passages.setdefault(_digest(text), [])
            queries += relevant_to.get(corpus_id, [])


def _find_overlaps(
    datasets: dict[str, RetrievalDataset], benchmark: Path
) -> dict[str, dict[str, Overlap]]:
    """Overlaps of each dataset with each task; tasks without any are left out.

    The benchmark's passages are read in batches: memory grows with the training data alone.
    """
    sets = {name: _Texts(dataset) for name, dataset in datasets.items()}
    found: dict[str, dict[str, Overlap]] = {name: {} for name in datasets}
    for manifest in sorted(benchmark.glob("*/manifest.json")):
        for name, overlap in _overlaps_with(manifest.parent, sets).items():
            if overlap.same_text or overlap.same_answer or overlap.shared_passages:
                found[name][manifest.parent.name] = overlap
    return found


def _overlaps_with(task: Path, sets: dict[str, _Texts]) -> dict[str, Overlap]:
    overlaps = {name: Overlap() for name in sets}
    qrels = pq.read_table(task / "qrels.parquet", schema=QRELS).to_pandas()
    relevant = qrels[qrels["score"] > 0]
    scored, answers = set(relevant["query_id"]), set(relevant["corpus_id"])
    for query_id, text in _rows(task / "queries.parquet", QUERIES.names):
        digest = _digest(text)
        for name, texts in sets.items():
            if query_id in scored and digest in texts.queries:
                overlaps[name].same_text.update(texts.queries[digest])
                overlaps[name].texts["queries"].append(text)
    shared: dict[str, set[bytes]] = {name: set() for name in sets}
    for corpus_id, title, body in _rows(task / "corpus.parquet", CORPUS.names):
        text = passage_text(title, body)
        digest = _digest(text)
        for name, texts in sets.items():
            if digest not in texts.passages:
                continue
            shared[name].add(digest)
            if corpus_id in answers and texts.passages[digest]:
                overlaps[name].same_answer.update(texts.passages[digest])
                overlaps[name].texts["passages"].append(text)
    for name, overlap in overlaps.items():
        overlap.shared_passages = len(shared[name])
        overlap.same_collection = len(shared[name]) > SAME_COLLECTION * len(sets[name].passages)
    return overlaps


def _rows(path: Path, columns: list[str]) -> Iterator[tuple[str, ...]]:
    for batch in pq.ParquetFile(path).iter_batches(columns=columns):
        yield from zip(*(batch.column(name).to_pylist() for name in columns), strict=True)


def _digest(text: str) -> bytes:
    # 16 bytes instead of the text: millions of passages fit in memory.
    return hashlib.blake2b(normalised(text).encode(), digest_size=16).digest()


def normalised(text: str) -> str:
    r"""A text in the form in which texts are compared.

    >>> normalised("Ｗhat  is\u00a0the\nCAFE\u0301?")
    'what is the café?'
    """
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
