"""Every score in the ledger: mean and standard deviation over seeds."""

from __future__ import annotations

from collections.abc import Iterator

from ettin_retrieval.ledger.store import QUERY_METRICS
from ettin_retrieval.reports.documents import Document, Table, notes
from ettin_retrieval.reports.measured import EVALUATED, Check
from ettin_retrieval.reports.references import Key
from ettin_retrieval.reports.view import (
    BM25,
    METRIC_NAMES,
    View,
    counted,
    model_order,
    scored_tasks,
)

FIELDS = (
    "model", "checkpoint", "recipe", "task", "split", "queries", "metric", "mean", "deviation",
    "seeds", "partial_seeds", *EVALUATED,
)  # fmt: skip


def tasks_document(view: View) -> Document:
    """One table for each model and recipe."""
    tables = []
    # The scores of a base checkpoint are in the table of each recipe, but each is one number.
    measured: dict[Key, Check] = {}
    for model in sorted({entry.model for entry in view.entries}, key=model_order):
        own = [entry for entry in view.entries if entry.model == model and scored_tasks(entry)]
        recipes: set[str | None] = {entry.recipe for entry in own if entry.recipe} or {None}
        for recipe in sorted(recipes, key=str):
            rows = _rows(view, model, recipe)
            measured |= {c.key: c for row in rows for c in row if c.measured.value is not None}
            seeds = {entry.seed for entry in own if entry.recipe in (None, recipe)}
            by = f", recipe {recipe}" if recipe else ""
            tables.append(_table(f"Model {model}{by}, {counted(len(seeds))}", model, rows))
    return Document(
        name="tasks",
        title="Every score in the ledger",
        tables=tuple(tables),
        records=tuple(
            check.record() | {"mean": check.measured.value, "queries": _queries(view, check.key)}
            for check in measured.values()
        ),
        fields=FIELDS,
        notes=notes("tasks"),
    )


def _rows(view: View, model: str, recipe: str | None) -> list[list[Check]]:
    """For each task and metric base and fine-tuned by one recipe; BM25 is not trained."""
    arms = [("base", None)] if model == BM25 else [("base", None), ("finetuned", recipe)]
    tasks = {
        task: split
        for entry in view.entries
        if entry.model == model and entry.recipe in (None, recipe)
        for task, split in scored_tasks(entry).items()
    }
    return [
        [view.check(Key(model, *arm, task, split, m)) for m in QUERY_METRICS for arm in arms]
        for task, split in sorted(tasks.items(), key=lambda item: item[0].casefold())
    ]


def _table(caption: str, model: str, rows: list[list[Check]]) -> Table:
    kinds = ("",) if model == BM25 else (" base", " fine-tuned", " difference")
    columns = [f"{METRIC_NAMES[metric]}{kind}" for metric in QUERY_METRICS for kind in kinds]
    cells = tuple((row[0].key.task, str(row[0].key.split), *_cells(row)) for row in rows)
    return Table(caption, ("Task", "Split", *columns), cells, labels=2)


def _cells(row: list[Check]) -> Iterator[str]:
    for previous, check in zip([row[0], *row], row, strict=False):
        yield str(check.measured)
        if check.key.checkpoint == "finetuned":
            yield check.measured.improvement(previous.measured)


def _queries(view: View, key: Key) -> int | None:
    entries = [e for e in view.entries if e.model == key.model and key.task in scored_tasks(e)]
    counts = [entry.tasks[key.task].get("queries") for entry in entries]
    return next((count for count in counts if count is not None), None)
