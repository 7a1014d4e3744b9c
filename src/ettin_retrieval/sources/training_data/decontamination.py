"""Decontamination: remove training and development queries that overlap with held-out tasks.

Texts are compared after normalisation: Unicode compatibility forms, case and white space do not
matter. A query is removed

- if it has the text of a query that a held-out task scores, or
- if a passage relevant to it is also relevant to a query of a held-out task with another
  collection. In the task's own collection such passages are how queries were split, as in SciFact;
  these queries are counted, and removed with `data.decontaminate: answers`.

A set and a task have the same collection if one has more than half of the other's passages: the
task's may be a part of the set's, as in MTEB's HardNegatives tasks, or the set's of the task's, as
in MS MARCO. Each set is decided by itself, so one that is made of several collections is
decontaminated before they are merged.

With a query go all queries that have its text. Other passages that training and held-out tasks
share are counted and kept. MS MARCO and most BEIR tasks use one collection for both, and leaving
out as negatives what the test judges relevant would train on its judgments.

A training query with the text of a development query is removed too, because development queries
choose the checkpoint.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ettin_retrieval.data.dataset import RetrievalDataset
from ettin_retrieval.data.heldout import HeldOutTask, read_heldout
from ettin_retrieval.data.normalisation import digest, short_digests
from ettin_retrieval.runtime.errors import InputError

Setting = bool | Literal["answers"]
"""As `data.decontaminate`."""

Report = dict[str, dict[str, Any]]
"""Set (`train`, `dev`, or the name of a collection that is merged later) to counts and examples of
its overlaps, as in `REPORT_FILE`."""

REPORT_FILE = "decontamination.json"

SAME_COLLECTION = 0.5
"""Share of the one's passages in the other above which a set and a task have one collection."""

FEWEST = 20
"""Passages of a set from which the share of all of them is estimated. Of a set that has half of its
passages in a collection, 20 show three quarters in 1 of 50 cases. Fewer decide nothing."""

EXAMPLES = 5
"""Maximum number of example texts of each kind in the report."""


@dataclass
class Overlap:
    """What a training or development set shares with one held-out task."""

    same_text: set[str] = field(default_factory=set)
    """Ids of the set's queries with the text of a query of the task."""
    same_answer: set[str] = field(default_factory=set)
    """Ids of the set's queries with a relevant passage that is relevant in the task too."""
    of_set: float | None = 0.0
    """Share of the set's passages in the task's collection; None if it cannot be told."""
    of_task: float = 0.0
    """Share of the passages of the task's collection in the set."""
    shared_passages: int = 0
    """Number of different passages of the set in the task's collection, as far as is known."""
    is_estimate: bool = False
    """Whether the three are estimated from a part of the collection."""
    queries: list[str] = field(default_factory=list)
    """The task's queries behind `same_text`."""
    passages: list[str] = field(default_factory=list)
    """The task's relevant passages behind `same_answer`."""

    @property
    def same_collection(self) -> bool:
        """Whether set and task have the same collection."""
        return max(self.of_set or 0.0, self.of_task) > SAME_COLLECTION

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
            "share_of_the_set": _rounded(self.of_set),
            "share_of_the_task": _rounded(self.of_task),
            "shared_passages": self.shared_passages,
            "estimated": self.is_estimate,
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
        self.digests = np.unique(short_digests(self.passages, len(self.passages)))
        """Of the different passages, ascending, as in a sketch."""


def decontaminate(
    datasets: dict[str, RetrievalDataset], heldout: Path, setting: Setting
) -> tuple[dict[str, RetrievalDataset], Report]:
    """The datasets without the queries that overlap with a held-out list.

    A dataset from which nothing is removed is returned as the same object.

    Parameters
    ----------
    datasets
        Each of one collection, or of what cannot be told apart.
    heldout
        Output of the stage heldout.

    Raises
    ------
    InputError
        No query of a dataset is left, or the list is incomplete.
    """
    sets = {name: Texts(dataset) for name, dataset in datasets.items()}
    found: dict[str, dict[str, Overlap]] = {name: {} for name in datasets}
    for task, content in read_heldout(heldout):
        for name, texts in sets.items():
            overlap = overlap_with(content, texts)
            if overlap.same_text or overlap.same_answer or overlap.shared_passages:
                found[name][task] = overlap
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
            f"all queries overlap with the held-out tasks {', '.join(tasks)}; name others in "
            "data.heldout, or keep the queries with -S data.decontaminate=false",
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
    return f"queries that overlap with held-out tasks: {parts} removed; see {REPORT_FILE}"


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


def overlap_with(task: HeldOutTask, texts: Texts) -> Overlap:
    """What a set shares with a task."""
    overlap = Overlap()
    for text in task.queries["text"]:
        if same := texts.queries.get(digest(text)):
            overlap.same_text.update(same)
            overlap.queries.append(text)
    for text in task.relevant["text"]:
        if asked := texts.passages.get(digest(text)):
            overlap.same_answer.update(asked)
            overlap.passages.append(text)
    _compare_collections(overlap, task, texts)
    return overlap


def _compare_collections(overlap: Overlap, task: HeldOutTask, texts: Texts) -> None:
    """Fill in the shares of passages that set and task have in common.

    The sketch has every passage of the task up to its largest digest. A digest is as good as
    random, so that what the set has up to there is a sample of the set, and the sketch one of the
    task's collection (Broder 1997).
    """
    comparable = texts.digests
    if not task.is_whole:
        comparable = comparable[comparable <= task.sketch[-1]]
        overlap.is_estimate = True
    shared = len(np.intersect1d(comparable, task.sketch, assume_unique=True))
    overlap.of_task = shared / len(task.sketch)
    if overlap.is_estimate and len(comparable) < FEWEST:
        overlap.of_set, overlap.shared_passages = None, shared
        return
    overlap.of_set = shared / len(comparable)
    overlap.shared_passages = round(overlap.of_set * len(texts.digests))


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, 4)
