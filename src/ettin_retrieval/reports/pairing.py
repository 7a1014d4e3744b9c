"""Scores of two systems, aligned by task and query."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.tasks import CQADUPSTACK, cqadupstack_parts

Scores = npt.NDArray[np.float64]

Runs = pd.DataFrame | Sequence[pd.DataFrame]
"""A system's scores by query (columns task, query_id and metrics): one frame, or one per seed."""


@dataclass(frozen=True)
class Stratum:
    """Queries that were drawn together: those of a task, or of a forum of CQADupstack."""

    name: str
    base: Scores  # shape (queries, seeds of the one)
    other: Scores  # shape (queries, seeds of the other)
    share: float = 1.0  # of the task's mean


Pairs = tuple[Stratum, ...]
"""A task, whose score is the mean of its strata's means, weighted by their shares (sum 1)."""


def paired(base: Runs, other: Runs, metric: str) -> dict[str, Pairs]:
    """Scores of both systems by task, aligned by query, both in order of name."""
    left, right = _by_seed(base, metric, "the first"), _by_seed(other, metric, "the second")
    require_same(left.iloc[:, 0], right.iloc[:, 0], "the comparison")
    theirs = dict(iter(right.groupby("task")))
    return {
        str(task): (Stratum(str(task), rows.to_numpy(), theirs[task].to_numpy()),)
        for task, rows in left.groupby("task")
    }


def folded(tasks: dict[str, Pairs]) -> dict[str, Pairs]:
    """The twelve parts of CQADupstackRetrieval as that task; the others as they are."""
    parts = cqadupstack_parts(tasks)
    if not parts:
        return tasks
    others = {task: pairs for task, pairs in tasks.items() if task not in parts}
    return dict(sorted({**others, CQADUPSTACK: together(tasks[p] for p in parts)}.items()))


def together(tasks: Iterable[Pairs]) -> Pairs:
    """Several tasks as one whose mean is the mean of theirs: each of them counts equally."""
    listed = list(tasks)
    return tuple(replace(s, share=s.share / len(listed)) for pairs in listed for s in pairs)


def _by_seed(runs: Runs, metric: str, which: str) -> pd.DataFrame:
    """A column per seed, a row per task and query in order of both."""
    frames = [runs] if isinstance(runs, pd.DataFrame) else list(runs)
    names = [which] if len(frames) == 1 else [f"{which}'s seed {n}" for n in range(len(frames))]
    scores = [scores_of(f, metric, name) for f, name in zip(frames, names, strict=True)]
    for one in scores[1:]:
        require_same(scores[0], one, f"the seeds of {which}")
    return pd.concat(scores, axis=1)


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
