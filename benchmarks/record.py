"""What a benchmark found, as it is kept in results.json."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.contest import Runs
from ettin_retrieval.ledger.provenance import LIBRARIES
from ettin_retrieval.runtime.device import hardware
from ettin_retrieval.runtime.files import write_json

INSTRUCTION_SETS = ("avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16")
"""Of those the processor has, the ones that decide how fast it multiplies matrices."""


@dataclass(frozen=True)
class Ratio:
    """A figure without unit, measured within one run; bigger is always better.

    Attributes
    ----------
    values
        One a repetition.
    goal
        What the value should reach; None where there is none.
    """

    name: str
    values: list[float]
    goal: float | None = None

    @property
    def median(self) -> float:
        """Middle value: one disturbed repetition does not count."""
        return median(self.values)


@dataclass(frozen=True)
class Figure:
    """A figure with a unit, which another machine need not share."""

    name: str
    value: float
    unit: str
    at_most: float | None = None


@dataclass(frozen=True)
class NotRun:
    """A figure that this machine cannot give."""

    name: str
    reason: str
    goal: float | None = None


@dataclass(frozen=True)
class Section:
    """One benchmark's findings.

    Attributes
    ----------
    inputs
        Sizes and data, as given to every contender.
    runs
        What each run of each contender found.
    notes
        What a reader must know to read the figures rightly.
    """

    benchmark: str
    title: str
    inputs: dict[str, Any]
    runs: Runs = field(default_factory=dict)
    ratios: list[Ratio] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    not_run: list[NotRun] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    machine: dict[str, Any] = field(default_factory=dict)

    def ratio(self, name: str) -> Ratio | None:
        """The ratio of that name, if there is one."""
        return next((ratio for ratio in self.ratios if ratio.name == name), None)


def speed(runs: Runs, ours: str, peer: str) -> list[float]:
    """How many times as fast as a peer a contender was, repetition by repetition.

    >>> speed({"a": [{"seconds": 1.0}], "b": [{"seconds": 3.0}]}, "a", "b")
    [3.0]
    """
    return [
        theirs["seconds"] / own["seconds"]
        for own, theirs in zip(runs[ours], runs[peer], strict=True)
    ]


def memory(runs: Runs, ours: str, peer: str) -> list[float]:
    """How many times a contender's memory its peer needs, on top of what held the inputs.

    >>> memory({"a": [{"above_mib": 100.0}], "b": [{"above_mib": 150.0}]}, "a", "b")
    [1.5]
    """
    own, theirs = (max(run["above_mib"] for run in runs[name]) for name in (ours, peer))
    # A mebibyte is the least that can be told apart.
    return [max(theirs, 1.0) / max(own, 1.0)]


def middle(runs: Runs, contender: str, key: str) -> float:
    """Median over a contender's runs of one of the things it found."""
    return median(run[key] for run in runs[contender])


def machine() -> dict[str, Any]:
    """Processor, memory and versions of what was measured."""
    names = [*LIBRARIES, "faiss-cpu"]
    return hardware() | {
        "instruction_sets": instruction_sets(),
        "threads": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in names},
    }


def instruction_sets() -> list[str]:
    """Those of `INSTRUCTION_SETS` that the processor says it has."""
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.is_file():
        return []
    for line in cpuinfo.read_text(encoding="utf-8").splitlines():
        if line.startswith(("flags", "Features")):
            there = set(line.split(":", 1)[1].split())
            return [name for name in INSTRUCTION_SETS if name in there]
    return []


def read_sections(path: Path) -> dict[str, Section]:
    """Benchmark to section, of a results.json; nothing where there is no file."""
    if not path.is_file():
        return {}
    return {
        entry["benchmark"]: Section(
            **entry
            | {
                "ratios": [Ratio(**ratio) for ratio in entry["ratios"]],
                "figures": [Figure(**figure) for figure in entry["figures"]],
                "not_run": [NotRun(**missing) for missing in entry["not_run"]],
            }
        )
        for entry in json.loads(path.read_text(encoding="utf-8"))
    }


def write_sections(sections: dict[str, Section], path: Path) -> None:
    """Write a results.json."""
    write_json(path, [rounded(asdict(section)) for section in sections.values()])


def rounded(value: Any) -> Any:
    """Floats to five significant digits: the rest is noise.

    >>> rounded({"a": [1.23456789, 2]})
    {'a': [1.2346, 2]}
    """
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return value
