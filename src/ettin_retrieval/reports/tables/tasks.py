"""Every score in the ledger: mean and standard deviation over seeds."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ettin_retrieval.ledger.store import QUERY_METRICS
from ettin_retrieval.ledger.table import Key, Measured
from ettin_retrieval.reports.documents import NONE, Document, Table, signed
from ettin_retrieval.reports.view import (
    BM25,
    METRIC_NAMES,
    View,
    counted,
    mean_text,
    models_in_order,
)

FIELDS = (
    "model", "checkpoint", "recipe", "task", "split", "queries", "metric", "mean", "deviation",
    "seeds", "partial_seeds",
)  # fmt: skip

NOTE = (
    "Scores are in points (x100): the mean over seeds and, with several, the standard deviation "
    "over them."
)


def tasks_document(view: View) -> Document:
    """One table for each model and recipe."""
    tables = []
    # The scores of a base checkpoint are in the table of each recipe.
    records: dict[Key, dict[str, Any]] = {}
    for model in models_in_order(entry.model for entry in view.entries):
        scores = view.scores[(view.scores["model"] == model) & view.scores["split"].notna()]
        for recipe in sorted(scores["recipe"].dropna().unique()) or [None]:
            rows = scores[scores["recipe"].isna() | (scores["recipe"] == recipe)]
            tables.append(_table(view, model, recipe, rows, records))
    return Document(
        name="tasks",
        title="Every score in the ledger",
        tables=tuple(tables),
        records=tuple(records.values()),
        fields=FIELDS,
        notes=(NOTE,),
    )


def _table(
    view: View,
    model: str,
    recipe: str | None,
    scores: pd.DataFrame,
    records: dict[Key, dict[str, Any]],
) -> Table:
    """Base against fine-tuned by one recipe; what is not trained has one column per metric."""
    arms: list[tuple[str, str | None]] = [("base", None)]
    if model != BM25:
        arms.append(("finetuned", recipe))
    rows = []
    tasks = dict(zip(scores["task"], scores["split"], strict=True))
    for task, split in sorted(tasks.items(), key=lambda item: item[0].casefold()):
        cells = [task, split]
        queries = scores.loc[scores["task"] == task, "queries"].dropna()
        for metric in QUERY_METRICS:
            keys = [Key(model, checkpoint, of, task, split, metric) for checkpoint, of in arms]
            measured = [view.measured(key) for key in keys]
            for key, score in zip(keys, measured, strict=True):
                if score.value is not None:
                    count = int(queries.iloc[0]) if len(queries) else None
                    records[key] = _record(key, score, count)
            cells += [mean_text(score) for score in measured]
            if len(measured) == 2:
                cells.append(_difference(*measured))
        rows.append(tuple(cells))
    kinds = (" base", " fine-tuned", " difference") if len(arms) == 2 else ("",)
    columns = [f"{METRIC_NAMES[metric]}{kind}" for metric in QUERY_METRICS for kind in kinds]
    by = f", recipe {recipe}" if recipe else ""
    caption = f"Model {model}{by}, {counted(scores['seed'].nunique())}"
    return Table(caption, ("Task", "Split", *columns), tuple(rows), labels=2)


def _difference(base: Measured, tuned: Measured) -> str:
    if base.value is None or tuned.value is None:
        return NONE
    return signed(tuned.value - base.value)


def _record(key: Key, score: Measured, queries: int | None) -> dict[str, Any]:
    return {
        "model": key.model,
        "checkpoint": key.checkpoint,
        "recipe": key.recipe,
        "task": key.task,
        "split": key.split,
        "queries": queries,
        "metric": key.metric,
        "mean": score.value,
        "deviation": score.deviation,
        "seeds": score.seeds,
        "partial_seeds": score.partial,
    }
