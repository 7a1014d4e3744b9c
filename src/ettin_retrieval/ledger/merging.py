"""Two measurements under one key of the ledger: whether they agree, and both as one entry.

A run that scored other tasks of the same checkpoint fills its entry further; one that gives other
numbers is another measurement, and the two are never mixed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from ettin_retrieval.ledger.entry import Entry

ROW = ["task", "query_id"]
"""What a per-query score is of."""

FURTHER = "further_runs"
"""Key of an entry's provenance: the records of runs that added tasks, each with their names."""


@dataclass(frozen=True)
class Measurement:
    """An entry and its per-query scores (columns task, query_id, ndcg_at_10, mrr_at_10)."""

    entry: Entry
    queries: pd.DataFrame


@dataclass(frozen=True)
class Difference:
    """One number that two measurements give differently.

    Attributes
    ----------
    what
        Flat metric, `task NAME` where what was evaluated differs, a query of one, or what made
        the scores (`weights`, `precision`).
    task
        Whose number it is; empty where it is no single task's.
    values
        The two values, in words where they are no numbers.
    """

    what: str
    task: str
    values: tuple[str, str]


def numeric_differences(left: Measurement, right: Measurement) -> list[Difference]:
    """Every number in which two measurements differ over the tasks that both have.

    Of per-query scores the first one alone, and only where no mean differs. Provenance is no
    number.
    """
    ours, theirs = left.entry, right.entry
    shared = ours.tasks.keys() & theirs.tasks.keys()
    told = [
        Difference(f"task {task}", task, (str(ours.tasks[task]), str(theirs.tasks[task])))
        for task in sorted(shared)
        if ours.tasks[task] != theirs.tasks[task]
    ]
    for metric in sorted(ours.scores.keys() | theirs.scores.keys()):
        a, b = ours.scores.get(metric), theirs.scores.get(metric)
        if a != b and _comparable(metric, ours, theirs):
            words = ["missing" if value is None else str(value) for value in (a, b)]
            told.append(Difference(metric, metric.rpartition(".")[0], (words[0], words[1])))
    return told or _query_differences(left.queries, right.queries, shared)


def _comparable(metric: str, ours: Entry, theirs: Entry) -> bool:
    """Whether both entries should have this metric, and the same."""
    task = metric.rpartition(".")[0]
    both = metric in ours.scores and metric in theirs.scores
    if not task:  # an average, over the tasks of its own run; a list of names has none
        return both and ours.tasks.keys() == theirs.tasks.keys()
    if task.startswith("CQADupstack"):  # told part by part, or as the mean of all twelve
        return both
    return both or (task in ours.tasks and task in theirs.tasks)


def _query_differences(
    left: pd.DataFrame, right: pd.DataFrame, tasks: set[str]
) -> list[Difference]:
    """The first difference of per-query scores of these tasks."""
    ours, theirs = (
        frame[frame["task"].isin(tasks)].set_index(ROW).sort_index() for frame in (left, right)
    )
    if not ours.index.equals(theirs.index):
        task, query = ours.index.symmetric_difference(theirs.index)[0]
        words = ["scored" if (task, query) in f.index else "missing" for f in (ours, theirs)]
        return [Difference(f"query {query} of {task}", task, (words[0], words[1]))]
    for metric in ours.columns:
        differ = ours[metric] != theirs[metric]
        if differ.any():
            row = int(differ.to_numpy().argmax())
            task, query = ours.index[row]
            values = [str(f[metric].iloc[row]) for f in (ours, theirs)]
            where = f"{metric} of query {query} of {task}"
            return [Difference(where, task, (values[0], values[1]))]
    return []


def origin_differences(left: Entry, right: Entry) -> list[Difference]:
    """Whether other weights were scored, or in another precision: then nothing may be added.

    Lengths, pooling and normalisation are part of a checkpoint's identity.
    """
    pairs = {
        "weights": [e.provenance.get("checkpoint", {}).get("identity") for e in (left, right)],
        "precision": [e.provenance.get("precision") for e in (left, right)],
    }
    return [Difference(what, "", (str(a), str(b))) for what, (a, b) in pairs.items() if a != b]


def told(difference: Difference) -> str:
    """What two measurements differ in, in a few words.

    >>> told(Difference("NQ.ndcg_at_10", "NQ", ("0.5", "0.6")))
    'different numbers on NQ'
    >>> told(Difference("precision", "", ("fp32", "bf16")))
    'other precision (fp32, now bf16)'
    """
    if difference.what.startswith("task "):
        return f"other data of {difference.task}"
    if difference.task:
        return f"different numbers on {difference.task}"
    if difference.what == "weights":
        return "other weights"
    return f"other {difference.what} ({difference.values[0]}, now {difference.values[1]})"


def united(old: Measurement, new: Measurement) -> Measurement:
    """Both as one: all tasks, scores and per-query rows of two measurements that agree.

    The provenance is the new run's where it scored every task of the entry; otherwise the old
    one's, and the new run's among its `further_runs`, with the tasks that it added. A run that
    adds nothing, and started from the same data and weights as one that is told, changes nothing.
    """
    added = sorted(new.entry.tasks.keys() - old.entry.tasks.keys())
    if not added and new.entry.provenance.get("outputs_sha256") in digests(old.entry):
        return old
    tasks = dict(sorted((old.entry.tasks | new.entry.tasks).items()))
    own = new.queries
    rows = pd.concat([old.queries[~old.queries["task"].isin(new.entry.tasks)], own])
    return Measurement(
        replace(
            new.entry,
            scores=_scores(old.entry, new.entry),
            tasks=tasks,
            provenance=_provenance(old.entry, new.entry, added),
        ),
        rows.sort_values(ROW, ignore_index=True) if len(rows) > len(own) else own,
    )


def digests(entry: Entry) -> set[str | None]:
    """Digests of what each run behind an entry started from (`provenance.outputs_digest`)."""
    runs = [entry.provenance, *entry.provenance.get(FURTHER, [])]
    return {run.get("outputs_sha256") for run in runs}


def _scores(old: Entry, new: Entry) -> dict[str, float]:
    """All scores, averages first; without those that were over different tasks."""
    scores = old.scores | new.scores
    return {
        metric: scores[metric]
        for metric in sorted(scores, key=lambda metric: metric.rpartition(".")[0])
        if "." in metric or old.scores.get(metric, scores[metric]) == scores[metric]
    }


def _provenance(old: Entry, new: Entry, added: list[str]) -> dict[str, Any]:
    if old.tasks.keys() <= new.tasks.keys():
        return new.provenance
    run = new.provenance | {"tasks": added or sorted(new.tasks)}
    earlier = [
        r for r in old.provenance.get(FURTHER, []) if not set(r["tasks"]) <= set(run["tasks"])
    ]
    return old.provenance | {FURTHER: [*earlier, run]}
