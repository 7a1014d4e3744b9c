"""Pictures of the ledger, with the same bytes each time, and the data that DVC plots.

- `tasks-MODEL.png`: nDCG@10 of each task, base against fine-tuned
- `heatmap.png`, `heatmap-embedded.png`: nDCG@10 of tasks by models
- `queries-MODEL.png`: each query's difference, fine-tuned minus base, sorted, by task
- `tasks.json`, `queries.json`: for `dvc plots show` and `dvc plots diff`
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd

from ettin_retrieval.expected import Expected, measure, scored_tasks
from ettin_retrieval.records import replacing, write_json
from ettin_retrieval.results import Entry, read_ledger, read_queries
from ettin_retrieval.tables import model_order

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

BASE, TUNED, LOSS = "#a6a6a6", "#0072b2", "#d55e00"
"""Of Okabe and Ito's palette, which colour-blind readers can tell apart, also in grey."""

WIDTH = 6.5
"""Inches between the margins of a page; text below is sized to be read at this width."""

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

SHARES = tuple(range(0, 101, 5))
"""Percentages of queries at which queries.json gives the difference."""

Scores = dict[tuple[str, str, str], float]
"""Model, checkpoint and task to nDCG@10 in points, mean over seeds."""


def write_plots(results: Path, directory: Path) -> int:
    """Draw every picture into a directory, in place of what it held; return how many files."""
    entries = read_ledger(results)
    scores = ndcg_scores(entries)
    # Reset first: whatever the user's matplotlibrc says, the pictures are the same.
    with replacing(directory) as partial, plt.style.context(STYLE, after_reset=True):
        write_json(partial / "tasks.json", task_rows(entries))
        rows = []
        for model in _models(entries):
            checkpoints = {entry.checkpoint for entry in entries if entry.model == model}
            if checkpoints >= {"base", "finetuned"}:
                _save(draw_tasks(model, scores), partial / f"tasks-{model}.png")
            differences = query_differences(results, entries, model)
            if differences:
                rows += query_rows(model, differences)
                _save(draw_queries(model, differences), partial / f"queries-{model}.png")
        write_json(partial / "queries.json", rows)
        for name, chosen in _heat_maps(scores).items():
            _save(draw_heat_map(chosen), partial / name)
        return len(list(partial.iterdir()))


# ---------------------------------------------------------------------------------------------
# Numbers


def ndcg_scores(entries: list[Entry]) -> Scores:
    """nDCG@10 of every model, checkpoint and task, in points."""
    scores: Scores = {}
    for entry in entries:
        for task, split in scored_tasks(entry).items():
            wanted = Expected(
                entry.model, entry.checkpoint, task, split, "ndcg_at_10", 0.0, 1.0, "", None
            )
            value = measure(entries, wanted, {}).value
            if value is not None:
                scores[entry.model, entry.checkpoint, task] = value * 100
    return scores


def task_rows(entries: list[Entry]) -> list[dict[str, Any]]:
    """Rows of tasks.json: one a model, checkpoint, seed and task; scores are fractions."""
    return [
        {
            "score": f"{task} {entry.model} {entry.checkpoint} {entry.seed}",
            "model": entry.model,
            "checkpoint": entry.checkpoint,
            "seed": entry.seed,
            "task": task,
            "ndcg_at_10": entry.scores.get(f"{task}.ndcg_at_10"),
            "mrr_at_10": entry.scores.get(f"{task}.mrr_at_10"),
        }
        for entry in sorted(entries, key=lambda e: (model_order(e.model), e.checkpoint, e.seed))
        for task in scored_tasks(entry)
    ]


def query_differences(
    directory: Path, entries: list[Entry], model: str
) -> dict[str, np.ndarray[Any, np.dtype[np.float64]]]:
    """Each task's differences in nDCG@10 (points), sorted; of the first seed with both checkpoints.

    The parts of CQADupstackRetrieval are taken together.
    """
    found = {entry.key: entry for entry in entries if entry.model == model}
    seeds = sorted(s for _, c, s in found if c == "base" and (model, "finetuned", s) in found)
    if not seeds:
        return {}
    index = ["task", "query_id"]
    base, tuned = (
        read_queries(directory, found[model, checkpoint, seeds[0]]).set_index(index)["ndcg_at_10"]
        for checkpoint in ("base", "finetuned")
    )
    both = pd.concat([base, tuned], axis=1, join="inner", keys=["base", "tuned"]).reset_index()
    both["task"] = both["task"].where(
        ~both["task"].str.startswith("CQADupstack"), "CQADupstackRetrieval"
    )
    # Rounded: equal scores of two runs may differ in the last bit, and are ties.
    both["difference"] = (100 * (both["tuned"] - both["base"])).round(8)
    return {
        str(task): np.sort(rows["difference"].to_numpy(dtype=np.float64))
        for task, rows in sorted(both.groupby("task"), key=lambda group: str(group[0]).casefold())
    }


def query_rows(
    model: str, differences: dict[str, np.ndarray[Any, np.dtype[np.float64]]]
) -> list[dict[str, Any]]:
    """Rows of queries.json: the sorted differences at every twentieth of the queries.

    >>> rows = query_rows("tiny", {"T": np.array([-50.0, 0.0, 100.0])})
    >>> [rows[0]["difference"], rows[10]["difference"], rows[20]["difference"]]
    [-0.5, 0.0, 1.0]
    """
    return [
        {
            "task": f"{task} {model}",
            "share_of_queries": share,
            # Of the nearest query: an interpolated difference is nobody's.
            "difference": round(float(values[round(share / 100 * (len(values) - 1))]) / 100, 10),
        }
        for task, values in differences.items()
        for share in SHARES
    ]


# ---------------------------------------------------------------------------------------------
# Pictures


def draw_tasks(model: str, scores: Scores) -> Figure:
    """Bars of base and fine-tuned for each task that both have."""
    tasks = sorted(
        (t for m, c, t in scores if (m, c) == (model, "base") and (m, "finetuned", t) in scores),
        key=str.casefold,
        reverse=True,  # the first bar is drawn lowest
    )
    figure, axes = plt.subplots(figsize=(WIDTH, 0.9 + 0.34 * max(len(tasks), 2)))
    places = np.arange(len(tasks))
    for offset, checkpoint, colour, label in (
        (0.2, "base", BASE, "base"),
        (-0.2, "finetuned", TUNED, "fine-tuned"),
    ):
        values = [scores[model, checkpoint, task] for task in tasks]
        bars = axes.barh(places + offset, values, height=0.38, color=colour, label=label)
        axes.bar_label(bars, fmt="%.1f", padding=2, fontsize=7)
    axes.set_yticks(places, tasks)
    axes.set_ylim(-0.6, len(tasks) - 0.4)
    axes.tick_params(axis="y", length=0)
    # Room for the labels of the longest bars.
    axes.set_xlim(0, 108)
    axes.set_xticks(range(0, 101, 20))
    axes.set_xlabel("nDCG@10 (points)")
    axes.grid(axis="x")
    axes.set_title(f"Model {model}: base against fine-tuned", loc="left")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False, borderpad=0)
    return figure


def draw_heat_map(scores: Scores) -> Figure:
    """Tasks by models, a panel for each checkpoint, on one scale of colours."""
    models = sorted({model for model, _, _ in scores}, key=model_order)
    tasks = sorted({task for _, _, task in scores}, key=str.casefold)
    checkpoints = [c for c in ("base", "finetuned") if any(c == k for _, k, _ in scores)]
    figure, panels = plt.subplots(
        1, len(checkpoints), squeeze=False, sharey=True,
        figsize=(min(WIDTH, 2.6 + 0.75 * len(models) * len(checkpoints)), 1.1 + 0.24 * len(tasks)),
    )  # fmt: skip
    for axes, checkpoint in zip(panels[0], checkpoints, strict=True):
        values = np.array([[scores.get((m, checkpoint, t), np.nan) for m in models] for t in tasks])
        image = axes.imshow(values, cmap="cividis", vmin=0, vmax=100, aspect="auto")
        _write_cells(axes, values)
        axes.set_title({"base": "base", "finetuned": "fine-tuned"}[checkpoint])
        axes.set_xticks(range(len(models)), models, fontsize=7)
        axes.set_yticks(range(len(tasks)), tasks)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_xlabel("model")
    figure.colorbar(image, ax=list(panels[0]), label="nDCG@10 (points)", fraction=0.04, pad=0.02)
    return figure


def _write_cells(axes: Axes, values: np.ndarray[Any, np.dtype[np.float64]]) -> None:
    for (row, column), value in np.ndenumerate(values):
        text = "–" if np.isnan(value) else f"{value:.1f}"
        # cividis is dark below its middle.
        colour = "white" if value < 55 else "black"
        axes.text(column, row, text, ha="center", va="center", fontsize=7, color=colour)


def draw_queries(
    model: str, differences: dict[str, np.ndarray[Any, np.dtype[np.float64]]]
) -> Figure:
    """Sorted differences by query, a panel for each task."""
    columns = 2 if len(differences) == 4 else min(3, len(differences))
    rows = -(-len(differences) // columns)
    figure, panels = plt.subplots(
        rows, columns, squeeze=False, sharex=True, sharey=True,
        figsize=(WIDTH, 0.7 + 1.35 * rows),
    )  # fmt: skip
    for axes, (task, values) in zip(panels.flat, differences.items(), strict=False):
        _draw_differences(axes, values)
        axes.set_title(f"{task} ({len(values):,})", loc="left", fontsize=7)
    for axes in list(panels.flat)[len(differences) :]:
        axes.set_visible(False)
    for column in range(columns):
        # The lowest panel of a column that ends early shows the numbers too.
        lowest = max(r for r in range(rows) if r * columns + column < len(differences))
        panels[lowest][column].tick_params(labelbottom=True)
    figure.supxlabel("Queries, from most worsened to most improved (%)", fontsize=8)
    figure.supylabel("Fine-tuned minus base, nDCG@10 (points)", fontsize=8)
    title = f"Model {model}: difference on each query (number of queries in parentheses)"
    figure.suptitle(title, fontsize=8)
    return figure


def _draw_differences(axes: Axes, values: np.ndarray[Any, np.dtype[np.float64]]) -> None:
    edges = np.linspace(0, 100, len(values) + 1)
    for chosen, colour in ((np.minimum(values, 0), LOSS), (np.maximum(values, 0), TUNED)):
        axes.stairs(chosen, edges, fill=True, color=colour, linewidth=0)
    axes.axhline(0, color="black", linewidth=0.6)
    wins, losses = int((values > 0).sum()), int((values < 0).sum())
    for place, text, colour in (
        ((0.97, 0.34), f"{wins / len(values):.0%} better", TUNED),
        ((0.97, 0.18), f"{losses / len(values):.0%} worse", LOSS),
    ):
        axes.text(
            *place, text, transform=axes.transAxes, color=colour, fontsize=7, va="top", ha="right"
        )
    axes.set_xlim(0, 100)
    axes.set_ylim(-105, 105)
    axes.set_xticks([0, 50, 100])
    axes.set_yticks([-100, 0, 100])
    axes.grid(axis="y")


def _heat_maps(scores: Scores) -> dict[str, Scores]:
    """Generated tasks and real ones share no models, and are two pictures."""
    embedded = {key: value for key, value in scores.items() if key[2].startswith("Tiny")}
    real = {key: value for key, value in scores.items() if key not in embedded}
    maps = {"heatmap-embedded.png": embedded, "heatmap.png": real}
    return {name: chosen for name, chosen in maps.items() if chosen}


def _models(entries: list[Entry]) -> list[str]:
    return sorted({entry.model for entry in entries}, key=model_order)


def _save(figure: Figure, path: Path) -> None:
    # Without the version of matplotlib, which PNGs carry by default.
    figure.savefig(path, metadata={"Software": None})
    plt.close(figure)
