"""Two entries of the ledger, compared by query, as tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich.table import Table

from ettin_retrieval.ledger.entry import Entry
from ettin_retrieval.reports.documents import p_text
from ettin_retrieval.reports.significance import (
    RESAMPLES,
    Family,
    SeedSpread,
    compare_benchmarks,
    seed_spread,
)
from ettin_retrieval.reports.view import View
from ettin_retrieval.runtime.errors import InputError


def comparison(
    results: Path, expected: Path, names: tuple[str, str], metric: str, seed: int
) -> Iterator[Table | str]:
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
    entries = [_entry(view, name) for name in names]
    frames = [view.queries(entry) for entry in entries]
    scored = [set(frame["task"]) for frame in frames]
    shared = scored[0] & scored[1]
    if not shared:
        raise InputError(f"{names[0]} and {names[1]} have no task in common")
    yield f"A = {names[0]}, B = {names[1]}; {metric} in points"
    left, right = (frame[frame["task"].isin(shared)] for frame in frames)
    for family in compare_benchmarks(left, right, view.references.benchmarks, metric, seed):
        yield f"\n{family.name or 'tasks of no benchmark'}"
        yield _family_table(family)
        yield (
            "interval: bootstrap over queries; p: two-sided paired randomisation test, at most "
            f"{RESAMPLES:,} samples; Holm p: corrected for {len(family.tasks)} tasks"
        )
    for letter, tasks in zip("AB", scored, strict=True):
        if tasks - shared:
            yield f"left out, scored by {letter} only: {', '.join(sorted(tasks - shared))}"
    for entry in {entry.name: entry for entry in entries}.values():
        same = [e for e in view.entries if (e.model, e.arm) == (entry.model, entry.arm)]
        seeds = [other for other in same if other.tasks == entry.tasks]
        if len(seeds) > 1:
            numbers = ", ".join(str(other.seed) for other in seeds)
            yield f"\n{entry.model}/{entry.arm} over the seeds {numbers}, in points"
            yield _seed_table(seed_spread([view.queries(e) for e in seeds], metric))


def _entry(view: View, name: str) -> Entry:
    for entry in view.entries:
        if entry.name == name:
            return entry
    known = ", ".join(entry.name for entry in view.entries) or "no entries"
    raise InputError(f"{view.directory}: no entry {name}; there are {known}")


def _family_table(family: Family) -> Table:
    table = _table(
        "task", "queries", "A", "B", "B - A", "95% interval", "p", "Holm p", "wins/losses/ties"
    )
    for task in [*family.tasks, *([family.average] if family.average else [])]:
        interval = "one query"
        if task.interval is not None:
            interval = f"{100 * task.interval[0]:+.2f} to {100 * task.interval[1]:+.2f}"
        table.add_row(
            task.task,
            f"{task.queries:,}",
            f"{100 * task.base:.1f}",
            f"{100 * task.other:.1f}",
            f"{100 * task.difference:+.2f}",
            interval,
            p_text(task.p_value, task.at_floor),
            p_text(task.holm_p_value, task.at_floor),
            f"{task.wins}/{task.losses}/{task.ties}",
        )
    return table


def _seed_table(tasks: list[SeedSpread]) -> Table:
    table = _table("task", "mean", "standard deviation")
    for task in tasks:
        deviation = task.standard_deviation
        shown = "-" if deviation is None else f"{100 * deviation:.2f}"
        table.add_row(task.task, f"{100 * task.mean:.1f}", shown)
    return table


def _table(*columns: str) -> Table:
    """An empty table: words to the left in the first column, numbers to the right in the others."""
    table = Table(box=None, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    return table
