"""Fine-tuned against base, paired by query."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from ettin_retrieval.ledger.entry import Entry
from ettin_retrieval.reports.documents import NONE, Document, Record, Table, p_text, points, signed
from ettin_retrieval.reports.significance import (
    RESAMPLES,
    Family,
    TaskComparison,
    compare_benchmarks,
)
from ettin_retrieval.reports.view import View

FIELDS = (
    "model", "recipe", "seed", "benchmark", "task", "metric", "queries", "base", "other",
    "difference", "interval_low", "interval_high", "p_value", "holm_p_value", "exact", "wins",
    "losses", "ties",
)  # fmt: skip

COLUMNS = (
    "Task", "Queries", "Base", "Fine-tuned", "Difference", "95% interval", "p", "Holm p",
    "Wins/losses/ties",
)  # fmt: skip

NOTES = (
    "Scores are in points (x100). Interval: percentile bootstrap over queries. p: two-sided paired "
    f"randomisation test with {RESAMPLES:,} random sign patterns, or all of them if there are "
    "fewer (`exact` in the CSV); the lowest p that random patterns can show is 1 in 10,000, given "
    "as ≤. Holm p: corrected over the tasks of a table. Wins, losses and ties count the queries on "
    "which the fine-tuned checkpoint scores higher, lower and the same.",
    "CQADupstackRetrieval is one task, the mean over its twelve forums, and every task counts "
    "equally in the average: a query has the more weight, the fewer its forum or task has. The "
    "average does not belong to Holm's family.",
    "These figures show how queries vary; the table of tasks shows how training seeds vary.",
)


def significance_document(view: View) -> Document:
    """One table for each model, recipe, seed and benchmark that has both checkpoints."""
    tables, records = [], []
    for tuned, family in comparisons(view):
        shown = [*family.tasks, *([family.average] if family.average else [])]
        records += [_record(tuned, family, task) for task in shown]
        caption = f"Model {tuned.model}, recipe {tuned.recipe}, seed {tuned.seed}"
        caption += f", {extent(view, family)}: fine-tuned minus base, nDCG@10"
        tables.append(Table(caption, COLUMNS, tuple(map(_row, shown))))
    return Document(
        name="significance",
        title="Fine-tuned against base, paired by query",
        tables=tuple(tables),
        records=tuple(records),
        fields=FIELDS,
        notes=NOTES,
    )


def comparisons(view: View) -> Iterator[tuple[Entry, Family]]:
    """Fine-tuned against base on the tasks both have, one family per benchmark."""
    for base, tuned in view.pairs():
        frames = [view.queries(entry) for entry in (base, tuned)]
        shared = set(frames[0]["task"]) & set(frames[1]["task"])
        left, right = (frame[frame["task"].isin(shared)] for frame in frames)
        for family in compare_benchmarks(left, right, view.references.benchmarks):
            yield tuned, family


def extent(view: View, family: Family) -> str:
    """The benchmark, and how much of it was scored."""
    if not family.name:
        return "tasks of no benchmark"
    scored, whole = len(family.tasks), len(view.references.benchmarks[family.name])
    return family.name if scored == whole else f"{scored} of {whole} tasks of {family.name}"


def _row(task: TaskComparison) -> tuple[str, ...]:
    interval = NONE
    if task.interval is not None:
        interval = f"[{signed(task.interval[0])}, {signed(task.interval[1])}]"
    return (
        task.task,
        str(task.queries),
        points(task.base),
        points(task.other),
        signed(task.difference),
        interval,
        p_text(task.p_value, task.at_floor),
        p_text(task.holm_p_value, task.at_floor),
        f"{task.wins}/{task.losses}/{task.ties}",
    )


def _record(tuned: Entry, family: Family, task: TaskComparison) -> Record:
    low, high = task.interval or (None, None)
    content = asdict(task) | {
        "model": tuned.model,
        "recipe": tuned.recipe,
        "seed": tuned.seed,
        "benchmark": family.name or None,
        "interval_low": low,
        "interval_high": high,
    }
    return {name: content[name] for name in FIELDS}
