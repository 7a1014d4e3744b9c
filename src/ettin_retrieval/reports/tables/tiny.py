"""TODO: reports.tables.tiny."""

from __future__ import annotations

from dataclasses import replace

from ettin_retrieval.reports.documents import Document, Record, Table, improved, points
from ettin_retrieval.reports.measure import Measured, judge, scored_tasks
from ettin_retrieval.reports.references import TINY, Expected
from ettin_retrieval.reports.tables.guide_notes import METRIC_NAMES
from ettin_retrieval.reports.tables.layout import BM25, NONE, Ledger, not_run

TINY_FIELDS = (
    "model", "checkpoint", "recipe", "seed", "task", "split", "metric", "measured", "recorded",
    "tolerance", "difference", "verdict",
)  # fmt: skip

TINY_COLUMNS = (
    "Task", "Metric", "Base", "Fine-tuned", "Recorded base", "Recorded fine-tuned", "Verdict base",
    "Verdict fine-tuned", "BM25",
)  # fmt: skip


def tiny_document(ledger: Ledger) -> Document:
    """Model tiny, base against fine-tuned, and against what this repository recorded."""
    tables, records = [], []
    for recipe, seed in _tiny_runs(ledger):
        rows = []
        for task, split, metric in _tiny_rows(ledger):
            wanted = Expected("tiny", "base", task, split, metric, 0.0, 1.0, "", None, seed)
            pair = [wanted, replace(wanted, checkpoint="finetuned", recipe=recipe)]
            bm25 = replace(wanted, model=BM25, seed=None)
            cells, told = _tiny_cells(ledger, pair, bm25)
            records += told
            name = "Average" if split is None else task
            rows.append((name, METRIC_NAMES[metric], *cells))
        caption = f"Model tiny, recipe {recipe}, seed {seed}"
        tables.append(Table(caption, TINY_COLUMNS, tuple(rows), labels=2))
    # The base checkpoint is in the table of each recipe, and one number all the same.
    unique = {tuple(record[name] for name in TINY_FIELDS): record for record in records}
    return Document(
        name="tiny",
        title="The embedded default: model tiny on the synthetic collection",
        tables=tuple(tables),
        records=tuple(unique.values()),
        fields=TINY_FIELDS,
        notes=(
            "Scores are in points (x100), the improvement over base in parentheses. Verdicts are "
            "taken at full precision against expected/recorded.yaml: to one decimal, a score "
            "can look the same and not be.",
            "The collection is generated. These scores say that the pipeline works and repeats; "
            "they say nothing about real retrieval.",
        ),
    )


def _tiny_runs(ledger: Ledger) -> list[tuple[str, int]]:
    """Recipe and seed of every fine-tuned tiny encoder that was measured or recorded."""
    measured = {(e.recipe, e.seed) for e in ledger.entries if e.model == "tiny"}
    recorded = {(v.recipe, v.seed) for v in ledger.references.recorded if v.model == "tiny"}
    return sorted((r, s) for r, s in measured | recorded if r is not None and s is not None)


def _tiny_cells(
    ledger: Ledger, pair: list[Expected], bm25: Expected
) -> tuple[list[str], list[Record]]:
    """Base and fine-tuned: measured, recorded, verdict; then BM25."""
    recorded = {value.key: value for value in ledger.references.recorded}
    known = [recorded.get(each.key) for each in pair]
    scores = [ledger.measured(each) for each in pair]
    base, tuned = scores
    lexical = ledger.measured(bm25)
    cells = [
        not_run(base) if base.value is None else points(base.value),
        not_run(tuned) if tuned.value is None else improved(tuned.value, base.value),
        *(points(each.value) if each else NONE for each in known),
        *(
            judge(score.value, each) if each else "not recorded"
            for score, each in zip(scores, known, strict=True)
        ),
        NONE if lexical.value is None else points(lexical.value),
    ]
    records = [_tiny_record(*each) for each in zip(pair, scores, known, strict=True)]
    if lexical.value is not None:
        records.append(_tiny_record(bm25, lexical, None))
    return cells, records


def _tiny_rows(ledger: Ledger) -> list[tuple[str, str | None, str]]:
    """Task, split and metric of each row: the guide's choice of metric, MS MARCO's kin first."""
    tasks = dict(ledger.references.benchmarks.get(TINY, {}))
    for entry in ledger.entries:
        if entry.model == "tiny":
            tasks |= scored_tasks(entry)
    order = sorted(tasks, key=lambda task: ("MSMARCO" not in task, task))
    rows: list[tuple[str, str | None, str]] = []
    for task in order:
        if "MSMARCO" in task:
            rows.append((task, tasks[task], "mrr_at_10"))
        rows.append((task, tasks[task], "ndcg_at_10"))
    if TINY in ledger.references.benchmarks:
        rows.append((TINY, None, "ndcg_at_10"))
    return rows


def _tiny_record(wanted: Expected, measured: Measured, recorded: Expected | None) -> Record:
    both = recorded is not None and measured.value is not None
    return {
        "model": wanted.model,
        "checkpoint": wanted.checkpoint,
        "recipe": wanted.recipe,
        "seed": wanted.seed,
        "task": wanted.task,
        "split": wanted.split,
        "metric": wanted.metric,
        "measured": measured.value,
        "recorded": recorded.value if recorded else None,
        "tolerance": recorded.tolerance if recorded else None,
        "difference": (measured.value or 0) - recorded.value if both and recorded else None,
        "verdict": judge(measured.value, recorded) if recorded else None,
    }
