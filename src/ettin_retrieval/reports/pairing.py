"""Scores of two systems, aligned by task and query."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.tasks import CQADUPSTACK, cqadupstack_parts

Pairs = pd.DataFrame
"""A row per query of a task: scores `base` and `other`, and `weight`, whose mean is 1."""


def paired(base: pd.DataFrame, other: pd.DataFrame, metric: str) -> dict[str, Pairs]:
    """Scores of both systems by task, aligned by query, both in order of name."""
    left, right = scores_of(base, metric, "the first"), scores_of(other, metric, "the second")
    require_same(left, right, "the comparison")
    both = pd.DataFrame({"base": left, "other": right, "weight": 1.0})
    return {str(task): rows for task, rows in both.groupby("task")}


def folded(tasks: dict[str, Pairs]) -> dict[str, Pairs]:
    """The twelve parts of CQADupstackRetrieval as that task; the others as they are."""
    parts = cqadupstack_parts(tasks)
    if not parts:
        return tasks
    others = {task: pairs for task, pairs in tasks.items() if task not in parts}
    return dict(sorted({**others, CQADUPSTACK: together([tasks[p] for p in parts])}.items()))


def together(tasks: Sequence[Pairs]) -> Pairs:
    """Queries of several tasks as one task, in which each of them counts equally.

    Of N queries in T tasks, those of a task with n are scaled by N / (T n).
    """
    queries = sum(map(len, tasks))
    scales = [queries / (len(tasks) * len(pairs)) for pairs in tasks]
    return pd.concat(
        [p.assign(weight=scale * p["weight"]) for scale, p in zip(scales, tasks, strict=True)]
    )


def scores_of(frame: pd.DataFrame, metric: str, which: str) -> pd.Series:
    """One system's scores by task and query id, in order of both.

    Raises
    ------
    InputError
        A column or a score is missing, or a query is given twice.
    """
    for column in ("task", "query_id", metric):
        if column not in frame:
            columns = ", ".join(frame.columns)
            raise InputError(f"{which} system has no column {column!r}; it has {columns}")
    scores = frame.set_index(["task", "query_id"])[metric].sort_index()
    if scores.isna().any():
        task, query = scores.index[scores.isna()][0]
        raise InputError(f"{which} system has no {metric} for {task}, query {query!r}")
    if scores.index.has_duplicates:
        task, query = scores.index[scores.index.duplicated()][0]
        raise InputError(f"{which} system has query {query!r} of {task} twice")
    return scores.astype("float64")


def require_same(left: pd.Series, right: pd.Series, where: str) -> None:
    """Refuse systems that were not scored on the same tasks and queries, naming the first."""
    if left.index.equals(right.index):
        return
    ours, theirs = (set(scores.index.unique("task")) for scores in (left, right))
    kind = "task"
    if ours == theirs:
        kind, where = "query", left.index.symmetric_difference(right.index)[0][0]
        ours, theirs = (set(scores[where].index) for scores in (left, right))
    only, which = (ours - theirs, "first") if ours - theirs else (theirs - ours, "second")
    more = f" (and {len(ours ^ theirs) - 1} more)" if len(ours ^ theirs) > 1 else ""
    raise InputError(
        f"{where}: {kind} {min(only)!r} was scored by the {which} only{more}; paired tests need "
        "the same tasks and queries on both sides"
    )
