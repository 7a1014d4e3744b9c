"""Scores of two systems, aligned by task and query."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.tasks import CQADUPSTACK, cqadupstack_parts

Scores = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Paired:
    """Scores of two systems by query, and the weight of each query.

    Attributes
    ----------
    base, other, weights
        Shape (queries,); the weights' mean is 1.
    """

    base: Scores
    other: Scores
    weights: Scores


def paired(base: pd.DataFrame, other: pd.DataFrame, metric: str) -> dict[str, Paired]:
    """Scores of both systems by task, aligned by query, in order of name."""
    left, right = (
        scores_by_task(base, metric, "the first"),
        scores_by_task(other, metric, "the second"),
    )
    require_same(set(left), set(right), "task", "the comparison")
    for task in left:
        require_same(set(left[task].index), set(right[task].index), "query", task)
    return {
        task: Paired(left[task].to_numpy(), right[task].to_numpy(), np.ones(len(left[task])))
        for task in left
    }


def folded(tasks: dict[str, Paired]) -> dict[str, Paired]:
    """The twelve parts of CQADupstackRetrieval as that task; the others as they are."""
    parts = cqadupstack_parts(tasks)
    if not parts:
        return tasks
    others = {task: pairs for task, pairs in tasks.items() if task not in parts}
    return dict(sorted({**others, CQADUPSTACK: together([tasks[p] for p in parts])}.items()))


def together(tasks: list[Paired]) -> Paired:
    """Queries of several tasks as one task, in which each of them counts equally.

    Of N queries in T tasks, those of a task with n are scaled by N / (T n).
    """
    queries = sum(len(pairs.base) for pairs in tasks)
    scales = [queries / (len(tasks) * len(pairs.base)) for pairs in tasks]
    return Paired(
        np.concatenate([pairs.base for pairs in tasks]),
        np.concatenate([pairs.other for pairs in tasks]),
        np.concatenate([s * pairs.weights for s, pairs in zip(scales, tasks, strict=True)]),
    )


def scores_by_task(frame: pd.DataFrame, metric: str, which: str) -> dict[str, pd.Series]:
    """Scores by query id for each task, both in order of name."""
    for column in ("task", "query_id", metric):
        if column not in frame:
            columns = ", ".join(frame.columns)
            raise InputError(f"{which} system has no column {column!r}; it has {columns}")
    if frame[metric].isna().any():
        row = frame.index[frame[metric].isna()][0]
        where = f"{frame['task'][row]}, query {frame['query_id'][row]!r}"
        raise InputError(f"{which} system has no {metric} for {where}")
    repeated = frame.duplicated(["task", "query_id"])
    if repeated.any():
        task, query = frame.loc[repeated, ["task", "query_id"]].iloc[0]
        raise InputError(f"{which} system has query {query!r} of {task} twice")
    ordered = frame.sort_values(["task", "query_id"])
    return {
        str(task): rows.set_index("query_id")[metric].astype("float64")
        for task, rows in ordered.groupby("task", sort=True)
    }


def require_same(left: set[str], right: set[str], kind: str, where: str) -> None:
    if left == right:
        return
    only, which = (left - right, "first") if left - right else (right - left, "second")
    more = f" (and {len(left ^ right) - 1} more)" if len(left ^ right) > 1 else ""
    raise InputError(
        f"{where}: {kind} {min(only)!r} was scored by the {which} only{more}; paired tests need "
        "the same tasks and queries on both sides"
    )
