"""How every picture looks, and how it is saved: the same bytes each time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

matplotlib.use("Agg")

WIDTH = 6.5
"""Inches between the margins of a page; text is sized to be read at this width."""

STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so every machine has the same
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.08,  # inches; the last number of an axis needs them
    "figure.dpi": 160,
    "savefig.dpi": 160,
}


def styled() -> Any:
    """A context in which figures have `STYLE`, whatever the user's matplotlibrc says."""
    return plt.style.context(STYLE, after_reset=True)


def save(figure: Figure, path: Path) -> None:
    """Write a figure without the version of matplotlib, which PNG files carry by default."""
    figure.savefig(path, metadata={"Software": None})
    plt.close(figure)
