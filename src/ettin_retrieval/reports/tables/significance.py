"""TODO: reports.tables.significance."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from ettin_retrieval.ledger.entry import Entry
from ettin_retrieval.ledger.store import read_queries
from ettin_retrieval.reports.documents import Document, Record, Table, p_text, points, signed
from ettin_retrieval.reports.tables.layout import NONE, Ledger, model_order

if TYPE_CHECKING:
    from ettin_retrieval.reports.significance import Family, TaskComparison

SIGNIFICANCE_FIELDS = (
    "model", "recipe", "seed", "benchmark", "task", "metric", "queries", "base", "other",
    "difference", "interval_low", "interval_high", "p_value", "holm_p_value", "exact", "wins",
    "losses", "ties",
)  # fmt: skip

SIGNIFICANCE_COLUMNS = (
    "Task", "Queries", "Base", "Fine-tuned", "Difference", "95% interval", "p", "Holm p",
    "Wins/losses/ties",
)  # fmt: skip


def significance_document(ledger: Ledger) -> Document:
    """One table per model, recipe, seed and benchmark that has both checkpoints."""
    # scipy takes a second to import, and no other table needs it.
    from ettin_retrieval.reports.significance import RESAMPLES

    tables, records = [], []
    for tuned, family in comparisons(ledger):
        shown = [*family.tasks, *([family.average] if family.average else [])]
        for task in shown:
            low, high = task.interval or (None, None)
            content: Record = {"model": tuned.model, "recipe": tuned.recipe, "seed": tuned.seed}
            content |= asdict(task) | {"benchmark": family.name or None}
            content |= {"interval_low": low, "interval_high": high}
            records.append({name: content[name] for name in SIGNIFICANCE_FIELDS})
        caption = f"Model {tuned.model}, recipe {tuned.recipe}, seed {tuned.seed}"
        caption += f", {_extent(ledger, family)}: fine-tuned minus base, nDCG@10"
        rows = tuple(_significance_row(task) for task in shown)
        tables.append(Table(caption, SIGNIFICANCE_COLUMNS, rows))
    return Document(
        name="significance",
        title="Fine-tuned against base, paired by query",
        tables=tuple(tables),
        records=tuple(records),
        fields=SIGNIFICANCE_FIELDS,
        notes=(
            "Scores are in points (x100). Interval: percentile bootstrap over queries. p: "
            f"two-sided paired randomisation test with {RESAMPLES:,} drawn sign patterns, or all "
            "of them where there are fewer (`exact` in the CSV); the least that drawing can tell "
            "is 1 in 10,000, given as ≤. Holm p: corrected over the tasks of a table. Wins, "
            "losses and ties count the queries on which the fine-tuned checkpoint scores higher, "
            "lower and the same.",
            "CQADupstackRetrieval is one task, the mean over its twelve forums, and in the "
            "average every task counts the same: a query is weighed by how few its forum or its "
            "task has. The average is no part of Holm's family.",
            "All of these say how far the queries vary; how far training seeds vary is in the "
            "table of tasks.",
        ),
    )


def _extent(ledger: Ledger, family: Family) -> str:
    """The benchmark, and how much of it was scored.

    The average of some tasks is named as what it is.
    """
    benchmarks, scored = ledger.references.benchmarks, len(family.tasks)
    if not family.name:
        return "tasks of no benchmark"
    whole = len(benchmarks[family.name])
    return family.name if scored == whole else f"{scored} of {whole} tasks of {family.name}"


def comparisons(ledger: Ledger) -> list[tuple[Entry, Family]]:
    """Fine-tuned against base, over the tasks that both have, a family for each benchmark."""
    from ettin_retrieval.reports.significance import compare_benchmarks

    compared = []
    for base, tuned in pairs(ledger.entries):
        frames = [read_queries(ledger.directory, entry) for entry in (base, tuned)]
        shared = set(frames[0]["task"]) & set(frames[1]["task"])
        left, right = (frame[frame["task"].isin(shared)] for frame in frames)
        families = compare_benchmarks(left, right, ledger.references.benchmarks)
        compared += [(tuned, family) for family in families]
    return compared


def pairs(entries: list[Entry]) -> list[tuple[Entry, Entry]]:
    """Each fine-tuned checkpoint after the base of its model and seed; by size, recipe, seed."""
    bases = {(e.model, e.seed): e for e in entries if e.checkpoint == "base"}
    return [
        (bases[tuned.model, tuned.seed], tuned)
        for tuned in sorted(entries, key=lambda e: (model_order(e.model), e.arm, e.seed))
        if tuned.checkpoint == "finetuned" and (tuned.model, tuned.seed) in bases
    ]


def _significance_row(task: TaskComparison) -> tuple[str, ...]:
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
