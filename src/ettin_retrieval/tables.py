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
from collections.abc import Callable, Iterable
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
from ettin_retrieval.results import Entry, read_ledger, read_queries

if TYPE_CHECKING:
    from ettin_retrieval.significance import TaskComparison

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
        """The measured score with its improvement."""
        if self.measured.value is None:
            return not_run(self.measured)
        return improved(self.measured.value, self.base.value)

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
            "task": self.wanted.task,
            "split": self.wanted.split,
            "metric": self.wanted.metric,
            "measured": value,
            "seeds": self.measured.seeds,
            "deviation": self.measured.deviation,
            "reason": self.measured.reason or None,
            "improvement": None
            if value is None or self.base.value is None
            else value - self.base.value,
            "reference": self.reference,
            "expected": expected.value if expected else None,
            "tolerance": expected.tolerance if expected else None,
            "difference": value - expected.value if expected and value is not None else None,
            "verdict": judge(value, expected) if expected else None,
        }


CELL_FIELDS = (
    "model", "checkpoint", "task", "split", "metric", "measured", "seeds", "deviation", "reason",
    "improvement", "reference", "expected", "tolerance", "difference", "verdict",
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
        row = []
        for reference, columns in groups:
            known = {value.key: value for value in references[reference]}
            for column, task, split, metric in columns:
                wanted = Expected(model, checkpoint, task, split, metric, 0.0, 1.0, "", None)
                base = Measured(None)
                if checkpoint != "base":
                    base = ledger.measured(replace(wanted, checkpoint="base"))
                row.append(
                    Cell(
                        column, reference, wanted, ledger.measured(wanted), base,
                        known.get(wanted.key),
                    )
                )  # fmt: skip
        if any(cell.expected or cell.measured.value is not None for cell in row):
            rows[model] = row
    return rows


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
    "model", "checkpoint", "seed", "task", "split", "metric", "measured", "recorded", "tolerance",
    "difference", "verdict",
)  # fmt: skip

EMBEDDED_COLUMNS = (
    "Task", "Metric", "Base", "Fine-tuned", "Recorded base", "Recorded fine-tuned", "Verdict base",
    "Verdict fine-tuned",
)  # fmt: skip


def embedded_document(ledger: Ledger) -> Document:
    """Model tiny, base against fine-tuned, and against what this repository recorded."""
    recorded = {value.key: value for value in ledger.references.recorded}
    seeds = {entry.seed for entry in ledger.entries if entry.model == "tiny"}
    seeds |= {v.seed for v in recorded.values() if v.model == "tiny" and v.seed is not None}
    tables, records = [], []
    for seed in sorted(seeds):
        rows = []
        for task, split, metric in _embedded_rows(ledger):
            wanted = Expected("tiny", "base", task, split, metric, 0.0, 1.0, "", None, seed)
            pair = [wanted, replace(wanted, checkpoint="finetuned")]
            scores = [ledger.measured(each) for each in pair]
            known = [recorded.get(each.key) for each in pair]
            records += [_embedded_record(*each) for each in zip(pair, scores, known, strict=True)]
            name = "Average" if split is None else task
            rows.append((name, METRIC_NAMES[metric], *_embedded_cells(scores, known)))
        tables.append(Table(f"Model tiny, seed {seed}", EMBEDDED_COLUMNS, tuple(rows), labels=2))
    return Document(
        name="embedded",
        title="The embedded default: model tiny on the synthetic collection",
        tables=tuple(tables),
        records=tuple(records),
        fields=EMBEDDED_FIELDS,
        notes=(
            "Scores are in points (x100), the improvement over base in parentheses. Verdicts are "
            "taken at full precision against expected/recorded.yaml: to one decimal, a score "
            "can look the same and not be.",
            "The collection is generated. These scores say that the pipeline works and repeats; "
            "they say nothing about real retrieval.",
        ),
    )


def _embedded_cells(scores: list[Measured], known: list[Expected | None]) -> list[str]:
    """Base and fine-tuned: measured, recorded, verdict."""
    base, tuned = scores
    return [
        not_run(base) if base.value is None else points(base.value),
        not_run(tuned) if tuned.value is None else improved(tuned.value, base.value),
        *(points(each.value) if each else NONE for each in known),
        *(
            judge(score.value, each) if each else "not recorded"
            for score, each in zip(scores, known, strict=True)
        ),
    ]


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
    "model", "checkpoint", "task", "split", "queries", "metric", "mean", "deviation", "seeds",
)  # fmt: skip


def tasks_document(ledger: Ledger) -> Document:
    """All scores, mean and standard deviation over seeds."""
    tables, records = [], []
    for model in _models(entry.model for entry in ledger.entries):
        entries = [entry for entry in ledger.entries if entry.model == model]
        # What cannot be trained has no second column and no difference.
        trained = model != BM25
        checkpoints = ("base", "finetuned") if trained else ("base",)
        rows = []
        tasks = {t: s for entry in entries for t, s in scored_tasks(entry).items()}
        for task, split in sorted(tasks.items(), key=lambda item: item[0].casefold()):
            row = [task, split]
            for metric in ("ndcg_at_10", "mrr_at_10"):
                scores = []
                for checkpoint in checkpoints:
                    wanted = Expected(model, checkpoint, task, split, metric, 0.0, 1.0, "", None)
                    score = ledger.measured(wanted)
                    scores.append(score)
                    if score.value is not None:
                        records.append(_task_record(wanted, score, _queries(entries, task)))
                row += [_mean_text(score) for score in scores]
                if trained:
                    row.append(_difference_text(*scores))
            rows.append(tuple(row))
        metrics = [METRIC_NAMES[m] for m in ("ndcg_at_10", "mrr_at_10")]
        kinds = (" base", " fine-tuned", " difference") if trained else ("",)
        columns = [f"{m}{kind}" for m in metrics for kind in kinds]
        seeds = len({entry.seed for entry in entries})
        caption = f"Model {model}, {seeds} seed{'s' if seeds > 1 else ''}"
        tables.append(Table(caption, ("Task", "Split", *columns), tuple(rows), labels=2))
    return Document(
        name="tasks",
        title="Every score in the ledger",
        tables=tuple(tables),
        records=tuple(records),
        fields=TASK_FIELDS,
        notes=(
            "Scores are in points (x100): the mean over seeds and, with several, the standard "
            "deviation over them.",
        ),
    )


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
        "task": wanted.task,
        "split": wanted.split,
        "queries": queries,
        "metric": wanted.metric,
        "mean": score.value,
        "deviation": score.deviation,
        "seeds": score.seeds,
    }


# ---------------------------------------------------------------------------------------------
# Fine-tuned against base

SIGNIFICANCE_FIELDS = (
    "model", "seed", "task", "metric", "queries", "base", "other", "difference", "interval_low",
    "interval_high", "p_value", "holm_p_value", "exact", "wins", "losses", "ties",
)  # fmt: skip


SIGNIFICANCE_COLUMNS = (
    "Task", "Queries", "Base", "Fine-tuned", "Difference", "95% interval", "p", "Holm p",
    "Wins/losses/ties",
)  # fmt: skip


def significance_document(ledger: Ledger) -> Document:
    """One table per model and seed that has both checkpoints."""
    tables, records = [], []
    for (model, seed), compared in comparisons(ledger).items():
        for task in compared:
            low, high = task.interval or (None, None)
            content = {"model": model, "seed": seed, **asdict(task)}
            content |= {"interval_low": low, "interval_high": high}
            records.append({name: content[name] for name in SIGNIFICANCE_FIELDS})
        caption = f"Model {model}, seed {seed}: fine-tuned minus base, nDCG@10"
        rows = tuple(_significance_row(task) for task in compared)
        tables.append(Table(caption, SIGNIFICANCE_COLUMNS, rows))
    return Document(
        name="significance",
        title="Fine-tuned against base, paired by query",
        tables=tuple(tables),
        records=tuple(records),
        fields=SIGNIFICANCE_FIELDS,
        notes=(
            "Scores are in points (x100). Interval: percentile bootstrap over queries. p: "
            "two-sided paired randomisation test; Holm p: corrected over the tasks of a table. "
            "Wins, losses and ties count the queries on which the fine-tuned checkpoint scores "
            "higher, lower and the same.",
            "Both say how far the queries vary; how far training seeds vary is in the table of "
            "tasks.",
        ),
    )


def comparisons(ledger: Ledger) -> dict[tuple[str, int], list[TaskComparison]]:
    """Model and seed to fine-tuned against base, over the tasks that both have."""
    # scipy takes a second to import, and no other table needs it.
    from ettin_retrieval.significance import compare

    entries = {entry.key: entry for entry in ledger.entries}
    pairs = {
        (model, seed): (entries[model, "base", seed], entries[model, "finetuned", seed])
        for model, checkpoint, seed in sorted(entries, key=lambda k: (model_order(k[0]), k[2]))
        if checkpoint == "base" and (model, "finetuned", seed) in entries
    }
    compared = {}
    for key, pair in pairs.items():
        base, tuned = (read_queries(ledger.directory, entry) for entry in pair)
        shared = set(base["task"]) & set(tuned["task"])
        compared[key] = compare(base[base["task"].isin(shared)], tuned[tuned["task"].isin(shared)])
    return compared


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
        p_text(task.p_value),
        p_text(task.holm_p_value),
        f"{task.wins}/{task.losses}/{task.ties}",
    )


# ---------------------------------------------------------------------------------------------
# Known models

PUBLISHED_FIELDS = ("model", "task", "split", "metric", "published", "source", "note")


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
    """Say which table is not what the ledger gives, and in which line; None where all are."""
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
