"""The ledger as one long table: a row per checkpoint, task and metric.

Tables, plots, verdicts and comparisons all read this table.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd

from ettin_retrieval.ledger.entry import Entry
from ettin_retrieval.tasks import CQADUPSTACK, METRICS, SUBSAMPLED, cqadupstack_parts, full_name

COLUMNS = (
    "model", "checkpoint", "recipe", "seed", "task", "split", "metric", "value", "queries",
    "reason",
)  # fmt: skip

PARTS_MISSING = "parts of the task are missing"

Benchmarks = Mapping[str, Mapping[str, str]]
"""Name of a benchmark to {task: split}."""


class Key(NamedTuple):
    """What is scored: a checkpoint, a task (or a benchmark) and a metric.

    Attributes
    ----------
    recipe
        That trained the checkpoint; None for what was not trained.
    task, split
        A benchmark's name with split None stands for the average over its tasks.
    seed
        None stands for all seeds.
    """

    model: str
    checkpoint: str
    recipe: str | None
    task: str
    split: str | None
    metric: str
    seed: int | None = None


@dataclass(frozen=True)
class Measured:
    """A score from the ledger, or why there is none.

    Attributes
    ----------
    value
        Mean over seeds, a fraction; None if it was not measured.
    seeds
        Number of seeds behind the mean.
    deviation
        Standard deviation over seeds; None for one seed.
    reason
        Why there is no value, such as `3 of 15 tasks`; empty if nothing was run.
    partial
        Further seeds in the ledger that lack the task, or a task of the benchmark.
    """

    value: float | None
    seeds: int = 0
    deviation: float | None = None
    reason: str = ""
    partial: int = 0


def scores_table(entries: Iterable[Entry], benchmarks: Benchmarks) -> pd.DataFrame:
    """Every score of every entry, with `COLUMNS`.

    Each benchmark has a row with its name as task and no split: its value is NaN, and `reason`
    says why, unless all its tasks were scored on its splits. A mean of CQADupstackRetrieval that
    is not over all twelve parts on one split has such a row too.
    """
    rows = [row for entry in entries for row in _rows(entry, benchmarks)]
    frame = pd.DataFrame(rows, columns=list(COLUMNS), dtype=object)
    return frame.astype({"seed": "int64", "value": "float64"})


def _rows(entry: Entry, benchmarks: Benchmarks) -> Iterable[tuple[object, ...]]:
    key = (entry.model, entry.checkpoint, entry.recipe, entry.seed)
    splits = scored_tasks(entry)
    for task, split in splits.items():
        for metric in METRICS:
            value = task_score(entry, task, metric)
            if value is not None:
                yield (*key, task, split, metric, value, _queries(entry, task), "")
    if CQADUPSTACK not in splits:
        for metric in METRICS:
            if task_score(entry, CQADUPSTACK, metric) is not None:
                yield (*key, CQADUPSTACK, None, metric, math.nan, None, PARTS_MISSING)
    for name, tasks in benchmarks.items():
        for metric in METRICS:
            value = average(entry, tasks, metric) if tasks.items() <= splits.items() else None
            reason = "" if value is not None else _missing(entry, splits, tasks, metric)
            yield (*key, name, None, metric, math.nan if value is None else value, None, reason)


def _missing(entry: Entry, splits: Mapping[str, str], tasks: Mapping[str, str], metric: str) -> str:
    agreeing = [task for task, split in tasks.items() if splits.get(task) == split]
    if len(agreeing) == len(tasks):
        return f"a task has no {metric}"
    if any(full_name(name) in tasks and name != full_name(name) for name in entry.tasks):
        return "subsampled"
    return f"{len(agreeing)} of {len(tasks)} tasks" if agreeing else ""


def _queries(entry: Entry, task: str) -> int | None:
    """Number of queries of a task; of CQADupstackRetrieval that of its parts together."""
    parts = [entry.tasks[p] for p in cqadupstack_parts(entry.tasks)] if task == CQADUPSTACK else []
    records = [entry.tasks[task]] if task in entry.tasks else parts
    counts = [record["queries"] for record in records if "queries" in record]
    return sum(counts) if counts and len(counts) == len(records) else None


def keys_of(scores: pd.DataFrame, metric: str) -> list[Key]:
    """What was scored on tasks, whatever the seed, in order of the table.

    Parameters
    ----------
    scores
        As `scores_table` gives it.
    """
    tasks = scores[scores["split"].notna() & (scores["metric"] == metric)]
    columns = [name for name in Key._fields if name != "seed"]
    found: list[dict[str, Any]] = tasks[columns].to_dict("records")  # type: ignore[assignment]
    return list(dict.fromkeys(Key(**row) for row in found))


def measure(scores: pd.DataFrame, key: Key) -> Measured:
    """Look up a score: the mean over the seeds that measured it.

    Parameters
    ----------
    scores
        As `scores_table` gives it.
    """
    rows = of_arm(scores, key.model, key.checkpoint, key.recipe)
    rows = rows if key.seed is None else rows[rows["seed"] == key.seed]
    named = rows[(rows["metric"] == key.metric) & (rows["task"] == key.task)]
    found = (
        named[named["split"].isna()] if key.split is None else named[named["split"] == key.split]
    )
    values = found["value"].dropna().tolist()
    if not values:
        return Measured(None, reason=_reason(rows, named, key))
    return Measured(
        value=math.fsum(values) / len(values),
        seeds=len(values),
        deviation=statistics.stdev(values) if len(values) > 1 else None,
        partial=rows["seed"].nunique() - len(values),
    )


def _reason(rows: pd.DataFrame, named: pd.DataFrame, key: Key) -> str:
    reasons = [reason for reason in named["reason"] if reason]
    if reasons:
        return str(reasons[0])
    if len(named) and key.split is not None:
        return f"scored on {named['split'].iloc[0]}, not {key.split}"
    if rows["task"].str.startswith(f"{key.task}{SUBSAMPLED}").any():
        return "subsampled"
    return ""


def of_arm(scores: pd.DataFrame, model: str, checkpoint: str, recipe: str | None) -> pd.DataFrame:
    """The rows of one checkpoint, all seeds."""
    same_recipe = scores["recipe"].isna() if recipe is None else scores["recipe"] == recipe
    return scores[(scores["model"] == model) & (scores["checkpoint"] == checkpoint) & same_recipe]


def scored_tasks(entry: Entry) -> dict[str, str]:
    """Task to split, of every task an entry has a score of, in order of name.

    CQADupstackRetrieval is included only if all of its twelve parts were scored.

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
    """A task's score; of CQADupstackRetrieval the mean over its parts if it has none of its own.

    >>> entry = Entry("1b", "base", 42, {"SciFact.ndcg_at_10": 0.7}, {})
    >>> task_score(entry, "SciFact", "ndcg_at_10"), task_score(entry, "NQ", "ndcg_at_10")
    (0.7, None)
    """
    stored = entry.scores.get(f"{task}.{metric}")
    if stored is not None or task != CQADUPSTACK:
        return stored
    scores = [entry.scores.get(f"{part}.{metric}") for part in cqadupstack_parts(entry.tasks)]
    known = [score for score in scores if score is not None]
    return math.fsum(known) / len(known) if known and len(known) == len(scores) else None


def average(entry: Entry, tasks: Iterable[str], metric: str = "ndcg_at_10") -> float | None:
    """Mean over exactly these tasks, whatever else was scored; None if one has no score.

    >>> scores = {"A.ndcg_at_10": 0.5, "B.ndcg_at_10": 1.0, "C.ndcg_at_10": 0.0}
    >>> average(Entry("1b", "base", 42, scores, {}), ["A", "B"])
    0.75
    """
    scores = [task_score(entry, task, metric) for task in sorted(tasks)]
    known = [score for score in scores if score is not None]
    return sum(known) / len(known) if known and len(known) == len(scores) else None
