"""Expected scores, and whether the ledger reproduces them.

`expected/*.yaml` hold them as data: value, tolerance and source, keyed by model, checkpoint,
recipe, task, split and metric. `guide.yaml`, `paper.yaml` and `published.yaml` are other people's
figures; `recorded.yaml` is this repository's own, which every run must meet again:

    python -m ettin_retrieval.expected    # write recorded.yaml from the ledger
    ettin-retrieval verify                # fail unless the ledger meets recorded.yaml

The name of a benchmark in place of a task means the average over that benchmark's tasks. Averages
over different task lists therefore have different keys, and are never compared.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from ettin_retrieval.ledger.entry import CQADUPSTACK, Entry
from ettin_retrieval.reports.references import Expected
from ettin_retrieval.tasks import SUBSAMPLED, cqadupstack_parts

Verdict = Literal["reproduced", "above", "below", "not run"]


@dataclass(frozen=True)
class Measured:
    """A score from the ledger, or why there is none.

    Attributes
    ----------
    value
        Mean over seeds, as a fraction; None where it was not measured.
    seeds
        How many seeds it is the mean of.
    deviation
        Standard deviation over seeds; None with one.
    partial
        How many further seeds are in the ledger that lack the task, or one of the benchmark's.
    reason
        Why there is no value, such as `3 of 15 tasks`; empty where nothing was run.
    """

    value: float | None
    seeds: int = 0
    deviation: float | None = None
    reason: str = ""
    partial: int = 0


def judge(measured: float | None, expected: Expected) -> Verdict:
    """Say whether a score is the expected one, to within its tolerance on either side.

    >>> guide = Expected("1b", "base", "SciFact", "test", "ndcg_at_10", 0.722, 0.01, "guide", None)
    >>> [judge(score, guide) for score in (0.712, 0.7119, 0.7321, None)]
    ['reproduced', 'below', 'above', 'not run']
    """
    if measured is None:
        return "not run"
    # Rounded, because 0.722 - 0.712 is a little more than 0.01 in binary.
    difference = round(measured - expected.value, 12)
    if abs(difference) <= expected.tolerance:
        return "reproduced"
    return "above" if difference > 0 else "below"


def measure(
    entries: list[Entry], expected: Expected, benchmarks: dict[str, dict[str, str]]
) -> Measured:
    """Look up in the ledger what an expected score is about.

    Returns
    -------
    The mean over the seeds that measured it (or the one seed that is asked for).
    """
    chosen = [
        entry
        for entry in entries
        if (entry.model, entry.arm) == (expected.model, expected.arm)
        and expected.seed in (None, entry.seed)
    ]
    tried = [
        _average_of(entry, expected, benchmarks[expected.task])
        if expected.task in benchmarks
        else _score_of(entry, expected.task, str(expected.split), expected.metric)
        for entry in chosen
    ]
    values = [m.value for m in tried if m.value is not None]
    if not values:
        return next((m for m in tried if m.reason), Measured(None))
    return Measured(
        value=math.fsum(values) / len(values),
        seeds=len(values),
        deviation=statistics.stdev(values) if len(values) > 1 else None,
        partial=len(chosen) - len(values),
    )


def scored_tasks(entry: Entry) -> dict[str, str]:
    """Task to split, of every task an entry has a score of, in order of name.

    CQADupstackRetrieval is there only if all of its twelve parts were scored.

    >>> scores = {"CQADupstackRetrieval.ndcg_at_10": 0.4, "SciFact.ndcg_at_10": 0.7}
    >>> tasks = {"CQADupstackUnixRetrieval": {"split": "test"}, "SciFact": {"split": "test"}}
    >>> scored_tasks(Entry("1b", "base", 42, scores, tasks))
    {'SciFact': 'test'}
    """
    names = {key.rpartition(".")[0] for key in entry.scores} - {""}
    splits = {name: str(entry.tasks[name]["split"]) for name in names if name in entry.tasks}
    parts = cqadupstack_parts(entry.tasks)
    judged = {str(entry.tasks[part]["split"]) for part in parts}
    if len(judged) == 1 and (CQADUPSTACK in names or names >= set(parts)):
        splits[CQADUPSTACK] = judged.pop()
    return dict(sorted(splits.items()))


def task_score(entry: Entry, task: str, metric: str) -> float | None:
    """A task's score; CQADupstackRetrieval's from its twelve parts, where those were added singly.

    >>> entry = Entry("1b", "base", 42, {"SciFact.ndcg_at_10": 0.7}, {})
    >>> task_score(entry, "SciFact", "ndcg_at_10"), task_score(entry, "NQ", "ndcg_at_10")
    (0.7, None)
    """
    stored = entry.scores.get(f"{task}.{metric}")
    if stored is not None or task != CQADUPSTACK:
        return stored
    parts = cqadupstack_parts(entry.tasks)
    scores = [entry.scores.get(f"{part}.{metric}") for part in parts]
    known = [score for score in scores if score is not None]
    return math.fsum(known) / len(known) if known and len(known) == len(parts) else None


def average(entry: Entry, tasks: Iterable[str], metric: str = "ndcg_at_10") -> float | None:
    """Mean over exactly these tasks, whatever else was scored; None where one has no score.

    >>> scores = {"A.ndcg_at_10": 0.5, "B.ndcg_at_10": 1.0, "C.ndcg_at_10": 0.0}
    >>> average(Entry("1b", "base", 42, scores, {}), ["A", "B"])
    0.75
    """
    scores = [task_score(entry, task, metric) for task in sorted(tasks)]
    known = [score for score in scores if score is not None]
    return sum(known) / len(known) if known and len(known) == len(scores) else None


def _average_of(entry: Entry, expected: Expected, tasks: dict[str, str]) -> Measured:
    """The average over a benchmark, from an entry that scored all of it on its splits."""
    scored = scored_tasks(entry)
    agreeing = [task for task, split in tasks.items() if scored.get(task) == split]
    if len(agreeing) < len(tasks):
        if any(name.startswith(f"{task}{SUBSAMPLED}") for name in entry.tasks for task in tasks):
            return Measured(None, reason="subsampled")
        reason = f"{len(agreeing)} of {len(tasks)} tasks" if agreeing else ""
        return Measured(None, reason=reason)
    value = average(entry, tasks, expected.metric)
    if value is None:
        return Measured(None, reason=f"a task has no {expected.metric}")
    return Measured(value, seeds=1)


def _score_of(entry: Entry, task: str, split: str, metric: str) -> Measured:
    """One task's score, if it was measured on all of the task and on the split asked for."""
    value = task_score(entry, task, metric)
    if value is None:
        smaller = any(name.startswith(f"{task}{SUBSAMPLED}") for name in entry.tasks)
        return Measured(None, reason="subsampled" if smaller else "")
    measured_on = scored_tasks(entry).get(task)
    if measured_on is None:
        return Measured(None, reason="parts of the task are missing")
    if measured_on != split:
        return Measured(None, reason=f"scored on {measured_on}, not {split}")
    return Measured(value, seeds=1)
