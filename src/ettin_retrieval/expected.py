"""Expected scores, and whether the ledger reproduces them.

`expected/*.yaml` hold them as data: value, tolerance and source, keyed by model, checkpoint,
recipe, task, split and metric. `guide.yaml`, `paper.yaml` and `published.yaml` are other people's
figures; `recorded.yaml` is this repository's own, which every run must meet again:

    python -m ettin_retrieval.expected    # write recorded.yaml from the ledger
    ettin-retrieval verify                # fail unless the ledger meets recorded.yaml

The name of a benchmark in place of a task means the average over that benchmark's tasks. Averages
over different task lists therefore have different keys, and are never compared.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError

from ettin_retrieval.errors import InputError
from ettin_retrieval.params import Section
from ettin_retrieval.results import (
    AVERAGE,
    CQADUPSTACK,
    Entry,
    arm_name,
    cqadupstack_parts,
    read_ledger,
)
from ettin_retrieval.sources.subsampling import MARK

Metric = Literal["ndcg_at_10", "mrr_at_10"]
Verdict = Literal["reproduced", "above", "below", "not run"]
Recipe = Literal["guide", "paper"]

REFERENCES = ("guide", "paper", "published", "recorded")

EMBEDDED = "embedded"
"""Name of the benchmark that the embedded default is evaluated on."""

RECORDED_TOLERANCE = "0.000001"
"""Strict mode gives the same ranks everywhere. One passage one rank lower in the top ten, for one
query among MSMARCO's 6,980, moves the mean by more than this; the rounding of a sum by less."""


class Figure(Section):
    """One expected score, as a file gives it.

    Attributes
    ----------
    task
        A task, or a benchmark for the average over its tasks (which has no `split`).
    value, tolerance, improvement
        In the file's unit. `tolerance` replaces the file's; `improvement` is over the base
        checkpoint, as the reference prints it.
    recipe
        That trained a fine-tuned checkpoint; the file's where this value names none.
    seed
        Of this repository's own runs; null where the reference names none.
    dataset_revision
        Of the data that a published score was measured on, where that is known.
    """

    model: str
    checkpoint: Literal["base", "finetuned", "published"]
    recipe: Recipe | None = None
    task: str
    split: str | None = None
    metric: Metric
    value: Annotated[float, Field(ge=0, strict=False)]
    tolerance: Annotated[float, Field(gt=0, strict=False)] | None = None
    seed: int | None = None
    improvement: Annotated[float, Field(strict=False)] | None = None
    dataset_revision: str | None = None
    note: str | None = None


class Reference(Section):
    """One file of expected scores.

    Attributes
    ----------
    unit
        `points` (0 to 100) or `fraction` (0 to 1), of every number in the file.
    tolerance
        Of values that have none of their own.
    recipe
        Of fine-tuned checkpoints whose value names none.
    seeds
        How many training runs a value is the mean of; null where that is not known.
    benchmarks
        Name to {task: split}: which tasks an average is over.
    """

    source: str
    unit: Literal["points", "fraction"]
    tolerance: Annotated[float, Field(gt=0, strict=False)]
    recipe: Recipe | None = None
    seeds: Annotated[int, Field(gt=0)] | None
    benchmarks: dict[str, dict[str, str]]
    values: list[Figure]


@dataclass(frozen=True)
class Expected:
    """One expected score; value, tolerance and improvement are fractions."""

    model: str
    checkpoint: str
    task: str
    split: str | None
    metric: str
    value: float
    tolerance: float
    source: str
    seeds: int | None
    seed: int | None = None
    improvement: float | None = None
    note: str | None = None
    recipe: str | None = None
    dataset_revision: str | None = None

    @property
    def arm(self) -> str:
        """The checkpoint, with the recipe that trained it."""
        return arm_name(self.checkpoint, self.recipe)

    @property
    def key(self) -> tuple[str, str, str, str | None, str, int | None]:
        """What is measured, without what it is expected to be."""
        return (self.model, self.arm, self.task, self.split, self.metric, self.seed)

    @property
    def name(self) -> str:
        """The key in words, for messages."""
        split = f" ({self.split})" if self.split else ""
        seed = "" if self.seed is None else f" seed {self.seed}"
        return f"{self.model} {self.arm}{seed} {self.task}{split} {self.metric}"


@dataclass(frozen=True)
class References:
    """All expected scores.

    Attributes
    ----------
    guide, paper, published, recorded
        Values in the order of their files.
    benchmarks
        Name to {task: split}.
    """

    guide: tuple[Expected, ...]
    paper: tuple[Expected, ...]
    published: tuple[Expected, ...]
    recorded: tuple[Expected, ...]
    benchmarks: dict[str, dict[str, str]]


@dataclass(frozen=True)
class Measured:
    """A score from the ledger, or why there is none.

    Attributes
    ----------
    value
        Mean over seeds, as a fraction; None where it was not measured.
    seeds
        How many seeds it is the mean of.
    deviation
        Standard deviation over seeds; None with one.
    partial
        How many further seeds are in the ledger that lack the task, or one of the benchmark's.
    reason
        Why there is no value, such as `3 of 15 tasks`; empty where nothing was run.
    """

    value: float | None
    seeds: int = 0
    deviation: float | None = None
    reason: str = ""
    partial: int = 0


def read_references(directory: Path) -> References:
    """Read every file of expected scores.

    Raises
    ------
    InputError
        A file is missing or malformed, or gives a value twice.
    """
    files = {name: read_reference(directory / f"{name}.yaml") for name in REFERENCES}
    benchmarks: dict[str, dict[str, str]] = {}
    for name, file in files.items():
        for benchmark, tasks in file.benchmarks.items():
            if benchmarks.setdefault(benchmark, tasks) != tasks:
                raise InputError(
                    f"{directory / name}.yaml: benchmarks.{benchmark}: another file lists "
                    "different tasks under this name"
                )
    values = {n: _expected(directory / f"{n}.yaml", f, benchmarks) for n, f in files.items()}
    return References(**values, benchmarks=benchmarks)


def read_reference(path: Path) -> Reference:
    """Read one file.

    Raises
    ------
    InputError
        One line naming the file and the key.
    """
    try:
        content = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; restore it with git") from None
    except MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise InputError(f"{where}: not valid YAML: {error.problem}") from None
    try:
        return Reference.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        message = {
            "extra_forbidden": "unknown key",
            "missing": "missing; write a value for it",
        }.get(first["type"], f"{first['input']!r} is not allowed: {first['msg'].lower()}")
        raise InputError(f"{path}: {key}: {message}" if key else f"{path}: {message}") from None


def _expected(
    path: Path, file: Reference, benchmarks: dict[str, dict[str, str]]
) -> tuple[Expected, ...]:
    """A file's values as fractions, checked against each other."""
    scale = 100.0 if file.unit == "points" else 1.0
    seen = set()
    values = []
    for index, figure in enumerate(file.values):
        value = Expected(
            model=figure.model,
            checkpoint=figure.checkpoint,
            task=figure.task,
            split=figure.split,
            metric=figure.metric,
            value=figure.value / scale,
            tolerance=(figure.tolerance or file.tolerance) / scale,
            source=file.source,
            seeds=file.seeds,
            seed=figure.seed,
            improvement=None if figure.improvement is None else figure.improvement / scale,
            note=figure.note,
            recipe=(figure.recipe or file.recipe) if figure.checkpoint == "finetuned" else None,
            dataset_revision=figure.dataset_revision,
        )
        where = f"{path}: values.{index}"
        if figure.checkpoint == "finetuned" and value.recipe is None:
            raise InputError(f"{where}: name the recipe that fine-tuned: guide or paper")
        if value.key in seen:
            raise InputError(f"{where}: {value.name} is given twice")
        if value.value > 1:
            raise InputError(f"{where}.value: {figure.value} is more than all ({file.unit})")
        if (value.task in benchmarks) != (value.split is None):
            raise InputError(
                f"{where}.split: a task has a split, the average over a benchmark has none; "
                f"benchmarks here: {', '.join(benchmarks)}"
            )
        seen.add(value.key)
        values.append(value)
    return tuple(values)


def judge(measured: float | None, expected: Expected) -> Verdict:
    """Say whether a score is the expected one, to within its tolerance on either side.

    >>> guide = Expected("1b", "base", "SciFact", "test", "ndcg_at_10", 0.722, 0.01, "guide", None)
    >>> [judge(score, guide) for score in (0.712, 0.7119, 0.7321, None)]
    ['reproduced', 'below', 'above', 'not run']
    """
    if measured is None:
        return "not run"
    # Rounded, because 0.722 - 0.712 is a little more than 0.01 in binary.
    difference = round(measured - expected.value, 12)
    if abs(difference) <= expected.tolerance:
        return "reproduced"
    return "above" if difference > 0 else "below"


def measure(
    entries: list[Entry], expected: Expected, benchmarks: dict[str, dict[str, str]]
) -> Measured:
    """Look up in the ledger what an expected score is about.

    Returns
    -------
    The mean over the seeds that measured it (or the one seed that is asked for).
    """
    chosen = [
        entry
        for entry in entries
        if (entry.model, entry.arm) == (expected.model, expected.arm)
        and expected.seed in (None, entry.seed)
    ]
    tried = [
        _average_of(entry, expected, benchmarks[expected.task])
        if expected.task in benchmarks
        else _score_of(entry, expected.task, str(expected.split), expected.metric)
        for entry in chosen
    ]
    values = [m.value for m in tried if m.value is not None]
    if not values:
        return next((m for m in tried if m.reason), Measured(None))
    return Measured(
        value=math.fsum(values) / len(values),
        seeds=len(values),
        deviation=statistics.stdev(values) if len(values) > 1 else None,
        partial=len(chosen) - len(values),
    )


def scored_tasks(entry: Entry) -> dict[str, str]:
    """Task to split, of every task an entry has a score of, in order of name.

    CQADupstackRetrieval is there only if all of its twelve parts were scored.

    >>> scores = {"CQADupstackRetrieval.ndcg_at_10": 0.4, "SciFact.ndcg_at_10": 0.7}
    >>> tasks = {"CQADupstackUnixRetrieval": {"split": "test"}, "SciFact": {"split": "test"}}
    >>> scored_tasks(Entry("1b", "base", 42, scores, tasks))
    {'SciFact': 'test'}
    """
    names = {key.rpartition(".")[0] for key in entry.scores} - {""}
    splits = {name: str(entry.tasks[name]["split"]) for name in names if name in entry.tasks}
    parts = cqadupstack_parts(entry.tasks)
    judged = {str(entry.tasks[part]["split"]) for part in parts}
    if len(judged) == 1 and (CQADUPSTACK in names or names >= set(parts)):
        splits[CQADUPSTACK] = judged.pop()
    return dict(sorted(splits.items()))


def task_score(entry: Entry, task: str, metric: str) -> float | None:
    """A task's score; CQADupstackRetrieval's from its twelve parts, where those were added singly.

    >>> entry = Entry("1b", "base", 42, {"SciFact.ndcg_at_10": 0.7}, {})
    >>> task_score(entry, "SciFact", "ndcg_at_10"), task_score(entry, "NQ", "ndcg_at_10")
    (0.7, None)
    """
    stored = entry.scores.get(f"{task}.{metric}")
    if stored is not None or task != CQADUPSTACK:
        return stored
    parts = cqadupstack_parts(entry.tasks)
    scores = [entry.scores.get(f"{part}.{metric}") for part in parts]
    known = [score for score in scores if score is not None]
    return math.fsum(known) / len(known) if known and len(known) == len(parts) else None


def average(entry: Entry, tasks: Iterable[str], metric: str = "ndcg_at_10") -> float | None:
    """Mean over exactly these tasks, whatever else was scored; None where one has no score.

    >>> scores = {"A.ndcg_at_10": 0.5, "B.ndcg_at_10": 1.0, "C.ndcg_at_10": 0.0}
    >>> average(Entry("1b", "base", 42, scores, {}), ["A", "B"])
    0.75
    """
    scores = [task_score(entry, task, metric) for task in sorted(tasks)]
    known = [score for score in scores if score is not None]
    return sum(known) / len(known) if known and len(known) == len(scores) else None


def _average_of(entry: Entry, expected: Expected, tasks: dict[str, str]) -> Measured:
    """The average over a benchmark, from an entry that scored all of it on its splits."""
    scored = scored_tasks(entry)
    agreeing = [task for task, split in tasks.items() if scored.get(task) == split]
    if len(agreeing) < len(tasks):
        if any(name.startswith(f"{task}{MARK}") for name in entry.tasks for task in tasks):
            return Measured(None, reason="subsampled")
        reason = f"{len(agreeing)} of {len(tasks)} tasks" if agreeing else ""
        return Measured(None, reason=reason)
    value = average(entry, tasks, expected.metric)
    if value is None:
        return Measured(None, reason=f"a task has no {expected.metric}")
    return Measured(value, seeds=1)


def _score_of(entry: Entry, task: str, split: str, metric: str) -> Measured:
    """One task's score, if it was measured on all of the task and on the split asked for."""
    value = task_score(entry, task, metric)
    if value is None:
        smaller = any(name.startswith(f"{task}{MARK}") for name in entry.tasks)
        return Measured(None, reason="subsampled" if smaller else "")
    measured_on = scored_tasks(entry).get(task)
    if measured_on is None:
        return Measured(None, reason="parts of the task are missing")
    if measured_on != split:
        return Measured(None, reason=f"scored on {measured_on}, not {split}")
    return Measured(value, seeds=1)


def verify(results: Path, expected: Path) -> int:
    """Check that the ledger meets every recorded score, and print what does not.

    Returns
    -------
    0 where every value is met; 1 where one differs, is missing, or nothing is recorded.
    """
    references = read_references(expected)
    entries = read_ledger(results)
    failed = 0
    for value in references.recorded:
        measured = measure(entries, value, references.benchmarks)
        verdict = judge(measured.value, value)
        if verdict == "reproduced":
            continue
        failed += 1
        if measured.value is None:
            why = f"not run{f' ({measured.reason})' if measured.reason else ''}"
            print(f"{value.name}: {why}, recorded {value.value:.6f}")
        else:
            difference = measured.value - value.value
            print(
                f"{value.name}: {measured.value:.6f} is {verdict} the recorded "
                f"{value.value:.6f} by {abs(difference):.6f}; allowed {value.tolerance:g}"
            )
    total = len(references.recorded)
    if total == 0:
        print(f"{expected / 'recorded.yaml'}: nothing is recorded, so nothing was verified")
        return 1
    print(f"{total - failed} of {total} recorded scores reproduced")
    return 1 if failed else 0


def record(results: Path, expected: Path, models: tuple[str, ...] = ("tiny",)) -> int:
    """Write recorded.yaml from the ledger, in place of what it holds of these models.

    Returns
    -------
    How many values the file has now.

    Raises
    ------
    InputError
        A model has no entry in the ledger.
    """
    path = expected / "recorded.yaml"
    files = [expected / f"{name}.yaml" for name in REFERENCES]
    known = {n: t for f in files if f.is_file() for n, t in read_reference(f).benchmarks.items()}
    old = read_reference(path).values if path.is_file() else []
    values = [value for value in old if value.model not in models]
    entries = read_ledger(results)
    for model in models:
        own = [entry for entry in entries if entry.model == model]
        if not own:
            raise InputError(f"{results / model}: no entry in the ledger; run `dvc repro` first")
        for entry in own:
            if AVERAGE in entry.scores and all(task.startswith("Tiny") for task in entry.tasks):
                known[EMBEDDED] = {task: str(entry.tasks[task]["split"]) for task in entry.tasks}
            values.extend(_figures(entry, known))
    embedded = {name: tasks for name, tasks in known.items() if name == EMBEDDED}
    path.write_text(_recorded_text(embedded, values), encoding="utf-8", newline="\n")
    return len(values)


def _figures(entry: Entry, benchmarks: dict[str, dict[str, str]]) -> list[Figure]:
    """What is recorded of an entry: nDCG@10 and MRR@10 of every task, and the average."""
    tasks = scored_tasks(entry)
    found: list[tuple[str, str | None, str, float]] = [
        (name, None, "ndcg_at_10", mean)
        for name, splits in benchmarks.items()
        if splits.items() <= tasks.items() and (mean := average(entry, splits)) is not None
    ]
    for task, split in tasks.items():
        for metric in ("ndcg_at_10", "mrr_at_10"):
            if (score := task_score(entry, task, metric)) is not None:
                found.append((task, split, metric, score))
    return [
        Figure.model_validate(
            {"model": entry.model, "checkpoint": entry.checkpoint, "recipe": entry.recipe}
            | {"seed": entry.seed}
            | {"task": task, "split": split, "metric": metric, "value": value}
        )
        for task, split, metric, value in found
    ]


def _recorded_text(benchmarks: dict[str, dict[str, str]], values: list[Figure]) -> str:
    """recorded.yaml in one fixed form; JSON's scalars and mappings are YAML's too."""
    lines = [
        "# This repository's own scores, which every run must meet again (`make verify`).",
        "# Written by `python -m ettin_retrieval.expected`; do not edit by hand.",
        "source: this repository's results ledger",
        "unit: fraction      # 0 to 1, as the ledger has them",
        f"tolerance: {RECORDED_TOLERANCE} # less than one passage one rank lower for one query",
        "seeds: 1            # every value is one run; its seed is given with it",
        f"benchmarks: {json.dumps(benchmarks, sort_keys=True)}",
    ]
    rows = [json.dumps(v.model_dump(exclude_none=True), ensure_ascii=False) for v in values]
    lines += ["values:", *(f"  - {row}" for row in rows)] if rows else ["values: []"]
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Entry point of `python -m ettin_retrieval.expected`: write recorded.yaml."""
    parser = argparse.ArgumentParser(
        prog="python -m ettin_retrieval.expected",
        description="Write recorded.yaml from the ledger.",
    )
    parser.add_argument("--results", type=Path, default=Path("results"), metavar="PATH")
    parser.add_argument("--expected", type=Path, default=Path("expected"), metavar="PATH")
    parser.add_argument(
        "--model", action="append", help="record this model (default: tiny); may be repeated"
    )
    given = parser.parse_args(arguments)
    try:
        count = record(given.results, given.expected, tuple(given.model or ["tiny"]))
    except InputError as error:
        sys.exit(f"error: {error}")
    print(f"{given.expected / 'recorded.yaml'}: {count} values")
    return 0


if __name__ == "__main__":
    sys.exit(main())
