"""How search grows with documents, queries and dimensions: ours, mteb's own, a bare top-k."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.contest import Contest, Runs
from benchmarks.record import Section
from benchmarks.search import CONTENDERS

SIZES = {"documents": 32_000, "queries": 128, "dimensions": 256}
"""The middle of each curve: a quarter, a half, once, twice and four times of each are measured."""

REPETITIONS = 3
FACTORS = (0.25, 0.5, 1, 2, 4)
COLOURS = ("#0072b2", "#a6a6a6", "#d55e00")
"""Of Okabe and Ito's palette, which colour-blind readers can tell apart, also in grey."""


def measure(sizes: dict[str, Any], repetitions: int) -> Section:
    """Vary one size at a time; `runs` holds a curve's point under `CONTENDER, SIZE VALUE`."""
    runs: Runs = {}
    with Contest(CONTENDERS) as contest:
        contest.warm_up(sizes | {"documents": 2_000, "queries": 10})
        for varied, middle in sizes.items():
            for value in (max(1, int(middle * factor)) for factor in FACTORS):
                contest.prepare(sizes | {varied: value})
                for name, found in contest.run(repetitions).items():
                    runs[point(name, varied, value)] = found
    return Section(
        "growth",
        "Growth of search",
        sizes,
        runs,
        notes=["See growth.png: one size varies, the others stay as they are above."],
    )


def point(contender: str, varied: str, value: int) -> str:
    """Name of a point of a curve.

    >>> point("ours", "documents", 1000)
    'ours, documents 1000'
    """
    return f"{contender}, {varied} {value}"


def draw(section: Section, path: Path) -> None:
    """A panel for each size, both axes logarithmic; the same section gives the same bytes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    from ettin_retrieval.reports.plots import STYLE, WIDTH

    with plt.style.context(STYLE, after_reset=True):
        figure, panels = plt.subplots(
            1, len(section.inputs), squeeze=False, sharey=True, figsize=(WIDTH, 2.6)
        )
        for axes, varied in zip(panels[0], section.inputs, strict=True):
            for name, colour in zip(CONTENDERS, COLOURS, strict=True):
                curve = _curve(section.runs, name, varied)
                axes.plot(*zip(*curve, strict=True), "o-", ms=3, lw=1.2, color=colour, label=name)
            axes.set_xscale("log", base=2)
            axes.set_yscale("log")
            values = [value for value, _ in curve]
            axes.set_xticks(values, [f"{value:,}" for value in values], fontsize=6)
            axes.set_xlabel(varied)
            axes.grid(axis="y")
        panels[0][0].set_ylabel("seconds")
        figure.legend(
            *axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False
        )
        sizes = ", ".join(f"{value:,} {name}" for name, value in section.inputs.items())
        figure.suptitle(f"Evaluation with a fake encoder; unless varied: {sizes}", fontsize=8)
        # Without the version of matplotlib, which PNGs carry by default.
        figure.savefig(path, metadata={"Software": None})
        plt.close(figure)


def _curve(runs: Runs, contender: str, varied: str) -> list[tuple[int, float]]:
    prefix = f"{contender}, {varied} "
    return sorted(
        (int(name.removeprefix(prefix)), median(run["seconds"] for run in found))
        for name, found in runs.items()
        if name.startswith(prefix)
    )
