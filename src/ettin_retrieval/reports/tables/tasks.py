"""TODO: reports.tables.tasks."""

from __future__ import annotations

from collections.abc import Sequence

from ettin_retrieval.ledger.entry import Entry
from ettin_retrieval.reports.documents import Document, Record, Table
from ettin_retrieval.reports.measure import Measured, scored_tasks
from ettin_retrieval.reports.references import Expected
from ettin_retrieval.reports.tables.guide_notes import METRIC_NAMES
from ettin_retrieval.reports.tables.layout import (
    BM25,
    Ledger,
    counted,
    difference_text,
    mean_text,
    models_in_order,
)

TASK_FIELDS = (
    "model", "checkpoint", "recipe", "task", "split", "queries", "metric", "mean", "deviation",
    "seeds", "partial_seeds",
)  # fmt: skip

TASK_METRICS = ("ndcg_at_10", "mrr_at_10")


def tasks_document(ledger: Ledger) -> Document:
    """All scores, mean and standard deviation over seeds; a table for each model and recipe."""
    tables = []
    records: dict[Expected, Record] = {}
    for model in models_in_order(entry.model for entry in ledger.entries):
        own = [entry for entry in ledger.entries if entry.model == model]
        # A model without a fine-tuned checkpoint has one table all the same.
        recipes: Sequence[str | None] = sorted({e.recipe for e in own if e.recipe is not None})
        for recipe in recipes or [None]:
            entries = [entry for entry in own if entry.recipe in (None, recipe)]
            table, told = _tasks_table(ledger, model, recipe, entries)
            tables.append(table)
            # A base checkpoint's scores are in the table of each recipe.
            records |= told
    return Document(
        name="tasks",
        title="Every score in the ledger",
        tables=tuple(tables),
        records=tuple(records.values()),
        fields=TASK_FIELDS,
        notes=(
            "Scores are in points (x100): the mean over seeds and, with several, the standard "
            "deviation over them.",
        ),
    )


def _tasks_table(
    ledger: Ledger, model: str, recipe: str | None, entries: list[Entry]
) -> tuple[Table, dict[Expected, Record]]:
    """Base against fine-tuned by one recipe; what was not trained has no second column."""
    trained = model != BM25
    checkpoints = ("base", "finetuned") if trained else ("base",)
    rows, records = [], {}
    tasks = {t: s for entry in entries for t, s in scored_tasks(entry).items()}
    for task, split in sorted(tasks.items(), key=lambda item: item[0].casefold()):
        row = [task, split]
        for metric in TASK_METRICS:
            wanted = [
                Expected(model, checkpoint, task, split, metric, 0.0, 1.0, "", None,
                         recipe=recipe if checkpoint == "finetuned" else None)
                for checkpoint in checkpoints
            ]  # fmt: skip
            scores = [ledger.measured(each) for each in wanted]
            for each, score in zip(wanted, scores, strict=True):
                if score.value is not None:
                    records[each] = _task_record(each, score, _queries(entries, task))
            row += [mean_text(score) for score in scores]
            if trained:
                row.append(difference_text(*scores))
        rows.append(tuple(row))
    kinds = (" base", " fine-tuned", " difference") if trained else ("",)
    columns = [f"{METRIC_NAMES[metric]}{kind}" for metric in TASK_METRICS for kind in kinds]
    by = f", recipe {recipe}" if recipe else ""
    caption = f"Model {model}{by}, {counted(len({entry.seed for entry in entries}))}"
    return Table(caption, ("Task", "Split", *columns), tuple(rows), labels=2), records


def _queries(entries: list[Entry], task: str) -> int | None:
    """How many queries a task has; the parts of CQADupstackRetrieval together."""
    for entry in entries:
        parts = [t for name, t in entry.tasks.items() if name.startswith("CQADupstack")]
        named = [entry.tasks[task]] if task in entry.tasks else parts
        if named and all("queries" in each for each in named):
            return sum(int(each["queries"]) for each in named)
    return None


def _task_record(wanted: Expected, score: Measured, queries: int | None) -> Record:
    return {
        "model": wanted.model,
        "checkpoint": wanted.checkpoint,
        "recipe": wanted.recipe,
        "task": wanted.task,
        "split": wanted.split,
        "queries": queries,
        "metric": wanted.metric,
        "mean": score.value,
        "deviation": score.deviation,
        "seeds": score.seeds,
        "partial_seeds": score.partial,
    }
