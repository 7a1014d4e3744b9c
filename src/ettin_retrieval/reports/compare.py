"""Two entries of the ledger, compared by query, as text for the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from ettin_retrieval.ledger.entry import Entry, data_of, in_words
from ettin_retrieval.reports.documents import p_text
from ettin_retrieval.reports.significance import (
    AVERAGE,
    RESAMPLES,
    TaskComparison,
    compare_benchmarks,
    seed_spread,
)
from ettin_retrieval.reports.view import View
from ettin_retrieval.runtime.errors import InputError


def comparison(
    results: Path, expected: Path, names: tuple[str, str], metric: str, seed: int
) -> Iterator[str]:
    """What to print: a table per benchmark, tasks that one entry lacks, the spread over seeds.

    Parameters
    ----------
    names
        Entries A and B, such as `tiny/base-seed42`.
    seed
        Of the resampling.

    Raises
    ------
    InputError
        An unknown entry, or two without a task in common.
    """
    view = View.read(results, expected)
    entries = {entry.name: entry for entry in view.entries}
    for name in names:
        if name not in entries:
            known = ", ".join(entries) or "no entries"
            raise InputError(f"{results}: no entry {name}; there are {known}")
    left, right = (view.queries(entries[name]) for name in names)
    scored = set(left["task"]), set(right["task"])
    shared = scored[0] & scored[1]
    if not shared:
        raise InputError(f"{names[0]} and {names[1]} have no task in common")
    yield f"A = {names[0]}, B = {names[1]}; {metric} in points"
    cuts = [in_words(entries[name].lengths) for name in names]
    if cuts[0] != cuts[1]:
        yield (
            f"not like with like: A cuts queries and passages at {cuts[0]}, B at {cuts[1]}; the "
            "differences below are of encoders and of lengths"
        )
    families = compare_benchmarks(left, right, view.references.benchmarks, metric, seed)
    for benchmark, tasks in families.items():
        yield f"\n{benchmark or 'tasks of no benchmark'}"
        yield _table(tasks)
        yield (
            "interval: bootstrap over queries; p: two-sided paired randomisation test, at most "
            f"{RESAMPLES:,} samples; Holm p: corrected for "
            f"{sum(task.task != AVERAGE for task in tasks)} tasks"
        )
    for letter, own in zip("AB", scored, strict=True):
        if own - shared:
            yield f"left out, scored by {letter} only: {', '.join(sorted(own - shared))}"
    for name in dict.fromkeys(names):
        yield from _spread(view, entries[name], metric)


def _table(tasks: list[TaskComparison]) -> str:
    rows = [
        {
            "task": task.task,
            "queries": f"{task.queries:,}",
            "A": f"{100 * task.base:.1f}",
            "B": f"{100 * task.other:.1f}",
            "B - A": f"{100 * task.difference:+.2f}",
            "95% interval": " to ".join(f"{100 * bound:+.2f}" for bound in task.interval or ())
            or "one query",
            "p": p_text(task.p_value, task.at_floor),
            "Holm p": p_text(task.holm_p_value, task.at_floor),
            "wins/losses/ties": f"{task.wins}/{task.losses}/{task.ties}",
        }
        for task in tasks
    ]
    return _text(pd.DataFrame(rows).set_index("task"))


def _spread(view: View, entry: Entry, metric: str) -> Iterator[str]:
    """The spread over all seeds of an entry that scored its tasks, if there are several."""
    same = [e for e in view.entries if (e.model, e.arm) == (entry.model, entry.arm)]
    same = [e for e in same if _data(e) == _data(entry)]
    seeds = [other for other in same if other.lengths == entry.lengths]
    if unlike := [str(other.seed) for other in same if other.lengths != entry.lengths]:
        yield f"\n{entry.model}/{entry.arm}: seeds of other lengths left out: {', '.join(unlike)}"
    if len(seeds) > 1:
        numbers = ", ".join(str(other.seed) for other in seeds)
        yield f"\n{entry.model}/{entry.arm} over the seeds {numbers}, in points"
        spread = 100 * seed_spread([view.queries(e) for e in seeds], metric)
        cells = {
            "mean": spread["mean"].map("{:.1f}".format),
            "standard deviation": spread["deviation"].map("{:.2f}".format),
        }
        yield _text(pd.DataFrame(cells))


def _data(entry: Entry) -> dict[str, dict[str, Any]]:
    return {task: data_of(record) for task, record in entry.tasks.items()}


def _text(cells: pd.DataFrame) -> str:
    """Every row and column, whatever the width of the terminal."""
    # pandas puts two spaces before cells, but one before titles.
    titles = [f" {title}" for title in cells]
    return cells.rename_axis(index=None, columns="task").to_string(header=titles)
