"""The one view of the ledger, beside the expected scores, that everything here is made from."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from ettin_retrieval.ledger.entry import Entry
from ettin_retrieval.ledger.store import read_ledger, read_queries, read_records
from ettin_retrieval.reports.likeness import (
    LEXICAL,
    Conditions,
    Difference,
    conditions,
    in_common,
    unlike,
)
from ettin_retrieval.reports.measured import Check, Measured, Shares
from ettin_retrieval.reports.references import (
    Expected,
    Key,
    References,
    read_references,
)
from ettin_retrieval.tasks import CQADUPSTACK, METRICS, SUBSAMPLED, cqadupstack_parts, full_name

SIZES = ("tiny", "17m", "32m", "68m", "150m", "400m", "1b")
"""Models in order of size; all others follow, by name."""

TINY = "tiny"
"""The offline world: its model, and its benchmark."""

BM25 = LEXICAL
"""The lexical baseline's model name in the ledger."""

METRIC_NAMES = {"ndcg_at_10": "nDCG@10", "mrr_at_10": "MRR@10"}


@dataclass
class View:
    """The entries of a ledger, and the expected scores."""

    directory: Path
    entries: list[Entry]
    references: References

    def __post_init__(self) -> None:
        self.entries = [with_cqadupstack(entry) for entry in self.entries]
        self.records = {
            e.name: list(read_records(self.directory, e).values()) for e in self.entries
        }

    @classmethod
    def read(cls, results: Path, expected: Path) -> View:
        """Read a ledger and a directory of expected scores."""
        return cls(results, read_ledger(results), read_references(expected))

    def measured(self, key: Key) -> Measured:
        """The mean over the seeds that have a score of this key, or why none has."""
        arm = [e for e in self.entries if (e.model, e.checkpoint, e.recipe) == key[:3]]
        arm = [e for e in arm if key.seed in (None, e.seed)]
        found = [(entry, self._score(entry, key)) for entry in arm]
        scored = [(entry, score) for entry, score in found if not isinstance(score, str)]
        if not scored:
            return Measured(None, reason=next((str(why) for _, why in found if why), ""))
        tasks = [key.task] if key.split else list(self.references.benchmarks[key.task])
        each = [self.conditions(entry, tasks) for entry, _ in scored]
        if differing := [d for other in each[1:] for d in unlike(each[0], other)]:
            return Measured(None, reason=f"seeds of other {differing[0]}")
        seeds = {entry.name for entry in distinct([entry for entry, _ in scored])}
        values = [score for entry, score in scored if entry.name in seeds]
        return Measured(
            value=math.fsum(values) / len(values),
            seeds=len(values),
            deviation=statistics.stdev(values) if len(values) > 1 else None,
            partial=len(distinct(arm)) - len(values),
            lengths=scored[0][0].lengths,
            cut=cut_shares([entry for entry, _ in scored], tasks),
            conditions=in_common(each),
            tokens=mean_tokens([entry for entry, _ in scored], tasks),
        )

    def check(self, key: Key, expected: Expected | None = None) -> Check:
        """A score beside the expected one."""
        return Check(key, self.measured(key), expected)

    def queries(self, entry: Entry) -> pd.DataFrame:
        """Per-query scores of an entry."""
        return read_queries(self.directory, entry)

    def conditions(self, entry: Entry, tasks: Iterable[str]) -> Conditions:
        """Under what an entry's scores on these tasks were measured."""
        return conditions(entry, tasks, self.records.get(entry.name, []))

    def unlike(self, ours: Entry, theirs: Entry) -> list[Difference]:
        """In what two entries differ, apart from the systems, and on the tasks that both scored."""
        shared = ours.tasks.keys() & theirs.tasks.keys()
        # Its forums are there one by one.
        shared -= {CQADUPSTACK} if cqadupstack_parts(shared) else set()
        return unlike(self.conditions(ours, shared), self.conditions(theirs, shared))

    def pairs(self) -> list[tuple[Entry, Entry]]:
        """Base and fine-tuned entry of each model, recipe and seed that has both, in order.

        Both were measured alike, but for the data of single tasks.
        """
        bases = {(e.model, e.seed): e for e in self.entries if e.checkpoint == "base"}
        tuned = [e for e in self.entries if e.checkpoint == "finetuned"]
        pairs = [
            (bases[entry.model, entry.seed], entry)
            for entry in sorted(tuned, key=entry_order)
            if (entry.model, entry.seed) in bases
        ]
        return [(base, entry) for base, entry in pairs if not self.apart(base, entry)]

    def like_queries(self, ours: Entry, theirs: Entry) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Per-query scores of two entries, without the tasks whose data is not the same."""
        apart = {each.task for each in self.unlike(ours, theirs)}
        left, right = self.queries(ours), self.queries(theirs)
        return left[~left["task"].isin(apart)], right[~right["task"].isin(apart)]

    def apart(self, ours: Entry, theirs: Entry) -> list[Difference]:
        """In what two entries differ as a whole."""
        return [each for each in self.unlike(ours, theirs) if not each.task]

    def _score(self, entry: Entry, key: Key) -> float | str:
        """An entry's score, or why it has none that belongs to the key."""
        if key.split is None:
            return average(entry, self.references.benchmarks[key.task], key.metric)
        splits, score = scored_tasks(entry), entry.scores.get(f"{key.task}.{key.metric}")
        if score is not None and key.task in splits:
            split = splits[key.task]
            return score if split == key.split else f"scored on {split}, not {key.split}"
        if score is not None and key.task == CQADUPSTACK:
            return "parts of the task are missing"
        subsampled = any(task.startswith(f"{key.task}{SUBSAMPLED}") for task in splits)
        return "subsampled" if subsampled else ""


def model_order(model: str) -> tuple[int, str]:
    """Key to sort models by: size, then name.

    >>> sorted(["zeta", "1b", "tiny", "bm25", "17m"], key=model_order)
    ['tiny', '17m', '1b', 'bm25', 'zeta']
    """
    return (SIZES.index(model) if model in SIZES else len(SIZES), model)


def entry_order(entry: Entry) -> tuple[tuple[int, str], str, int]:
    """Key to sort entries by: model, checkpoint and seed."""
    return (model_order(entry.model), entry.arm, entry.seed)


def distinct(entries: list[Entry]) -> list[Entry]:
    """Entries of one arm without those of base weights that one before them has: they are one seed.

    >>> bases = [Entry("1b", "base", seed, {}, {}, {"fingerprint": "a"}) for seed in (1, 2)]
    >>> [entry.seed for entry in distinct(bases)]
    [1]
    """
    seen: dict[Any, Entry] = {}
    for entry in entries:
        weights = entry.weights.get("fingerprint") if entry.checkpoint == "base" else None
        seen.setdefault((entry.name,) if weights is None else weights, entry)
    return list(seen.values())


def average(entry: Entry, tasks: Mapping[str, str], metric: str) -> float | str:
    """Mean over exactly these tasks on their splits, or why it is missing.

    >>> scores = {"A.ndcg_at_10": 0.5, "B.ndcg_at_10": 1.0, "C.ndcg_at_10": 0.0}
    >>> entry = Entry("1b", "base", 42, scores, dict.fromkeys("ABC", {"split": "test"}))
    >>> average(entry, {"A": "test", "B": "test"}, "ndcg_at_10")
    0.75
    >>> average(entry, {"A": "test", "B": "dev"}, "ndcg_at_10")
    '1 of 2 tasks'
    """
    splits = scored_tasks(entry)
    agreeing = sorted(task for task, split in tasks.items() if splits.get(task) == split)
    scores = [entry.scores.get(f"{task}.{metric}") for task in agreeing]
    known = [score for score in scores if score is not None]
    if known and len(known) == len(tasks):
        return sum(known) / len(known)
    if len(agreeing) == len(tasks):
        return f"a task has no {metric}"
    if any(full_name(name) in tasks and name != full_name(name) for name in entry.tasks):
        return "subsampled"
    return f"{len(agreeing)} of {len(tasks)} tasks" if agreeing else ""


def cut_shares(entries: list[Entry], tasks: Iterable[str]) -> Shares:
    """The highest shares of cut queries and passages, over entries and tasks.

    >>> tasks = {"A": {"cut": {"queries": [1, 4], "passages": [0, 9]}}, "B": {}}
    >>> cut_shares([Entry("1b", "base", 42, {}, tasks)], ["A", "B"])
    Shares(queries=0.25, passages=0.0)
    """
    known = [e.tasks[t]["cut"] for e in entries for t in tasks if "cut" in e.tasks.get(t, {})]
    shares = [
        max((cut[kind][0] / cut[kind][1] for cut in known if cut[kind][1]), default=None)
        for kind in Shares._fields
    ]
    return Shares(*shares)


def mean_tokens(entries: list[Entry], tasks: Iterable[str]) -> tuple[float | None, ...]:
    """The highest mean lengths of queries and passages before cutting, over entries and tasks.

    >>> cut = {"queries": [1, 4], "passages": [0, 9]}
    >>> long = {"A": {"cut": cut | {"mean_tokens": {"queries": 8.5, "passages": 301.0}}}}
    >>> mean_tokens([Entry("1b", "base", 42, {}, long)], ["A", "B"]), mean_tokens([], ["A"])
    ((8.5, 301.0), (None, None))
    """
    cuts = [e.tasks[t].get("cut", {}) for e in entries for t in tasks if t in e.tasks]
    known = [cut["mean_tokens"] for cut in cuts if "mean_tokens" in cut]
    return tuple(max((mean[kind] for mean in known), default=None) for kind in Shares._fields)


def scored_tasks(entry: Entry) -> dict[str, str]:
    """Task to split, of every task an entry has a score of, in order of name.

    >>> scores = {"SciFact.ndcg_at_10": 0.7, "CQADupstackRetrieval.ndcg_at_10": 0.4}
    >>> scored_tasks(Entry("1b", "base", 42, scores, {"SciFact": {"split": "test"}}))
    {'SciFact': 'test'}
    """
    names = {key.rpartition(".")[0] for key in entry.scores}
    return {name: entry.tasks[name]["split"] for name in sorted(names & entry.tasks.keys())}


def with_cqadupstack(entry: Entry) -> Entry:
    """The entry with CQADupstackRetrieval as a task, if all its parts are scored on one split.

    Its scores are the means over its parts, unless the entry has them.
    """
    parts = cqadupstack_parts(entry.tasks)
    tasks = [entry.tasks[part] for part in parts]
    if len({task["split"] for task in tasks}) != 1:
        return entry
    means = {}
    for metric in METRICS:
        scores = [entry.scores.get(f"{part}.{metric}") for part in parts]
        known = [score for score in scores if score is not None]
        if len(known) == len(parts):
            means[f"{CQADUPSTACK}.{metric}"] = math.fsum(known) / len(known)
    task: dict[str, Any] = {"split": tasks[0]["split"]}
    if all("queries" in task for task in tasks):
        task["queries"] = sum(task["queries"] for task in tasks)
    if all("cut" in part for part in tasks):
        task["cut"] = {
            kind: [sum(part["cut"][kind][place] for part in tasks) for place in (0, 1)]
            for kind in Shares._fields
        }
        if all("mean_tokens" in part["cut"] for part in tasks):
            task["cut"]["mean_tokens"] = {
                kind: sum(p["cut"]["mean_tokens"][kind] * p["cut"][kind][1] for p in tasks)
                / max(task["cut"][kind][1], 1)
                for kind in Shares._fields
            }
    return replace(entry, scores=means | entry.scores, tasks=entry.tasks | {CQADUPSTACK: task})


def counted(seeds: int) -> str:
    """A number of seeds in words.

    >>> counted(1), counted(3)
    ('1 seed', '3 seeds')
    """
    return f"{seeds} seed{'' if seeds == 1 else 's'}"
