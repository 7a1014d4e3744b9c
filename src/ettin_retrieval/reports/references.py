"""Expected scores, read from `expected/*.yaml`, and whether a measured score is the expected one.

`guide.yaml`, `paper.yaml` and `published.yaml` hold other people's figures; `recorded.yaml` holds
this repository's own, which every run must meet again. A benchmark's name in place of a task means
the average over its tasks, so averages over different task lists have different keys and are never
compared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import Field
from scipy.special import stdtrit

from ettin_retrieval.ledger.entry import arm_name
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.settings.load import read_as
from ettin_retrieval.settings.sections import (
    LearningRate,
    NotNegativeFloat,
    Rate,
    RecipeName,
    Section,
)

Verdict = Literal["reproduced", "inconclusive", "above", "below", "not run"]

UNTRAINED = 0.001
"""Largest tolerance of what was not trained, a fraction: precision and libraries alone move it."""

Benchmarks = Mapping[str, Mapping[str, str]]
"""Name of a benchmark to {task: split}."""

FILES = ("guide", "paper", "published", "recorded")


class Key(NamedTuple):
    """What is scored: a checkpoint, a task (or a benchmark) and a metric."""

    model: str
    checkpoint: str
    recipe: str | None  # None for what was not trained
    task: str
    split: str | None  # None for the average over the tasks of a benchmark
    metric: str
    seed: int | None = None  # None for all seeds

    def __str__(self) -> str:
        split = f" ({self.split})" if self.split else ""
        seed = "" if self.seed is None else f" seed {self.seed}"
        arm = arm_name(self.checkpoint, self.recipe)
        return f"{self.model} {arm}{seed} {self.task}{split} {self.metric}"


class Expected(Section):
    """One expected score: in its file in the file's unit, a fraction once it is read.

    Recipe, tolerance, learning rate, source and number of seeds are those of the file if not given
    here.
    """

    model: str
    checkpoint: Literal["base", "finetuned", "published"]
    recipe: RecipeName | None = None
    task: str  # or a benchmark, for the average over its tasks, which has no split
    split: str | None = None
    metric: Literal["ndcg_at_10", "mrr_at_10"]
    value: NotNegativeFloat
    tolerance: Rate = 0.0
    read_error: NotNegativeFloat = 0.0  # on either side, of a value that is read off a plot
    seed: int | None = None  # of this repository's own runs
    improvement: float | None = None  # as the reference prints it
    doubtful: str | None = None  # why the value may not be what it is printed as
    learning_rate: LearningRate | None = None  # that the reference prescribes
    dataset_revision: str | None = None  # of the data that a published score was measured on
    note: str | None = None
    source: str = ""
    seeds: int | None = None

    @property
    def key(self) -> Key:
        """What is expected to have this score."""
        return Key(*(getattr(self, name) for name in Key._fields))

    @property
    def allowed(self) -> float:
        """How far from the value a score is still the expected one, on either side."""
        return round(self.tolerance + self.read_error, 12)


class Reference(Section):
    """One file of expected scores."""

    source: str
    unit: Literal["points", "fraction"]  # of every number in the file: 0 to 100, or 0 to 1
    tolerance: Rate
    base_tolerance: Rate | None = None  # of what was not trained; `tolerance` if not given
    recipe: RecipeName | None = None  # of fine-tuned checkpoints whose value names none
    learning_rate: LearningRate | None = None  # that the reference prescribes for them
    seeds: Annotated[int, Field(gt=0)] | None  # training runs behind each value; null if unknown
    benchmarks: dict[str, dict[str, str]]  # name to {task: split}: what an average is over
    values: list[Expected]

    def fraction(self, value: Expected) -> Expected:
        """One of the values as a fraction, with what the file says of all of them."""
        scale = 100.0 if self.unit == "points" else 1.0
        improvement = None if value.improvement is None else value.improvement / scale
        trained = value.checkpoint == "finetuned"
        usual = self.tolerance if trained else self.base_tolerance or self.tolerance
        changes = {
            "recipe": (value.recipe or self.recipe) if trained else None,
            "value": value.value / scale,
            "tolerance": (value.tolerance or usual) / scale,
            "read_error": value.read_error / scale,
            "improvement": improvement,
            "learning_rate": (value.learning_rate or self.learning_rate) if trained else None,
            "source": value.source or self.source,
            "seeds": value.seeds or self.seeds,
        }
        return value.model_copy(update=changes)


@dataclass(frozen=True)
class References:
    """All expected scores, in the order of their files, and the benchmarks they name."""

    guide: list[Expected]
    paper: list[Expected]
    published: list[Expected]
    recorded: list[Expected]
    benchmarks: Benchmarks


def read_references(directory: Path) -> References:
    """Read every file of expected scores.

    Raises
    ------
    InputError
        A file is missing or malformed, gives a value twice, or contradicts another.
    """
    paths = {name: directory / f"{name}.yaml" for name in FILES}
    files = {name: read_as(Reference, path) for name, path in paths.items()}
    benchmarks: dict[str, dict[str, str]] = {}
    for name, file in files.items():
        for benchmark, tasks in file.benchmarks.items():
            if benchmarks.setdefault(benchmark, tasks) != tasks:
                raise InputError(
                    f"{paths[name]}: benchmarks.{benchmark}: another file lists different tasks "
                    "under this name"
                )
    values = {name: _fractions(paths[name], file, benchmarks) for name, file in files.items()}
    return References(**values, benchmarks=benchmarks)


def _fractions(path: Path, file: Reference, benchmarks: Benchmarks) -> list[Expected]:
    """A file's values as fractions, checked against each other."""
    found: dict[Key, Expected] = {}
    for index, given in enumerate(file.values):
        where, value = f"{path}: values.{index}", file.fraction(given)
        if value.checkpoint == "finetuned" and value.recipe is None:
            raise InputError(f"{where}: name the recipe that fine-tuned: guide or paper")
        if value.key in found:
            raise InputError(f"{where}: {value.key} is given twice")
        if value.value > 1:
            raise InputError(f"{where}.value: {given.value} is above the maximum ({file.unit})")
        if value.checkpoint != "finetuned" and value.tolerance > UNTRAINED:
            raise InputError(
                f"{where}: the tolerance of a {value.checkpoint} value is at most 0.1 points, as "
                "nothing is trained; set its tolerance, or base_tolerance of the file"
            )
        if (value.task in benchmarks) != (value.split is None):
            raise InputError(
                f"{where}.split: a task needs a split, the average over a benchmark has none; "
                f"benchmarks here: {', '.join(benchmarks)}"
            )
        found[value.key] = value
    return list(found.values())


def judge(
    measured: float | None, expected: float, tolerance: float, half_width: float = 0.0
) -> Verdict:
    """Whether a score is within the tolerance of the expected one, on either side.

    With a `half_width` the score is an interval: inside the band of the tolerance it is reproduced,
    outside above or below, and across an edge inconclusive. An interval inside a band set in
    advance is the claim of a test of equivalence: D. Schuirmann, "A comparison of the two one-sided
    tests procedure and the power approach for assessing the equivalence of average
    bioavailability", Journal of Pharmacokinetics and Biopharmaceutics 15, 1987.

    >>> [judge(score, 0.722, 0.01) for score in (0.712, 0.7119, 0.7321, None)]
    ['reproduced', 'below', 'above', 'not run']
    >>> [judge(score, 0.722, 0.01, half_width=0.004) for score in (0.728, 0.729, 0.735, 0.737)]
    ['reproduced', 'inconclusive', 'inconclusive', 'above']
    """
    if measured is None:
        return "not run"
    # Rounded, because 0.722 - 0.712 is a little more than 0.01 in binary.
    difference = round(measured - expected, 12)
    if round(abs(difference) + half_width, 12) <= tolerance:
        return "reproduced"
    if round(abs(difference) - half_width, 12) <= tolerance:
        return "inconclusive"
    return "above" if difference > 0 else "below"


def seed_half_width(deviation: float, seeds: int) -> float:
    """Half the width of the 95% interval of a mean over seeds: t x deviation / sqrt(seeds).

    t is the 97.5% quantile of Student's distribution with seeds - 1 degrees of freedom: Student,
    "The probable error of a mean", Biometrika 6, 1908. With two seeds it is 12.7, so that two runs
    rarely decide anything.

    >>> [round(seed_half_width(0.002, seeds), 4) for seeds in (2, 3, 5)]
    [0.018, 0.005, 0.0025]
    """
    # Rounded: the last digits of the quantile are the library's.
    return round(float(stdtrit(seeds - 1, 0.975)) * deviation / math.sqrt(seeds), 12)
