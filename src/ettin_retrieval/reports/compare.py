"""Two entries of the ledger, compared by query, as text for the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from ettin_retrieval.reports.documents import p_text
from ettin_retrieval.reports.seeds import Arm, arm_of, frames, seed_caveat
from ettin_retrieval.reports.significance import (
    RESAMPLES,
    TaskComparison,
    compare_benchmarks,
    extent,
    seed_spread,
)
from ettin_retrieval.reports.view import View
from ettin_retrieval.runtime.errors import InputError


def comparison(
    results: Path, expected: Path, names: tuple[str, str], metric: str, seed: int
) -> Iterator[str]:
    """What to print: a table per benchmark, what is not like with like, the spread over seeds.

    Parameters
    ----------
    names
        A and B: an entry such as `tiny/base-seed42`, or an arm such as `tiny/finetuned-guide`,
        which is all its seeds.
    seed
        Of the resampling.

    Raises
    ------
    InputError
        An unknown entry, or two without a task in common.
    """
    view = View.read(results, expected)
    arms = [_arm(view, name) for name in names]
    differing = view.unlike(*(arm.entries[0] for arm in arms))
    apart = [each for each in differing if each.task]
    left, right = (frames(view, arm, apart) for arm in arms)
    scored: list[set[str]] = [set(view.queries(arm.entries[0])["task"]) for arm in arms]
    if not scored[0] & scored[1]:
        raise InputError(f"{names[0]} and {names[1]} have no task in common")
    if scored[0] & scored[1] <= {each.task for each in apart}:
        raise InputError(f"{names[0]} and {names[1]} have no task with the same data: {apart[0]}")
    of = [f" ({arm.seeds})" if len(arm.entries) > 1 else "" for arm in arms]
    yield f"A = {names[0]}{of[0]}, B = {names[1]}{of[1]}; {metric} in points"
    for difference in differing:
        a, b = difference.values
        if difference.task:
            yield f"left out, other data: {difference.name} (A {a}, B {b})"
        else:
            yield (
                f"not like with like: {difference.name} (A {a}, B {b}); the differences below are "
                "also of this"
            )
    benchmarks = view.references.benchmarks
    for name, tasks in compare_benchmarks(left, right, benchmarks, metric, seed).items():
        yield f"\n{extent(name, tasks, benchmarks.get(name, ()))}"
        yield _table(tasks)
    yield _key(tasks[0], any(len(arm.entries) > 1 for arm in arms))
    for letter, own in zip("AB", scored, strict=True):
        if only := own - (scored[0] & scored[1]):
            yield f"left out, scored by {letter} only: {', '.join(sorted(only))}"
    for name, arm in dict(zip(names, arms, strict=True)).items():
        yield from (f"{name}: left out: {why}" for why in arm.left_out)
        if len(arm.entries) == 1:
            yield from _one_seed(view, arm, metric)
    for arm in {arm.entries[0].arm: arm for arm in arms}.values():
        yield from _spread(view, arm, metric)


def _arm(view: View, name: str) -> Arm:
    """An entry by its name, or all seeds of an arm."""
    for entry in view.entries:
        if entry.name == name:
            return Arm((entry,))
    if seeds := [entry for entry in view.entries if f"{entry.model}/{entry.arm}" == name]:
        return arm_of(view, seeds)
    known = ", ".join(entry.name for entry in view.entries) or "no entries"
    raise InputError(
        f"{view.directory}: no entry {name}; there are {known} (without -seedN: all seeds)"
    )


def _key(task: TaskComparison, seeds: bool) -> str:
    """What the columns are."""
    over = "seeds, and over queries within each task" if seeds else "queries within each task"
    return (
        f"\ninterval: bootstrap over {over}; the tasks are fixed\n"
        f"p: two-sided paired randomisation test over queries, at most {RESAMPLES:,} samples\n"
        f"Holm p: over all {task.holm_tasks} tasks above, one family; a task of two benchmarks "
        "counts once"
    )


def _one_seed(view: View, arm: Arm, metric: str) -> Iterator[str]:
    """Where a side is one seed: that seed noise is not in it, or which other seeds there are."""
    [entry] = arm.entries
    name = f"{entry.model}/{entry.arm}"
    all_seeds = arm_of(view, [e for e in view.entries if f"{e.model}/{e.arm}" == name])
    if len(all_seeds.entries) == 1:
        yield from filter(None, [seed_caveat(view, arm, metric)])
    else:
        yield (
            f"{entry.name} is one seed of {len(all_seeds.entries)}: seed noise is in no interval; "
            f"name {name} to compare all"
        )


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


def _spread(view: View, arm: Arm, metric: str) -> Iterator[str]:
    """The spread over all seeds that were measured alike, if there are several."""
    of = arm.entries[0]
    same = [e for e in view.entries if (e.model, e.arm) == (of.model, of.arm)]
    whole = arm_of(view, same)
    if len(arm.entries) == 1 and whole.left_out:
        yield f"\n{of.model}/{of.arm}: left out of the spread: {'; '.join(whole.left_out)}"
    if len(whole.entries) > 1:
        yield f"\n{of.model}/{of.arm} over the {whole.seeds}, in points"
        spread = 100 * seed_spread(frames(view, whole), metric)
        cells = {
            "mean": spread["mean"].map("{:.1f}".format),
            "standard deviation": spread["deviation"].map("{:.2f}".format),
        }
        yield _text(pd.DataFrame(cells))


def _text(cells: pd.DataFrame) -> str:
    """Every row and column, whatever the width of the terminal."""
    # pandas puts two spaces before cells, but one before titles.
    titles = [f" {title}" for title in cells]
    return cells.rename_axis(index=None, columns="task").to_string(header=titles)
