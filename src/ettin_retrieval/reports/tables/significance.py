"""Fine-tuned against base, paired by query, over the seeds of each."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ettin_retrieval.ledger.entry import Entry
from ettin_retrieval.reports.documents import NONE, Document, Table, notes, p_text, points, signed
from ettin_retrieval.reports.measured import Shares
from ettin_retrieval.reports.seeds import contrasts, seed_caveat
from ettin_retrieval.reports.significance import (
    AVERAGE,
    RESAMPLES,
    TaskComparison,
    compare_benchmarks,
    extent,
)
from ettin_retrieval.reports.view import View, cut_shares

FIELDS = (
    "model", "recipe", "seeds", "benchmark", "task", "metric", "queries", "base", "other",
    "difference", "interval_low", "interval_high", "p_value", "holm_p_value", "holm_tasks", "exact",
    "wins", "losses", "ties", "max_query_length", "max_passage_length",
)  # fmt: skip

COLUMNS = (
    "Task", "Queries", "Base", "Fine-tuned", "Difference", "95% interval", "p", "Holm p",
    "Wins/losses/ties",
)  # fmt: skip


def significance_document(view: View) -> Document:
    """One table for each model, recipe and benchmark that has both checkpoints."""
    tables: list[Table] = []
    records: list[dict[str, Any]] = []
    families: list[str] = []
    benchmarks = view.references.benchmarks
    found, left_out = contrasts(view)
    for contrast in found:
        before, after = contrast.queries(view)
        compared = compare_benchmarks(before, after, benchmarks)
        tuned, entries = contrast.tuned.entries[0], contrast.tuned.entries
        run = {
            "model": tuned.model,
            "recipe": tuned.recipe,
            "seeds": ", ".join(str(entry.seed) for entry in entries),
            "max_query_length": tuned.lengths[0],
            "max_passage_length": tuned.lengths[1],
        }
        for name, tasks in compared.items():
            words = extent(name, tasks, benchmarks.get(name, ()))
            caption = f"Model {tuned.model}, recipe {tuned.recipe}, {contrast.tuned.seeds}, {words}"
            caption += ": fine-tuned minus base, nDCG@10"
            rows = [_row(task, cut_of(view, list(entries), task.task, name)) for task in tasks]
            tables.append(Table(caption, COLUMNS, tuple(rows)))
            records += [run | {"benchmark": name or None} | _record(task) for task in tasks]
        if compared:
            family = {t.task: t.holm_tasks for tasks in compared.values() for t in tasks}
            families.append(
                f"{tuned.model} by {tuned.recipe}, {len(family.keys() - {AVERAGE})} tasks"
            )
    return Document(
        name="significance",
        title="Fine-tuned against base, paired by query",
        tables=tuple(tables),
        records=tuple(records),
        fields=FIELDS,
        notes=notes(
            "significance",
            resamples=RESAMPLES,
            families=families,
            left_out=left_out,
            caveats=[each for c in found if (each := seed_caveat(view, c.tuned))],
        ),
    )


def cut_of(view: View, entries: list[Entry], task: str, benchmark: str) -> Shares:
    """Shares of cut texts of a task, or the highest of those that an average is over."""
    tasks = view.references.benchmarks[benchmark] if task == AVERAGE else [task]
    return cut_shares(entries, tasks)


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
