"""Two measurements of one entry: whether they agree, and the two as one.

A run that scored other tasks of the same checkpoint is merged into the entry. One that gives
other numbers is another measurement, and the two are never mixed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import pandas as pd

from ettin_retrieval.ledger.entry import Entry, Measurement, data_of, in_words

QUERY = ["task", "query_id"]


class Difference(NamedTuple):
    """One value in which two measurements differ."""

    what: str  # a metric, `task NAME` where the data differs, a query, or a name of an origin's
    task: str  # the task concerned; empty for the whole entry
    values: tuple[str, str]


def differences(left: Measurement, right: Measurement) -> list[Difference]:
    """All differences that keep two measurements from being merged."""
    return origin_differences(left.entry, right.entry) or numeric_differences(left, right)


def origin_differences(left: Entry, right: Entry) -> list[Difference]:
    """Other lengths, other weights, or another precision.

    Pooling and normalisation are part of a checkpoint's fingerprint. So are lengths, but they have
    a name of their own: other ones are another evaluation, which explains other numbers.
    """
    pairs = {
        "lengths": (in_words(left.lengths), in_words(right.lengths)),
        "weights": (left.weights.get("fingerprint"), right.weights.get("fingerprint")),
        "precision": (left.precision, right.precision),
    }
    return [Difference(what, "", (str(a), str(b))) for what, (a, b) in pairs.items() if a != b]


def numeric_differences(left: Measurement, right: Measurement) -> list[Difference]:
    """Every number that differs on the tasks both scored.

    Of the per-query scores only the first, and only if no mean differs.
    """
    ours, theirs = left.entry, right.entry
    shared = ours.tasks.keys() & theirs.tasks.keys()
    found = [
        Difference(f"task {task}", task, (str(ours.tasks[task]), str(theirs.tasks[task])))
        for task in sorted(shared)
        if data_of(ours.tasks[task]) != data_of(theirs.tasks[task])
    ]
    for metric in sorted(ours.scores.keys() | theirs.scores.keys()):
        a, b = (str(entry.scores.get(metric, "missing")) for entry in (ours, theirs))
        if a != b and _comparable(metric, ours, theirs):
            found.append(Difference(metric, metric.rpartition(".")[0], (a, b)))
    return found or _query_differences(left.queries, right.queries, shared)


def _comparable(metric: str, ours: Entry, theirs: Entry) -> bool:
    """Whether both entries should have this metric, with one value."""
    task = metric.rpartition(".")[0]
    both = metric in ours.scores and metric in theirs.scores
    if not task:  # an average over the tasks of its own run
        return both and ours.tasks.keys() == theirs.tasks.keys()
    if task.startswith("CQADupstack"):  # by forum, or as the mean of all twelve
        return both
    return both or (task in ours.tasks and task in theirs.tasks)


def _query_differences(
    left: pd.DataFrame, right: pd.DataFrame, tasks: set[str]
) -> list[Difference]:
    """The first difference among the per-query scores of these tasks."""
    ours, theirs = (
        frame[frame["task"].isin(tasks)].set_index(QUERY).sort_index() for frame in (left, right)
    )
    if not ours.index.equals(theirs.index):
        task, query = ours.index.symmetric_difference(theirs.index)[0]
        a, b = ("scored" if (task, query) in f.index else "missing" for f in (ours, theirs))
        return [Difference(f"query {query} of {task}", task, (a, b))]
    for metric in ours.columns:
        differing = ours.index[ours[metric] != theirs[metric]]
        if len(differing):
            task, query = differing[0]
            a, b = (str(f.loc[(task, query), metric]) for f in (ours, theirs))
            return [Difference(f"{metric} of query {query} of {task}", task, (a, b))]
    return []


def summary(difference: Difference) -> str:
    """A difference in a few words.

    >>> summary(Difference("NQ.ndcg_at_10", "NQ", ("0.5", "0.6")))
    'different numbers on NQ'
    >>> summary(Difference("precision", "", ("fp32", "bf16")))
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
    """All tasks, scores and per-query rows of two measurements that agree.

    Every task is credited to the last run that measured it. If a run adds no task and started
    from data and weights already recorded, the old measurement is returned as it is.
    """
    added = new.entry.tasks.keys() - old.entry.tasks.keys()
    digests = {run["outputs_sha256"] for run in old.entry.runs}
    if not added and all(run["outputs_sha256"] in digests for run in new.entry.runs):
        return old
    whole = old.entry.tasks.keys() <= new.entry.tasks.keys()
    credited = new.entry.tasks.keys() if whole or not added else added
    runs = _credited(old.entry, new.entry, set(credited))
    rows = pd.concat([old.queries[~old.queries["task"].isin(new.entry.tasks)], new.queries])
    return Measurement(
        replace(
            new.entry,
            scores=_scores(old.entry, new.entry),
            tasks=dict(sorted((old.entry.tasks | new.entry.tasks).items())),
            runs=runs,
        ),
        rows.sort_values(QUERY, ignore_index=True) if len(rows) > len(new.queries) else new.queries,
        {run["run"]: (old.records | new.records)[run["run"]] for run in runs},
    )


def _scores(old: Entry, new: Entry) -> dict[str, float]:
    """All scores, averages first; an average over different tasks is dropped."""
    scores = old.scores | new.scores
    return {
        metric: scores[metric]
        for metric in sorted(scores, key=lambda metric: metric.rpartition(".")[0])
        if "." in metric or old.scores.get(metric, scores[metric]) == scores[metric]
    }


def _credited(old: Entry, new: Entry, tasks: set[str]) -> list[dict[str, Any]]:
    """The runs of both entries, with these tasks credited to the new one's."""
    kept = [run | {"tasks": [t for t in run["tasks"] if t not in tasks]} for run in old.runs]
    added = [run | {"tasks": [t for t in run["tasks"] if t in tasks]} for run in new.runs]
    return [run for run in [*kept, *added] if run["tasks"]]
