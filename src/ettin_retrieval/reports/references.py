"""TODO: reports.references."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError

from ettin_retrieval.ledger.entry import arm_name
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.settings.schema import Section

Metric = Literal["ndcg_at_10", "mrr_at_10"]

Recipe = Literal["guide", "paper"]

REFERENCES = ("guide", "paper", "published", "recorded")

TINY = "tiny"
"""Name of the benchmark that the embedded default is evaluated on."""


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
