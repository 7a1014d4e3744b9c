"""Pictures of the ledger, the same bytes each time, and the data that DVC plots.

- `tasks-MODEL-RECIPE.png`: nDCG@10 of each task, base against fine-tuned
- `heatmaps/tiny.png`, `heatmaps/mteb.png`: nDCG@10 of tasks by models, also shown by DVC
- `queries-MODEL-RECIPE.png`: each query's difference, fine-tuned minus base, sorted, by task
- `tasks.json`, `queries.json`: for `dvc plots show` and `dvc plots diff`
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ettin_retrieval.ledger.entry import Entry, arm_name
from ettin_retrieval.ledger.table import Measured, keys_of, measure, of_arm
from ettin_retrieval.reports.style import WIDTH, save, styled
from ettin_retrieval.reports.view import BM25, View, model_order
from ettin_retrieval.runtime.files import replacing, write_json
from ettin_retrieval.tasks import CQADUPSTACK

BASE, TUNED, LOSS = "#a6a6a6", "#0072b2", "#d55e00"
"""From Okabe and Ito's palette, which colour-blind readers can tell apart, also in grey."""

SHARES = tuple(range(0, 101, 5))
"""Percentages of queries at which queries.json gives the difference."""

ARM_NAMES = {
    "base": "base",
    "finetuned-guide": "fine-tuned (guide)",
    "finetuned-paper": "fine-tuned (paper)",
}
"""Names of the arms in pictures, in the order in which they appear."""

Scores = dict[tuple[str, str, str], Measured]
"""Model, arm and task to nDCG@10, a fraction: mean and deviation over seeds."""

Differences = dict[str, npt.NDArray[np.float64]]
"""Task to each query's difference in nDCG@10, in points, sorted."""


def write_plots(results: Path, expected: Path, directory: Path) -> int:
    """Draw every picture into a directory, replacing what it held; return the number of files."""
    view = View.read(results, expected)
    scores = ndcg_scores(view.scores)
    with replacing(directory) as partial, styled():
        write_json(partial / "tasks.json", task_rows(view))
        rows, drawn = [], set()
        for base, tuned in view.pairs():
            name = f"{tuned.model}-{tuned.recipe}.png"
            # The first seed of each: differences of several would hide how queries vary.
            if name in drawn:
                continue
            differences = query_differences(view.queries(base), view.queries(tuned))
            if not differences:  # no task in common
                continue
            drawn.add(name)
            rows += query_rows(tuned, differences)
            save(draw_tasks(tuned.model, tuned.arm, scores), partial / f"tasks-{name}")
            save(draw_queries(tuned, differences), partial / f"queries-{name}")
        write_json(partial / "queries.json", rows)
        (partial / "heatmaps").mkdir()
        for name, chosen in _heat_maps(scores).items():
            save(draw_heat_map(chosen), partial / "heatmaps" / name)
        return len([path for path in partial.rglob("*") if path.is_file()])


def ndcg_scores(scores: pd.DataFrame) -> Scores:
    """nDCG@10 of every model, arm and task, from the long table."""
    return {
        (key.model, arm_name(key.checkpoint, key.recipe), key.task): measure(scores, key)
        for key in keys_of(scores, "ndcg_at_10")
    }


def task_rows(view: View) -> list[dict[str, Any]]:
    """Rows of tasks.json: one per model, arm, seed and task; scores are fractions."""
    rows = []
    for entry in sorted(view.entries, key=lambda e: (model_order(e.model), e.arm, e.seed)):
        rows_of_arm = of_arm(view.scores, entry.model, entry.checkpoint, entry.recipe)
        own = rows_of_arm[(rows_of_arm["seed"] == entry.seed) & rows_of_arm["split"].notna()]
        for task, metrics in own.groupby("task", sort=True):
            values = dict(zip(metrics["metric"], metrics["value"].tolist(), strict=True))
            rows.append(
                {
                    "model": entry.model,
                    "checkpoint": ARM_NAMES.get(entry.arm, entry.arm),
                    "seed": entry.seed,
                    "task": task,
                    "ndcg_at_10": values.get("ndcg_at_10"),
                    "mrr_at_10": values.get("mrr_at_10"),
                }
            )
    return rows


def query_differences(base: pd.DataFrame, tuned: pd.DataFrame) -> Differences:
    """Differences on the queries that both checkpoints scored.

    The parts of CQADupstackRetrieval are taken together.

    Parameters
    ----------
    base, tuned
        Columns task, query_id and ndcg_at_10.
    """
    left, right = (frame.set_index(["task", "query_id"])["ndcg_at_10"] for frame in (base, tuned))
    both = pd.concat([left, right], axis=1, join="inner", keys=["base", "tuned"]).reset_index()
    both["task"] = both["task"].where(~both["task"].str.startswith("CQADupstack"), CQADUPSTACK)
    # Rounded: equal scores of two runs may differ in the last bit, and are ties.
    both["difference"] = (100 * (both["tuned"] - both["base"])).round(8)
    return {
        str(task): np.sort(rows["difference"].to_numpy(dtype=np.float64))
        for task, rows in sorted(both.groupby("task"), key=lambda group: str(group[0]).casefold())
    }


def query_rows(tuned: Entry, differences: Differences) -> list[dict[str, Any]]:
    """Rows of queries.json: the sorted differences at every twentieth of the queries.

    >>> tuned = Entry("tiny", "finetuned", 42, recipe="guide", scores={}, tasks={})
    >>> rows = query_rows(tuned, {"T": np.array([-50.0, 0.0, 100.0])})
    >>> [rows[0]["difference"], rows[10]["difference"], rows[20]["difference"]]
    [-0.5, 0.0, 1.0]
    """
    return [
        {
            "model": f"{tuned.model}, recipe {tuned.recipe}, seed {tuned.seed}",
            "task": task,
            "share_of_queries": share,
            # The nearest query's difference, not an interpolated one.
            "difference": round(float(values[round(share / 100 * (len(values) - 1))]) / 100, 10),
        }
        for task, values in differences.items()
        for share in SHARES
    ]


def draw_tasks(model: str, tuned: str, scores: Scores) -> Figure:
    """Bars of base and fine-tuned for each task both have, with the spread over seeds."""
    tasks = sorted(
        (t for m, a, t in scores if (m, a) == (model, "base") and (m, tuned, t) in scores),
        key=str.casefold,
        reverse=True,  # the first bar is drawn lowest
    )
    figure, axes = plt.subplots(figsize=(WIDTH, 0.9 + 0.34 * max(len(tasks), 2)))
    places = np.arange(len(tasks))
    several = False
    for offset, checkpoint, colour in ((0.2, "base", BASE), (-0.2, tuned, TUNED)):
        shown = [scores[model, checkpoint, task] for task in tasks]
        values = [100 * (score.value or 0) for score in shown]
        spread = [100 * (score.deviation or 0) for score in shown]
        seeds = sorted({score.seeds for score in shown})
        several = several or seeds[-1:] > [1]
        label = ARM_NAMES[checkpoint] + (f", {_range(seeds)} seeds" if seeds[-1:] > [1] else "")
        axes.barh(places + offset, values, height=0.38, color=colour, label=label)
        if any(spread):
            axes.errorbar(values, places + offset, xerr=spread, fmt="none", ecolor="black",
                          elinewidth=0.8, capsize=2)  # fmt: skip
        for place, value, deviation in zip(places + offset, values, spread, strict=True):
            axes.annotate(
                f"{value:.1f}", (value + deviation, place), (3, 0), textcoords="offset points",
                va="center", fontsize=7,
            )  # fmt: skip
    axes.set_yticks(places, tasks)
    axes.set_ylim(-0.6, len(tasks) - 0.4)
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, 108)  # with room for the labels of the longest bars
    axes.set_xticks(range(0, 101, 20))
    axes.set_xlabel(
        "nDCG@10 (points)" + ("; mean and standard deviation over seeds" if several else "")
    )
    axes.grid(axis="x")
    axes.set_title(f"Model {model}", loc="left")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False, borderpad=0)
    return figure


def _range(seeds: list[int]) -> str:
    return str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"


def draw_heat_map(scores: Scores) -> Figure:
    """Tasks by models, a panel for each arm with the models that have it; one colour scale."""
    tasks = sorted({task for _, _, task in scores}, key=str.casefold)
    arms = {
        arm: sorted({model for model, a, _ in scores if a == arm}, key=model_order)
        for arm in ARM_NAMES
        if any(arm == a for _, a, _ in scores)
    }
    columns = sum(map(len, arms.values()))
    figure, panels = plt.subplots(
        1, len(arms), squeeze=False, sharey=True, width_ratios=[len(m) for m in arms.values()],
        figsize=(min(WIDTH, 2.6 + 0.75 * columns), 1.1 + 0.24 * len(tasks)),
    )  # fmt: skip
    for axes, (arm, models) in zip(panels[0], arms.items(), strict=True):
        values = np.array(
            [[_in_points(scores.get((m, arm, t))) for m in models] for t in tasks], dtype=float
        )
        image = axes.imshow(values, cmap="cividis", vmin=0, vmax=100, aspect="auto")
        for (row, column), value in np.ndenumerate(values):
            text = "–" if np.isnan(value) else f"{value:.1f}"
            colour = "white" if value < 55 else "black"  # cividis is dark below its middle
            axes.text(column, row, text, ha="center", va="center", fontsize=7, color=colour)
        axes.set_title(ARM_NAMES[arm].replace(" (", "\n("), fontsize=7)
        axes.set_xticks(range(len(models)), [m.replace(BM25, "BM25") for m in models], fontsize=7)
        axes.set_yticks(range(len(tasks)), tasks)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    figure.supxlabel("model", fontsize=8)
    figure.colorbar(image, ax=list(panels[0]), label="nDCG@10 (points)", fraction=0.04, pad=0.02)
    return figure


def _in_points(score: Measured | None) -> float:
    return np.nan if score is None or score.value is None else 100 * score.value


def draw_queries(tuned: Entry, differences: Differences) -> Figure:
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
        # The lowest panel of a column that ends early needs tick labels too.
        lowest = max(r for r in range(rows) if r * columns + column < len(differences))
        panels[lowest][column].tick_params(labelbottom=True)
    figure.supxlabel("Queries, from most worsened to most improved (%)", fontsize=8)
    figure.supylabel("Fine-tuned minus base, nDCG@10 (points)", fontsize=8)
    title = (
        f"Model {tuned.model}, recipe {tuned.recipe}, seed {tuned.seed}: difference on each query "
        "(number of queries in parentheses)"
    )
    figure.suptitle(title, fontsize=8)
    return figure


def _draw_differences(axes: Axes, values: npt.NDArray[np.float64]) -> None:
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
    """Generated and real tasks share no models, so they are two pictures."""
    tiny = {key: value for key, value in scores.items() if key[2].startswith("Tiny")}
    real = {key: value for key, value in scores.items() if key not in tiny}
    return {name: chosen for name, chosen in (("tiny.png", tiny), ("mteb.png", real)) if chosen}
