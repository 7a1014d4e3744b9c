"""The offline world: model tiny, base against fine-tuned, and against the recorded scores."""

from __future__ import annotations

from ettin_retrieval.reports.documents import Document, Table, notes, points
from ettin_retrieval.reports.measured import EVALUATED, Check
from ettin_retrieval.reports.references import Key
from ettin_retrieval.reports.view import BM25, METRIC_NAMES, TINY, View, scored_tasks

FIELDS = (
    "model", "checkpoint", "recipe", "seed", "task", "split", "metric", "measured", "recorded",
    "tolerance", "difference", "verdict", *EVALUATED,
)  # fmt: skip

COLUMNS = (
    "Task", "Metric", "Base", "Fine-tuned", "Recorded base", "Recorded fine-tuned", "Verdict base",
    "Verdict fine-tuned", "BM25",
)  # fmt: skip


def tiny_document(view: View) -> Document:
    """One table for each recipe and seed."""
    recorded = {value.key: value for value in view.references.recorded}
    tables = []
    # The base checkpoint is in the table of each recipe, but it is one number.
    records: dict[Key, Check] = {}
    for recipe, seed in _runs(view):
        rows = []
        for task, split, metric in _rows(view):
            base = Key(TINY, "base", None, task, split, metric, seed)
            tuned = base._replace(checkpoint="finetuned", recipe=recipe)
            bm25 = base._replace(model=BM25, seed=None)
            checks = [view.check(key, recorded.get(key)) for key in (base, tuned, bm25)]
            title = "Average" if split is None else task
            rows.append((title, METRIC_NAMES[metric], *_cells(*checks)))
            measured = checks[-1].measured.value is not None
            records |= {check.key: check for check in (checks if measured else checks[:2])}
        caption = f"Model tiny, recipe {recipe}, seed {seed}"
        tables.append(Table(caption, COLUMNS, tuple(rows), labels=2))
    return Document(
        name=TINY,
        title="The offline world: model tiny on the generated collection",
        tables=tuple(tables),
        records=tuple(
            record | {"recorded": record["expected"]}
            for record in (check.record() for check in records.values())
        ),
        fields=FIELDS,
        notes=notes("tiny"),
    )


def _runs(view: View) -> list[tuple[str, int]]:
    """Recipe and seed of every fine-tuned tiny encoder that was measured or recorded."""
    measured = {(e.recipe, e.seed) for e in view.entries if e.model == TINY}
    recorded = {(v.recipe, v.seed) for v in view.references.recorded if v.model == TINY}
    runs = measured | recorded
    return sorted((r, s) for r, s in runs if r is not None and s is not None)


def _rows(view: View) -> list[tuple[str, str | None, str]]:
    """Task, split and metric of each row, with the guide's choice of metric, MS MARCO first."""
    tasks = dict(view.references.benchmarks.get(TINY, {}))
    for entry in view.entries:
        tasks |= scored_tasks(entry) if entry.model == TINY else {}
    rows: list[tuple[str, str | None, str]] = []
    for task in sorted(tasks, key=lambda task: ("MSMARCO" not in task, task)):
        metrics = ("mrr_at_10", "ndcg_at_10") if "MSMARCO" in task else ("ndcg_at_10",)
        rows += [(task, tasks[task], metric) for metric in metrics]
    if TINY in view.references.benchmarks:
        rows.append((TINY, None, "ndcg_at_10"))
    return rows


def _cells(base: Check, tuned: Check, bm25: Check) -> tuple[str, ...]:
    """Base and fine-tuned: measured, recorded, verdict; then BM25."""
    both = (base, tuned)
    score = str(tuned.measured)
    if None not in (tuned.measured.value, base.measured.value):
        score += f" ({tuned.measured.improvement(base.measured)})"
    return (
        str(base.measured),
        score,
        *(points(check.expected.value if check.expected else None) for check in both),
        *(check.verdict or "not recorded" for check in both),
        points(bm25.measured.value),
    )
