"""Expected scores, read from `expected/*.yaml`, and whether a measured score is the expected one.

`guide.yaml`, `paper.yaml` and `published.yaml` hold other people's figures; `recorded.yaml` holds
this repository's own, which every run must meet again. A benchmark's name in place of a task means
the average over its tasks, so averages over different task lists have different keys and are never
compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, ValidationError

from ettin_retrieval.ledger.entry import arm_name
from ettin_retrieval.ledger.table import Key
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.settings.load import read_yaml
from ettin_retrieval.settings.sections import NotNegativeFloat, Rate, RecipeName, Section

Verdict = Literal["reproduced", "above", "below", "not run"]

Content = TypeVar("Content", bound=Section)

FILES = ("guide", "paper", "published", "recorded")

TINY = "tiny"
"""Name of the offline world's benchmark."""


class Figure(Section):
    """One expected score, in the unit of its file.

    Attributes
    ----------
    task
        A task, or a benchmark for the average over its tasks, which has no `split`.
    tolerance
        Replaces the file's.
    improvement
        Over the base checkpoint, as the reference prints it.
    recipe
        That trained a fine-tuned checkpoint; the file's if missing.
    seed
        Of this repository's own runs.
    dataset_revision
        Of the data that a published score was measured on.
    """

    model: str
    checkpoint: Literal["base", "finetuned", "published"]
    recipe: RecipeName | None = None
    task: str
    split: str | None = None
    metric: Literal["ndcg_at_10", "mrr_at_10"]
    value: NotNegativeFloat
    tolerance: Rate | None = None
    seed: int | None = None
    improvement: Annotated[float, Field(strict=False)] | None = None
    dataset_revision: str | None = None
    note: str | None = None


class Reference(Section):
    """One file of expected scores.

    Attributes
    ----------
    unit
        Of every number in the file: `points` (0 to 100) or `fraction` (0 to 1).
    recipe
        Of fine-tuned checkpoints whose figure names none.
    seeds
        Number of training runs behind each value; null if unknown.
    benchmarks
        Name to {task: split}: what an average is over.
    """

    source: str
    unit: Literal["points", "fraction"]
    tolerance: Rate
    recipe: RecipeName | None = None
    seeds: Annotated[int, Field(gt=0)] | None
    benchmarks: dict[str, dict[str, str]]
    values: list[Figure]


@dataclass(frozen=True)
class Expected:
    """One expected score; value, tolerance and improvement are fractions."""

    key: Key
    value: float
    tolerance: float
    source: str
    seeds: int | None = None
    improvement: float | None = None
    note: str | None = None
    dataset_revision: str | None = None

    @property
    def name(self) -> str:
        """The key in words, for messages."""
        key = self.key
        split = f" ({key.split})" if key.split else ""
        seed = "" if key.seed is None else f" seed {key.seed}"
        arm = arm_name(key.checkpoint, key.recipe)
        return f"{key.model} {arm}{seed} {key.task}{split} {key.metric}"


@dataclass(frozen=True)
class References:
    """All expected scores, in the order of their files, and the benchmarks they name."""

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
        A file is missing or malformed, gives a value twice, or contradicts another.
    """
    files = {name: read_reference(directory / f"{name}.yaml") for name in FILES}
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
        One line that names the file and the key.
    """
    return validated(Reference, path)


def validated(model: type[Content], path: Path) -> Content:
    """A YAML file as a model, with one line for the first error."""
    content: Any = read_yaml(path)
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        messages = {
            "extra_forbidden": "unknown key",
            "missing": "missing; write a value for it",
        }
        wrong = f"{first['input']!r} is not allowed: {first['msg'].lower()}"
        message = messages.get(first["type"], wrong)
        raise InputError(f"{path}: {key}: {message}" if key else f"{path}: {message}") from None


def _expected(
    path: Path, file: Reference, benchmarks: dict[str, dict[str, str]]
) -> tuple[Expected, ...]:
    """A file's figures as fractions, checked against each other."""
    scale = 100.0 if file.unit == "points" else 1.0
    values: dict[Key, Expected] = {}
    for index, figure in enumerate(file.values):
        where = f"{path}: values.{index}"
        trained = figure.checkpoint == "finetuned"
        key = Key(
            figure.model, figure.checkpoint, (figure.recipe or file.recipe) if trained else None,
            figure.task, figure.split, figure.metric, figure.seed,
        )  # fmt: skip
        expected = Expected(
            key=key,
            value=figure.value / scale,
            tolerance=(figure.tolerance or file.tolerance) / scale,
            source=file.source,
            seeds=file.seeds,
            improvement=None if figure.improvement is None else figure.improvement / scale,
            note=figure.note,
            dataset_revision=figure.dataset_revision,
        )
        if trained and key.recipe is None:
            raise InputError(f"{where}: name the recipe that fine-tuned: guide or paper")
        if key in values:
            raise InputError(f"{where}: {expected.name} is given twice")
        if expected.value > 1:
            raise InputError(f"{where}.value: {figure.value} is above the maximum ({file.unit})")
        if (key.task in benchmarks) != (key.split is None):
            raise InputError(
                f"{where}.split: a task needs a split, the average over a benchmark has none; "
                f"benchmarks here: {', '.join(benchmarks)}"
            )
        values[key] = expected
    return tuple(values.values())


def judge(measured: float | None, expected: Expected) -> Verdict:
    """Whether a score is within the expected value's tolerance, on either side.

    >>> key = Key("1b", "base", None, "SciFact", "test", "ndcg_at_10")
    >>> guide = Expected(key, 0.722, 0.01, "guide")
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
