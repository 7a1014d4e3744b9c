"""Fine-tuned against base, paired by query."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ettin_retrieval.ledger.entry import Entry
from ettin_retrieval.reports.documents import NONE, Document, Table, notes, p_text, points, signed
from ettin_retrieval.reports.significance import (
    AVERAGE,
    RESAMPLES,
    TaskComparison,
    compare_benchmarks,
)
from ettin_retrieval.reports.view import Shares, View, cut_shares

FIELDS = (
    "model", "recipe", "seed", "benchmark", "task", "metric", "queries", "base", "other",
    "difference", "interval_low", "interval_high", "p_value", "holm_p_value", "exact", "wins",
    "losses", "ties", "max_query_length", "max_passage_length",
)  # fmt: skip

COLUMNS = (
    "Task", "Queries", "Base", "Fine-tuned", "Difference", "95% interval", "p", "Holm p",
    "Wins/losses/ties",
)  # fmt: skip


def significance_document(view: View) -> Document:
    """One table for each model, recipe, seed and benchmark that has both checkpoints."""
    tables: list[Table] = []
    records: list[dict[str, Any]] = []
    benchmarks = view.references.benchmarks
    for base, tuned in view.pairs():
        run = {"model": tuned.model, "recipe": tuned.recipe, "seed": tuned.seed}
        run |= dict(zip(("max_query_length", "max_passage_length"), tuned.lengths, strict=True))
        families = compare_benchmarks(view.queries(base), view.queries(tuned), benchmarks)
        for name, tasks in families.items():
            extent = "tasks of no benchmark"
            if name:
                scored, whole = sum(t.task != AVERAGE for t in tasks), len(benchmarks[name])
                extent = name if scored == whole else f"{scored} of {whole} tasks of {name}"
            caption = f"Model {tuned.model}, recipe {tuned.recipe}, seed {tuned.seed}, {extent}"
            caption += ": fine-tuned minus base, nDCG@10"
            rows = [_row(task, cut_of(view, tuned, task.task, name)) for task in tasks]
            tables.append(Table(caption, COLUMNS, tuple(rows)))
            records += [run | {"benchmark": name or None} | _record(task) for task in tasks]
    return Document(
        name="significance",
        title="Fine-tuned against base, paired by query",
        tables=tuple(tables),
        records=tuple(records),
        fields=FIELDS,
        notes=notes("significance", resamples=RESAMPLES, unlike=view.unlike_pairs()),
    )


def cut_of(view: View, entry: Entry, task: str, benchmark: str) -> Shares:
    """Shares of cut texts of a task, or the highest of those that an average is over."""
    tasks = view.references.benchmarks.get(benchmark, entry.tasks) if task == AVERAGE else [task]
    return cut_shares([entry], tasks)


def _row(task: TaskComparison, cut: Shares) -> tuple[str, ...]:
    interval = NONE
    if task.interval is not None:
        interval = f"[{signed(task.interval[0])}, {signed(task.interval[1])}]"
    return (
        f"{task.task}{cut}",
        str(task.queries),
        points(task.base),
        points(task.other),
        signed(task.difference),
        interval,
        p_text(task.p_value, task.at_floor),
        p_text(task.holm_p_value, task.at_floor),
        f"{task.wins}/{task.losses}/{task.ties}",
    )


def _record(task: TaskComparison) -> dict[str, Any]:
    low, high = task.interval or (None, None)
    return asdict(task) | {"interval_low": low, "interval_high": high}
