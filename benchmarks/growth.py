"""How an evaluation's time grows with documents, queries and dimensions: growth.png."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd

from benchmarks.harness import Inputs, Runs, contest
from benchmarks.record import Section
from benchmarks.search import CONTENDERS, WARM_UP

INPUTS = {"documents": 32_000, "queries": 128, "dimensions": 256}
FACTORS = (0.25, 0.5, 1, 2, 4)
COLOURS = ("#0072b2", "#a6a6a6", "#d55e00")
"""From Okabe and Ito's palette: colour-blind readers can tell them apart, in grey too."""


def measure(inputs: Inputs = INPUTS, repetitions: int = 3) -> Section:
    """Vary one size at a time; the runs of a point are named `CONTENDER, SIZE VALUE`."""
    runs: Runs = {}
    for varied, middle in inputs.items():
        for value in (max(1, int(middle * factor)) for factor in FACTORS):
            found = contest(CONTENDERS, inputs | {varied: value}, repetitions, WARM_UP)
            runs |= {f"{name}, {varied} {value}": done for name, done in found.items()}
    notes = ["See growth.png: one size varies, the others stay as they are above."]
    return Section("Growth of search", inputs, [], runs, notes)


def draw(section: Section, path: Path) -> None:
    """A panel for each size, both axes logarithmic; the same section gives the same bytes."""
    from matplotlib.figure import Figure

    points = [
        (*name.replace(", ", " ").rsplit(maxsplit=2), median(run["seconds"] for run in done))
        for name, done in section.runs.items()
    ]
    frame = pd.DataFrame(points, columns=["contender", "size", "value", "seconds"])
    frame = frame.astype({"value": int})
    figure = Figure(figsize=(9, 3), layout="constrained")
    panels = figure.subplots(1, len(section.inputs), sharey=True)
    for axes, (size, part) in zip(panels, frame.groupby("size", sort=False), strict=True):
        curves = part.pivot(index="value", columns="contender", values="seconds")[[*CONTENDERS]]
        options: Any = {"xlabel": size, "ylabel": "seconds", "color": COLOURS, "marker": "o"}
        curves.plot(ax=axes, loglog=True, grid=True, legend=False, **options)
        axes.set_xticks(curves.index, curves.index, rotation=45)
        axes.minorticks_off()
    sizes = ", ".join(f"{value:,} {name}" for name, value in section.inputs.items())
    figure.suptitle(f"Evaluation with a fake encoder; unless varied: {sizes}")
    figure.legend(panels[0].lines, CONTENDERS, loc="outside right upper")
    figure.savefig(path, metadata={"Software": None})  # no version in the bytes
