"""Training queries that the evaluation asks too, or whose answer is an answer there.

Texts are compared as a reader sees them: Unicode compatibility forms, case and white space do not
tell two texts apart. A training or development query is removed

- if its text is that of a query which the evaluation scores, or
- if a passage that is relevant to it is relevant to a query of the evaluation, in another
  collection. Where both are asked of one collection, as SciFact's train and test queries are, such
  passages are how the collection was split; these queries are counted, and removed on request
  (`data.decontaminate: answers`).

Passages that a training collection merely shares with an evaluation collection are counted, and
kept: MS MARCO's training and evaluation queries are asked of one collection, and so are those of
most BEIR tasks. To leave the relevant ones out as negatives too would choose negatives by the
judgments of the test.

Development queries pick the checkpoint: a training query with the text of one is left out too.
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

Removal = bool | Literal["answers"]
"""As `data.decontaminate`."""

ONE_COLLECTION = 0.5
"""Share of a set's passages that makes a task's collection its own; a few texts may differ."""

EXAMPLES = 5
"""How many texts of each kind a report shows."""


def normalised(text: str) -> str:
    r"""A text without what does not tell two texts apart.

    >>> normalised("Ｗhat  is\u00a0the\nCAFE\u0301?")
    'what is the café?'
    """
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


@dataclass
class TaskOverlap:
    """What a training or development set has in common with one evaluation task.

    Attributes
    ----------
    queries
        Ids of queries whose text the task asks too.
    answered
        Ids of queries with a relevant passage that is relevant in the task too.
    shared_passages
        How many different passages of the set are in the task's collection.
    one_collection
        Whether more than `ONE_COLLECTION` of them are.
    examples
        Some of the texts.
    """

    queries: set[str] = field(default_factory=set)
    answered: set[str] = field(default_factory=set)
    shared_passages: int = 0
    one_collection: bool = False
    examples: dict[str, list[str]] = field(default_factory=lambda: {"queries": [], "passages": []})

    def to_remove(self, removal: Removal) -> set[str]:
        """Ids of the queries that are left out."""
        if removal is False:
            return set()
        answered = removal == "answers" or not self.one_collection
        return self.queries | self.answered if answered else self.queries

    def note(self, kind: str, text: str) -> None:
        """Keep a text as an example, if there are not enough yet."""
        if len(self.examples[kind]) < EXAMPLES:
            self.examples[kind].append(text)


Overlaps = dict[str, TaskOverlap]
"""Task to what it has in common with a set; only where that is anything."""


class _Texts:
    """A set's queries and passages by normalised text."""

    def __init__(self, dataset: RetrievalDataset) -> None:
        self.queries: dict[bytes, list[str]] = {}
        for query_id, text in zip(dataset.queries["id"], dataset.queries["text"], strict=True):
            self.queries.setdefault(_digest(text), []).append(query_id)
        asking: dict[str, list[str]] = {}
        for query_id, passages in dataset.positives().items():
            for corpus_id in passages:
                asking.setdefault(corpus_id, []).append(query_id)
        self.asking: dict[bytes, list[str]] = {}
        texts = zip(dataset.corpus["id"], dataset.passage_texts(), strict=True)
        for corpus_id, text in texts:
            self.asking.setdefault(_digest(text), []).extend(asking.get(corpus_id, []))


def find(datasets: dict[str, RetrievalDataset], benchmark: Path) -> dict[str, Overlaps]:
    """Overlap of each dataset with each task of a benchmark directory.

    The evaluation's passages are read a batch at a time: memory grows with the training data
    alone.

    Returns
    -------
    Name of the dataset to task to `TaskOverlap`; tasks without any overlap are left out.
    """
    sets = {name: _Texts(dataset) for name, dataset in datasets.items()}
    found: dict[str, Overlaps] = {name: {} for name in datasets}
    for directory in sorted(path.parent for path in benchmark.glob("*/manifest.json")):
        for name, overlap in _with_task(sets, directory).items():
            if overlap.queries or overlap.answered or overlap.shared_passages:
                found[name][directory.name] = overlap
    return found


def _with_task(sets: dict[str, _Texts], directory: Path) -> dict[str, TaskOverlap]:
    overlaps = {name: TaskOverlap() for name in sets}
    qrels = pq.read_table(directory / "qrels.parquet", schema=QRELS).to_pandas()
    relevant = qrels[qrels["score"] > 0]
    asked, answers = set(relevant["query_id"]), set(relevant["corpus_id"])
    for query_id, text in _rows(directory / "queries.parquet", QUERIES.names):
        digest = _digest(text)
        for name, own in sets.items():
            if query_id in asked and digest in own.queries:
                overlaps[name].queries.update(own.queries[digest])
                overlaps[name].note("queries", text)
    seen: dict[str, set[bytes]] = {name: set() for name in sets}
    for corpus_id, title, body in _rows(directory / "corpus.parquet", CORPUS.names):
        text = passage_text(title, body)
        digest = _digest(text)
        for name, own in sets.items():
            if digest not in own.asking:
                continue
            seen[name].add(digest)
            if corpus_id in answers and own.asking[digest]:
                overlaps[name].answered.update(own.asking[digest])
                overlaps[name].note("passages", text)
    for name, digests in seen.items():
        overlaps[name].shared_passages = len(digests)
        overlaps[name].one_collection = len(digests) > ONE_COLLECTION * len(sets[name].asking)
    return overlaps


def _rows(path: Path, columns: list[str]) -> Iterator[tuple[str, ...]]:
    for batch in pq.ParquetFile(path).iter_batches(columns=columns):
        yield from zip(*(batch.column(name).to_pylist() for name in columns), strict=True)


def _digest(text: str) -> bytes:
    # 16 bytes instead of the text: millions of passages fit in memory.
    return hashlib.blake2b(normalised(text).encode(), digest_size=16).digest()


def without(
    datasets: dict[str, RetrievalDataset], found: dict[str, Overlaps], removal: Removal
) -> dict[str, RetrievalDataset]:
    """The datasets less the queries that overlap; one without overlap is the same object.

    Raises
    ------
    InputError
        A dataset has no other queries.
    """
    kept = {}
    for name, dataset in datasets.items():
        removed = _query_ids(found[name], removal)
        if not removed:
            kept[name] = dataset
            continue
        ids = [i for i in dataset.positives() if i not in removed]
        if not ids:
            raise InputError(
                f"{dataset.origin.source} {dataset.origin.split}: all of its queries overlap with "
                f"the evaluation tasks {', '.join(found[name])}; evaluate on other tasks, or keep "
                "them with -S data.decontaminate=false"
            )
        kept[name] = dataset.with_queries(ids, queries_removed_for_overlap=len(removed))
    return kept


def without_development_queries(
    chosen: dict[str, RetrievalDataset],
) -> tuple[dict[str, RetrievalDataset], set[str]]:
    """The sets with no training query that development asks too, and the ids of those left out.

    Raises
    ------
    InputError
        There is no other training query.
    """
    asked = {_digest(text) for text in chosen["dev"].queries["text"]}
    train = chosen["train"]
    rows = zip(train.queries["id"], train.queries["text"], strict=True)
    removed = {query_id for query_id, text in rows if _digest(text) in asked}
    if not removed:
        return chosen, removed
    kept = [query_id for query_id in train.queries["id"] if query_id not in removed]
    if not kept:
        raise InputError(
            f"{train.origin.source}: every training query is a development query too; give "
            "development queries of its own to the collection"
        )
    smaller = train.with_queries(kept, queries_removed_for_development=len(removed))
    return {**chosen, "train": smaller}, removed


def report(found: dict[str, Overlaps], removal: Removal) -> dict[str, Any]:
    """Counts and examples, as written beside the training data."""
    content: dict[str, Any] = {"removed": removal}
    for name, tasks in found.items():
        content[name] = {
            "queries": len(_query_ids(tasks, "answers")),
            "tasks": {
                task: {
                    "queries_removed": len(overlap.to_remove(removal)),
                    "queries_asked_there": len(overlap.queries),
                    "queries_with_an_answer_there": len(overlap.answered),
                    "one_collection": overlap.one_collection,
                    "passages_in_its_collection": overlap.shared_passages,
                    "examples": overlap.examples,
                }
                for task, overlap in tasks.items()
            },
        }
    return content


def told(found: dict[str, Overlaps], removal: Removal) -> str:
    """One line for the log; empty where nothing overlaps."""
    counts = {
        name: (len(_query_ids(tasks, removal)), len(_query_ids(tasks, "answers")))
        for name, tasks in found.items()
    }
    if not any(every for _, every in counts.values()):
        return ""
    listed = ", ".join(f"{gone:,} of {every:,} {name}" for name, (gone, every) in counts.items())
    return f"queries that overlap with the evaluation: {listed} removed; see overlap.json"


def _query_ids(tasks: Overlaps, removal: Removal) -> set[str]:
    return {i for overlap in tasks.values() for i in overlap.to_remove(removal)}
