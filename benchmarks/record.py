"""What a benchmark found: the file results.json, its table, and the check against it."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median

from pydantic import TypeAdapter

from benchmarks.harness import ROOT, Inputs, Runs
from ettin_retrieval.runtime.device import hardware

TOLERANCE = 0.10
"""Share of a recorded ratio that may be lost before the check fails."""

HEAD = """\
# Benchmarks

Made by `make benchmark`; do not edit. Speed and memory are ratios: what a peer takes by what we
take, pair by pair in one run. Median (least to greatest). `make benchmark-check` fails where a
ratio is more than 10% below the one here.
"""

COLUMNS = ("seconds", "processor_seconds", "peak_mib", "work_mib")


@dataclass(frozen=True)
class Figure:
    """A ratio, which should reach its goal, or a figure with a unit, which should not exceed it.

    `values` holds one per repetition; none where it was not run.
    """

    name: str
    values: list[float]
    goal: float | None = None
    unit: str = ""

    @property
    def is_missed(self) -> bool:
        """Whether the median is on the wrong side of the goal."""
        if self.goal is None or not self.values:
            return False
        middle = median(self.values)
        return middle > self.goal if self.unit else middle < self.goal

    def row(self) -> list[str]:
        """Name, value, goal and verdict."""
        goal = "" if self.goal is None else f"at {'most' if self.unit else 'least'} {self.goal:.3g}"
        verdict = "" if not goal else "missed" if self.is_missed else "met"
        if not self.values:
            return [self.name, "not run", goal, ""]
        return [self.name, f"{spread(self.values)} {self.unit}".strip(), goal, verdict]


@dataclass(frozen=True)
class Section:
    """One benchmark's findings; `measured` names the commit and the machine."""

    title: str
    inputs: Inputs
    figures: list[Figure]
    runs: Runs = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    measured: str = ""


SECTIONS = TypeAdapter(dict[str, Section])


def read(directory: Path) -> dict[str, Section]:
    """Benchmark to section of a directory's results.json; empty without the file."""
    path = directory / "results.json"
    return SECTIONS.validate_json(path.read_bytes()) if path.is_file() else {}


def write(sections: dict[str, Section], directory: Path) -> None:
    """Write results.json, and table.md from it."""
    (directory / "results.json").write_bytes(SECTIONS.dump_json(sections, indent=2) + b"\n")
    text = HEAD + "".join(map(markdown, read(directory).values()))
    (directory / "table.md").write_text(text, encoding="utf-8")


def markdown(section: Section) -> str:
    """A section of the table."""
    measured = {key for done in section.runs.values() for run in done for key in run}
    keys = [key for key in COLUMNS if key in measured]
    rows = [
        [name, *(spread([run[key] for run in done if key in run]) for key in keys)]
        for name, done in section.runs.items()
    ]
    parts = [
        f"\n## {section.title}",
        ", ".join(f"{key}: {value}" for key, value in section.inputs.items()),
        table(["figure", "measured", "goal", ""], [figure.row() for figure in section.figures]),
        table(["contender", *(key.replace("_", " ").replace("mib", "MiB") for key in keys)], rows),
        "\n".join(f"- {note}" for note in (*section.notes, section.measured) if note),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; empty without rows."""
    lines = [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines) if rows else ""


def spread(values: list[float]) -> str:
    """Median (least to greatest), with three significant digits.

    >>> spread([1.5, 5.0, 3.12345]), spread([1234.5]), spread([])
    ('3.12 (1.5 to 5)', '1,234', '')
    """
    wanted = [median(values), min(values), max(values)] if len(values) > 1 else values
    numbers = [f"{value:,.0f}" if value >= 100 else f"{value:.3g}" for value in wanted]
    return "{} ({} to {})".format(*numbers) if len(numbers) > 1 else "".join(numbers)


def ratios(runs: Runs, ours: str, peer: str, key: str = "seconds") -> list[float]:
    """A peer's value by ours, repetition by repetition; empty where one of them did not run."""
    pairs = zip(runs.get(ours, []), runs.get(peer, []), strict=False)
    return [theirs[key] / own[key] for own, theirs in pairs]


def memory_ratio(runs: Runs, ours: str, peer: str) -> list[float]:
    """Peak memory of a peer's work by that of ours, both on top of what holds the inputs."""
    own, theirs = (max(1.0, *(run["work_mib"] for run in runs[name])) for name in (ours, peer))
    return [theirs / own]


def commit_and_machine() -> str:
    """What was measured, and where; `-dirty` where files differ from the commit."""
    git = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    machine = "{processor}, {cores} cores, {memory_gib} GiB, GPU: {gpu}".format(**hardware())
    return f"Commit {commit.strip()}; {machine}; torch {version('torch')}."


def regressions(before: Section | None, now: Section) -> list[str]:
    """One line for each ratio that lost over `TOLERANCE` or is gone, and for each bound missed."""
    if before is None:
        return ["nothing is recorded to compare with; run `make benchmark`"]
    if before.inputs != now.inputs:
        return [f"measured on {now.inputs}, recorded on {before.inputs}"]
    lines = [
        f"{figure.name}: {spread(figure.values)} {figure.unit}, more than {figure.goal}"
        for figure in now.figures
        if figure.unit and figure.is_missed
    ]
    measured = {figure.name: figure.values for figure in now.figures}
    for name, values in ((f.name, f.values) for f in before.figures if f.values and not f.unit):
        if name not in measured:
            lines.append(f"{name}: recorded, but not measured now")
        elif measured[name]:
            new, old = median(measured[name]), median(values)
            if new < (1 - TOLERANCE) * old:
                lost = 1 - new / old
                lines.append(f"{name}: {new:.2f}, {lost:.0%} below the recorded {old:.2f}")
    return lines
