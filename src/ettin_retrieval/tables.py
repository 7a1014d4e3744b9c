"""The tables, from the ledger and the expected scores alone, byte for byte the same each time.

Five documents, each as Markdown, LaTeX (booktabs), CSV and JSON:

- `guide`: the guide's two tables, before and after fine-tuning, and the paper's column beside them
- `embedded`: the embedded default against this repository's recorded scores
- `tasks`: every score in the ledger
- `significance`: fine-tuned against base, paired by query
- `published`: what known models score, for orientation

    python -m ettin_retrieval.tables --check    # fail where a committed table differs
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ettin_retrieval.documents import (
    FORMATS,
    Document,
    Record,
    Table,
    improved,
    p_text,
    points,
    signed,
)
from ettin_retrieval.errors import InputError
from ettin_retrieval.expected import (
    EMBEDDED,
    Expected,
    Measured,
    References,
    judge,
    measure,
    read_references,
    scored_tasks,
)
from ettin_retrieval.records import replacing
from ettin_retrieval.reference_notes import (
    GUIDE_COLUMNS,
    METRIC_NAMES,
    NOT_RUN,
    PAPER_COLUMNS,
    SIZES,
    V1,
    V2,
    guide_notes,
)
from ettin_retrieval.results import Entry, index_problem, read_ledger, read_queries

if TYPE_CHECKING:
    from ettin_retrieval.significance import Family, TaskComparison

NONE = "--"
"""A cell that stands for nothing: no expected value, no interval."""

BM25 = "bm25"
"""The lexical baseline's name in the ledger (`ettin_retrieval.evaluation.bm25` writes it)."""


def not_run(measured: Measured) -> str:
    """The cell of a score that is not there.

    >>> not_run(Measured(None, reason="3 of 15 tasks"))
    'not run (3 of 15 tasks)'
    """
    return f"{NOT_RUN} ({measured.reason})" if measured.reason else NOT_RUN


def model_order(model: str) -> tuple[int, str]:
    """Key to sort models by: size, then name."""
    return (SIZES.index(model) if model in SIZES else len(SIZES), model)


def _models(names: Iterable[str]) -> list[str]:
    return sorted(set(names), key=model_order)


# ---------------------------------------------------------------------------------------------
# The guide's tables


@dataclass(frozen=True)
class Ledger:
    """What every table reads: entries, per-query scores and references."""

    directory: Path
    entries: list[Entry]
    references: References

    def measured(self, expected: Expected) -> Measured:
        """The ledger's score for an expected one."""
        return measure(self.entries, expected, self.references.benchmarks)


@dataclass(frozen=True)
class Cell:
    """One model's score in one column: measured, expected, and the base checkpoint's of both."""

    column: str
    reference: str
    wanted: Expected
    measured: Measured
    base: Measured
    expected: Expected | None

    @property
    def measured_text(self) -> str:
        """The measured score with its improvement, and how it varies over seeds."""
        if self.measured.value is None:
            return not_run(self.measured)
        improvement = (
            ""
            if self.base.value is None
            else (f" ({signed(self.measured.value - self.base.value)})")
        )
        return f"{_mean_text(self.measured)}{improvement}{_seeds_text(self.measured)}"

    @property
    def expected_text(self) -> str:
        """The expected score with the improvement that the reference prints."""
        if self.expected is None:
            return NONE
        score, improvement = self.expected.value, self.expected.improvement
        return improved(score, None if improvement is None else score - improvement)

    @property
    def verdict_text(self) -> str:
        """The verdict, after the difference that it judges."""
        if self.expected is None:
            return NONE
        verdict = judge(self.measured.value, self.expected)
        if self.measured.value is None:
            return verdict
        return f"{signed(self.measured.value - self.expected.value)} {verdict}"

    def record(self) -> Record:
        """The cell at full precision."""
        value, expected = self.measured.value, self.expected
        return {
            "model": self.wanted.model,
            "checkpoint": self.wanted.checkpoint,
            "recipe": self.wanted.recipe,
            "task": self.wanted.task,
            "split": self.wanted.split,
            "metric": self.wanted.metric,
            "measured": value,
            "seeds": self.measured.seeds,
            "partial_seeds": self.measured.partial,
            "deviation": self.measured.deviation,
            "reason": self.measured.reason or None,
            "improvement": None
            if value is None or self.base.value is None
            else value - self.base.value,
            "reference": self.reference,
            "source": expected.source if expected else None,
            "expected": expected.value if expected else None,
            "expected_seeds": expected.seeds if expected else None,
            "tolerance": expected.tolerance if expected else None,
            "difference": value - expected.value if expected and value is not None else None,
            "verdict": judge(value, expected) if expected else None,
        }


CELL_FIELDS = (
    "model", "checkpoint", "recipe", "task", "split", "metric", "measured", "seeds",
    "partial_seeds", "deviation", "reason", "improvement", "reference", "source", "expected",
    "expected_seeds", "tolerance", "difference", "verdict",
)  # fmt: skip


def guide_document(ledger: Ledger) -> Document:
    """The guide's two tables, regenerated, with the paper's column beside the second."""
    before = _cells(ledger, "base", [("guide", GUIDE_COLUMNS)])
    after = _cells(ledger, "finetuned", [("guide", GUIDE_COLUMNS), ("paper", PAPER_COLUMNS)])
    tables = (
        _guide_table("Pre-fine-tuning baselines", before),
        _guide_table("Post-fine-tuning performance (improvement over base in parentheses)", after),
    )
    cells = [cell for rows in (before, after) for row in rows.values() for cell in row]
    return Document(
        name="guide",
        title="Expected performance: measured against the guide and the paper",
        tables=tables,
        records=tuple(cell.record() for cell in cells),
        fields=CELL_FIELDS,
        notes=guide_notes(ledger.references),
    )


def _cells(
    ledger: Ledger,
    checkpoint: str,
    groups: list[tuple[str, tuple[tuple[str, str, str | None, str], ...]]],
) -> dict[str, list[Cell]]:
    """Cells by model, of every model with a measured or an expected score among the columns."""
    rows = {}
    references = {"guide": ledger.references.guide, "paper": ledger.references.paper}
    # The paper's other encoders are not run here; they are in the table of published scores.
    named = [v.model for values in references.values() for v in values if v.model in SIZES]
    for model in _models([*named, *(entry.model for entry in ledger.entries)]):
        row = [
            _cell(ledger, Expected(model, checkpoint, task, split, metric, 0.0, 1.0, "", None),
                  column, reference, {value.key: value for value in references[reference]})
            for reference, columns in groups
            for column, task, split, metric in columns
        ]  # fmt: skip
        if any(cell.expected or cell.measured.value is not None for cell in row):
            rows[model] = row
    return rows


def _cell(
    ledger: Ledger,
    wanted: Expected,
    column: str,
    reference: str,
    known: dict[tuple[str, str, str, str | None, str, int | None], Expected],
) -> Cell:
    """A model's score in a column: fine-tuned checkpoints by the reference's own recipe."""
    base = Measured(None)
    if wanted.model == BM25:  # is not trained: it stands beside both checkpoints as it is
        wanted = replace(wanted, checkpoint="base")
    elif wanted.checkpoint == "finetuned":
        base = ledger.measured(replace(wanted, checkpoint="base"))
        wanted = replace(wanted, recipe=reference)
    return Cell(column, reference, wanted, ledger.measured(wanted), base, known.get(wanted.key))


def _guide_table(caption: str, cells: dict[str, list[Cell]]) -> Table:
    """Three rows a model: measured, expected, verdict; one where nothing is expected."""
    rows: list[tuple[str, ...]] = []
    for model, row in cells.items():
        rows.append((model, "measured", *(cell.measured_text for cell in row)))
        if any(cell.expected for cell in row):
            rows.append(("", "expected", *(cell.expected_text for cell in row)))
            rows.append(("", "verdict", *(cell.verdict_text for cell in row)))
    columns = next(iter(cells.values()), [])
    return Table(caption, ("Model", "", *(cell.column for cell in columns)), tuple(rows), labels=2)


# ---------------------------------------------------------------------------------------------
# The embedded default's table

EMBEDDED_FIELDS = (
    "model", "checkpoint", "recipe", "seed", "task", "split", "metric", "measured", "recorded",
    "tolerance", "difference", "verdict",
)  # fmt: skip

EMBEDDED_COLUMNS = (
    "Task", "Metric", "Base", "Fine-tuned", "Recorded base", "Recorded fine-tuned", "Verdict base",
    "Verdict fine-tuned", "BM25",
)  # fmt: skip


def embedded_document(ledger: Ledger) -> Document:
    """Model tiny, base against fine-tuned, and against what this repository recorded."""
    tables, records = [], []
    for recipe, seed in _embedded_runs(ledger):
        rows = []
        for task, split, metric in _embedded_rows(ledger):
            wanted = Expected("tiny", "base", task, split, metric, 0.0, 1.0, "", None, seed)
            pair = [wanted, replace(wanted, checkpoint="finetuned", recipe=recipe)]
            bm25 = replace(wanted, model=BM25, seed=None)
            cells, told = _embedded_cells(ledger, pair, bm25)
            records += told
            name = "Average" if split is None else task
            rows.append((name, METRIC_NAMES[metric], *cells))
        caption = f"Model tiny, recipe {recipe}, seed {seed}"
        tables.append(Table(caption, EMBEDDED_COLUMNS, tuple(rows), labels=2))
    # The base checkpoint is in the table of each recipe, and one number all the same.
    unique = {tuple(record[name] for name in EMBEDDED_FIELDS): record for record in records}
    return Document(
        name="embedded",
        title="The embedded default: model tiny on the synthetic collection",
        tables=tuple(tables),
        records=tuple(unique.values()),
        fields=EMBEDDED_FIELDS,
        notes=(
            "Scores are in points (x100), the improvement over base in parentheses. Verdicts are "
            "taken at full precision against expected/recorded.yaml: to one decimal, a score "
            "can look the same and not be.",
            "The collection is generated. These scores say that the pipeline works and repeats; "
            "they say nothing about real retrieval.",
        ),
    )


def _embedded_runs(ledger: Ledger) -> list[tuple[str, int]]:
    """Recipe and seed of every fine-tuned tiny encoder that was measured or recorded."""
    measured = {(e.recipe, e.seed) for e in ledger.entries if e.model == "tiny"}
    recorded = {(v.recipe, v.seed) for v in ledger.references.recorded if v.model == "tiny"}
    return sorted((r, s) for r, s in measured | recorded if r is not None and s is not None)


def _embedded_cells(
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
    records = [_embedded_record(*each) for each in zip(pair, scores, known, strict=True)]
    if lexical.value is not None:
        records.append(_embedded_record(bm25, lexical, None))
    return cells, records


def _embedded_rows(ledger: Ledger) -> list[tuple[str, str | None, str]]:
    """Task, split and metric of each row: the guide's choice of metric, MS MARCO's kin first."""
    tasks = dict(ledger.references.benchmarks.get(EMBEDDED, {}))
    for entry in ledger.entries:
        if entry.model == "tiny":
            tasks |= scored_tasks(entry)
    order = sorted(tasks, key=lambda task: ("MSMARCO" not in task, task))
    rows: list[tuple[str, str | None, str]] = []
    for task in order:
        if "MSMARCO" in task:
            rows.append((task, tasks[task], "mrr_at_10"))
        rows.append((task, tasks[task], "ndcg_at_10"))
    if EMBEDDED in ledger.references.benchmarks:
        rows.append((EMBEDDED, None, "ndcg_at_10"))
    return rows


def _embedded_record(wanted: Expected, measured: Measured, recorded: Expected | None) -> Record:
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


# ---------------------------------------------------------------------------------------------
# Every score in the ledger

TASK_FIELDS = (
    "model", "checkpoint", "recipe", "task", "split", "queries", "metric", "mean", "deviation",
    "seeds", "partial_seeds",
)  # fmt: skip

TASK_METRICS = ("ndcg_at_10", "mrr_at_10")


def tasks_document(ledger: Ledger) -> Document:
    """All scores, mean and standard deviation over seeds; a table for each model and recipe."""
    tables = []
    records: dict[Expected, Record] = {}
    for model in _models(entry.model for entry in ledger.entries):
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
            row += [_mean_text(score) for score in scores]
            if trained:
                row.append(_difference_text(*scores))
        rows.append(tuple(row))
    kinds = (" base", " fine-tuned", " difference") if trained else ("",)
    columns = [f"{METRIC_NAMES[metric]}{kind}" for metric in TASK_METRICS for kind in kinds]
    by = f", recipe {recipe}" if recipe else ""
    caption = f"Model {model}{by}, {_counted(len({entry.seed for entry in entries}))}"
    return Table(caption, ("Task", "Split", *columns), tuple(rows), labels=2), records


def _counted(seeds: int) -> str:
    return f"{seeds} seed{'' if seeds == 1 else 's'}"


def _seeds_text(score: Measured) -> str:
    """How many seeds a mean is over, where that is not plainly one.

    >>> _seeds_text(Measured(0.5, seeds=3)), _seeds_text(Measured(0.5, seeds=1, partial=1))
    (', 3 seeds', ', 1 of 2 seeds')
    """
    if score.partial:
        return f", {score.seeds} of {_counted(score.seeds + score.partial)}"
    return f", {_counted(score.seeds)}" if score.seeds > 1 else ""


def _mean_text(score: Measured) -> str:
    if score.value is None:
        return not_run(score)
    if score.deviation is None:
        return points(score.value)
    return f"{points(score.value)} ± {points(score.deviation)}"


def _difference_text(base: Measured, tuned: Measured) -> str:
    if base.value is None or tuned.value is None:
        return NONE
    return signed(tuned.value - base.value)


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


# ---------------------------------------------------------------------------------------------
# Fine-tuned against base

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
    from ettin_retrieval.significance import RESAMPLES

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
    from ettin_retrieval.significance import compare_benchmarks

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


# ---------------------------------------------------------------------------------------------
# Known models

PUBLISHED_FIELDS = (
    "model", "task", "split", "metric", "published", "seeds", "dataset_revision", "source", "note",
)  # fmt: skip


def published_document(ledger: Ledger) -> Document:
    """Published scores of known models, in the guide's and the paper's columns."""
    others = [value for value in ledger.references.paper if value.model not in SIZES]
    values = [*ledger.references.published, *others]
    known = {(value.model, value.task, value.metric): value for value in values}
    columns = [
        *GUIDE_COLUMNS,
        ("MSMARCO nDCG@10", "MSMARCO", "dev", "ndcg_at_10"),
        ("MTEB v2 Avg nDCG@10", V2, None, "ndcg_at_10"),
    ]
    rows = []
    for model in dict.fromkeys(value.model for value in values):
        found = [known.get((model, task, metric)) for _, task, _, metric in columns]
        rows.append((model, *(points(each.value) if each else NONE for each in found)))
    return Document(
        name="published",
        title="Published scores of known models",
        tables=(
            Table(
                "Published, not measured here",
                ("Model", *(column for column, *_ in columns)),
                tuple(rows),
            ),
        ),
        records=tuple(
            {
                "model": value.model,
                "task": value.task,
                "split": value.split,
                "metric": value.metric,
                "published": value.value,
                "seeds": value.seeds,
                "dataset_revision": value.dataset_revision,
                "source": value.source,
                "note": value.note,
            }
            for value in values
        ),
        fields=PUBLISHED_FIELDS,
        notes=(
            f"Scores are in points (x100). MTEB Avg is over {V1}; {NONE} is a score not collected "
            "here.",
            *(
                f"Source of {', '.join(dict.fromkeys(v.model for v in values if v.source == s))}: "
                f"{s}."
                for s in dict.fromkeys(value.source for value in values)
            ),
            *(f"{v.model}, {v.task} {METRIC_NAMES[v.metric]}: {v.note}." for v in values if v.note),
        ),
    )


DOCUMENTS: tuple[Callable[[Ledger], Document], ...] = (
    guide_document,
    embedded_document,
    tasks_document,
    significance_document,
    published_document,
)


def render(results: Path, expected: Path) -> dict[str, str]:
    """File name to content, of every table in every format."""
    ledger = Ledger(results, read_ledger(results), read_references(expected))
    documents = [make(ledger) for make in DOCUMENTS]
    return {
        f"{document.name}.{suffix}": form(document)
        for document in documents
        for suffix, form in FORMATS.items()
    }


def write_tables(results: Path, expected: Path, directory: Path) -> int:
    """Write the tables, and nothing else, to a directory; return how many files there are."""
    files = render(results, expected)
    with replacing(directory) as partial:
        for name, text in files.items():
            (partial / name).write_bytes(text.encode())
    return len(files)


def check_tables(results: Path, expected: Path, directory: Path) -> str | None:
    """Say which table is not what the ledger gives, and in which line; None where all are.

    The index is looked at first: where it is stale, `dvc repro tables` sees nothing to do.
    """
    if problem := index_problem(results):
        return problem
    files = render(results, expected)
    for name, text in files.items():
        path = directory / name
        if not path.is_file():
            return f"{path}: missing; run `dvc repro tables`"
        if path.read_bytes() != text.encode():
            there = path.read_bytes().decode(errors="replace").split("\n")
            wanted = text.split("\n")
            same = [a == b for a, b in zip(there, wanted, strict=False)]
            line = (same.index(False) if False in same else len(same)) + 1
            return f"{path}:{line}: not what the ledger gives; run `dvc repro tables`"
    extra = sorted(p.name for p in directory.iterdir() if p.name not in files)
    if extra:
        return f"{directory / extra[0]}: no table of the ledger; delete it"
    return None


def main(arguments: list[str] | None = None) -> int:
    """Entry point of `python -m ettin_retrieval.tables`."""
    parser = argparse.ArgumentParser(prog="python -m ettin_retrieval.tables")
    parser.add_argument("--results", type=Path, default=Path("results"), metavar="PATH")
    parser.add_argument("--expected", type=Path, default=Path("expected"), metavar="PATH")
    parser.add_argument("--tables", type=Path, default=Path("tables"), metavar="PATH")
    parser.add_argument("--check", action="store_true", help="write nothing; fail on a difference")
    given = parser.parse_args(arguments)
    try:
        if given.check:
            wrong = check_tables(given.results, given.expected, given.tables)
            print(wrong or f"{given.tables}: every table is what the ledger gives")
            return 1 if wrong else 0
        print(f"{given.tables}: {write_tables(given.results, given.expected, given.tables)} files")
    except InputError as error:
        sys.exit(f"error: {error}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
