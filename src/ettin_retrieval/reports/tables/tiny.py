"""The offline world: model tiny, base against fine-tuned, and against the recorded scores."""

from __future__ import annotations

from typing import Any

from ettin_retrieval.ledger.table import Key, Measured
from ettin_retrieval.reports.documents import NONE, Document, Table, improved, points
from ettin_retrieval.reports.references import TINY, Expected, judge
from ettin_retrieval.reports.view import BM25, METRIC_NAMES, View, not_run

FIELDS = (
    "model", "checkpoint", "recipe", "seed", "task", "split", "metric", "measured", "recorded",
    "tolerance", "difference", "verdict",
)  # fmt: skip

COLUMNS = (
    "Task", "Metric", "Base", "Fine-tuned", "Recorded base", "Recorded fine-tuned", "Verdict base",
    "Verdict fine-tuned", "BM25",
)  # fmt: skip

NOTES = (
    "Scores are in points (x100), the improvement over base in parentheses. Verdicts are taken at "
    "full precision against expected/recorded.yaml: scores that look equal to one decimal can "
    "differ.",
    "The collection is generated. These scores show that the pipeline works and repeats; they say "
    "nothing about real retrieval.",
)


def tiny_document(view: View) -> Document:
    """One table for each recipe and seed."""
    recorded = {value.key: value for value in view.references.recorded}
    tables = []
    # The base checkpoint is in the table of each recipe, but it is one number.
    records: dict[Key, dict[str, Any]] = {}
    for recipe, seed in _runs(view):
        rows = []
        for task, split, metric in _rows(view):
            base = Key(TINY, "base", None, task, split, metric, seed)
            keys = (base, base._replace(checkpoint="finetuned", recipe=recipe))
            bm25 = base._replace(model=BM25, seed=None)
            scores = {key: view.measured(key) for key in (*keys, bm25)}
            for key, score in scores.items():
                if key != bm25 or score.value is not None:
                    records[key] = _record(key, score, recorded.get(key))
            known = [recorded.get(key) for key in keys]
            cells = _cells([scores[key] for key in keys], known, scores[bm25])
            rows.append(("Average" if split is None else task, METRIC_NAMES[metric], *cells))
        caption = f"Model tiny, recipe {recipe}, seed {seed}"
        tables.append(Table(caption, COLUMNS, tuple(rows), labels=2))
    return Document(
        name=TINY,
        title="The offline world: model tiny on the generated collection",
        tables=tuple(tables),
        records=tuple(records.values()),
        fields=FIELDS,
        notes=NOTES,
    )


def _runs(view: View) -> list[tuple[str, int]]:
    """Recipe and seed of every fine-tuned tiny encoder that was measured or recorded."""
    measured = {(e.recipe, e.seed) for e in view.entries if e.model == TINY}
    keys = [value.key for value in view.references.recorded]
    recorded = {(key.recipe, key.seed) for key in keys if key.model == TINY}
    return sorted((r, s) for r, s in measured | recorded if r is not None and s is not None)


def _rows(view: View) -> list[tuple[str, str | None, str]]:
    """Task, split and metric of each row, with the guide's choice of metric, MS MARCO first."""
    scored = view.scores[(view.scores["model"] == TINY) & view.scores["split"].notna()]
    tasks = dict(view.references.benchmarks.get(TINY, {}))
    tasks |= dict(zip(scored["task"], scored["split"], strict=True))
    rows: list[tuple[str, str | None, str]] = []
    for task in sorted(tasks, key=lambda task: ("MSMARCO" not in task, task)):
        metrics = ("mrr_at_10", "ndcg_at_10") if "MSMARCO" in task else ("ndcg_at_10",)
        rows += [(task, tasks[task], metric) for metric in metrics]
    if TINY in view.references.benchmarks:
        rows.append((TINY, None, "ndcg_at_10"))
    return rows


def _cells(
    scores: list[Measured], recorded: list[Expected | None], bm25: Measured
) -> tuple[str, ...]:
    """Base and fine-tuned: measured, recorded, verdict; then BM25."""
    base, tuned = scores
    return (
        not_run(base) if base.value is None else points(base.value),
        not_run(tuned) if tuned.value is None else improved(tuned.value, base.value),
        *(points(each.value) if each else NONE for each in recorded),
        *(
            judge(score.value, each) if each else "not recorded"
            for score, each in zip(scores, recorded, strict=True)
        ),
        NONE if bm25.value is None else points(bm25.value),
    )


def _record(key: Key, measured: Measured, recorded: Expected | None) -> dict[str, Any]:
    difference = None
    if recorded is not None and measured.value is not None:
        difference = measured.value - recorded.value
    return {
        "model": key.model,
        "checkpoint": key.checkpoint,
        "recipe": key.recipe,
        "seed": key.seed,
        "task": key.task,
        "split": key.split,
        "metric": key.metric,
        "measured": measured.value,
        "recorded": recorded.value if recorded else None,
        "tolerance": recorded.tolerance if recorded else None,
        "difference": difference,
        "verdict": judge(measured.value, recorded) if recorded else None,
    }
