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

from ettin_retrieval.ledger.entry import Entry
from ettin_retrieval.ledger.store import QUERY_METRICS
from ettin_retrieval.reports.likeness import unlike
from ettin_retrieval.reports.measured import Measured
from ettin_retrieval.reports.references import Key
from ettin_retrieval.reports.style import WIDTH, save, styled
from ettin_retrieval.reports.view import BM25, View, entry_order, model_order, scored_tasks
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
    scores = ndcg_scores(view)
    with replacing(directory) as partial, styled():
        write_json(partial / "tasks.json", task_rows(view))
        rows, drawn = [], set()
        for base, tuned in view.pairs():
            name = f"{tuned.model}-{tuned.recipe}.png"
            # The first seed of each: differences of several would hide how queries vary.
            if name in drawn:
                continue
            differences = query_differences(*view.like_queries(base, tuned))
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


def ndcg_scores(view: View) -> Scores:
    """nDCG@10 of every model, arm and task."""
    return {
        (e.model, e.arm, task): view.measured(
            Key(e.model, e.checkpoint, e.recipe, task, split, "ndcg_at_10")
        )
        for e in view.entries
        for task, split in scored_tasks(e).items()
        if f"{task}.ndcg_at_10" in e.scores
    }


def task_rows(view: View) -> list[dict[str, Any]]:
    """Rows of tasks.json: one per model, arm, seed and task; scores are fractions."""
    return [
        {
            "model": entry.model,
            "checkpoint": ARM_NAMES.get(entry.arm, entry.arm),
            "seed": entry.seed,
            "task": task,
            **{metric: entry.scores.get(f"{task}.{metric}") for metric in QUERY_METRICS},
        }
        for entry in sorted(view.entries, key=entry_order)
        for task in scored_tasks(entry)
    ]


def query_differences(base: pd.DataFrame, tuned: pd.DataFrame) -> Differences:
    """Differences on the queries that both checkpoints scored.

    The parts of CQADupstackRetrieval are taken together.
    """
    both = base.merge(tuned, on=["task", "query_id"], suffixes=("", "_tuned"))
    tasks = both["task"].where(~both["task"].str.startswith("CQADupstack"), CQADUPSTACK)
    # Rounded: equal scores of two runs may differ in the last bit, and are ties.
    differences = (100 * (both["ndcg_at_10_tuned"] - both["ndcg_at_10"])).round(8)
    return {
        task: np.sort(differences[tasks == task].to_numpy())
        for task in sorted(tasks.unique(), key=str.casefold)
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
    """Bars of base and fine-tuned for each task both have, with the spread over seeds.

    Tasks that the two did not score alike are left out, and the title names them.
    """
    both = {
        task: [each.name for each in unlike(base.conditions, scores[m, tuned, task].conditions)]
        for (m, arm, task), base in scores.items()
        if (m, arm) == (model, "base") and (m, tuned, task) in scores
    }
    # The first bar is drawn lowest.
    tasks = sorted((t for t, names in both.items() if not names), key=str.casefold, reverse=True)
    left_out = sorted({name for names in both.values() for name in names})
    figure, axes = plt.subplots(figsize=(WIDTH, 0.9 + 0.34 * max(len(tasks), 2)))
    unit = "nDCG@10 (points)"
    for offset, checkpoint, colour in ((0.2, "base", BASE), (-0.2, tuned, TUNED)):
        shown = [scores[model, checkpoint, task] for task in tasks]
        spread = [100 * (score.deviation or 0) for score in shown]
        seeds = sorted({score.seeds for score in shown})
        label = ARM_NAMES[checkpoint]
        if seeds[-1:] > [1]:
            span = f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else seeds[0]
            label += f", {span} seeds"
            unit = "nDCG@10 (points); mean and standard deviation over seeds"
        bars = axes.barh(
            np.arange(len(tasks)) + offset, [_in_points(score) for score in shown], height=0.38,
            color=colour, label=label, xerr=spread if any(spread) else None, ecolor="black",
            capsize=2, error_kw={"elinewidth": 0.8},
        )  # fmt: skip
        axes.bar_label(bars, fmt="{:.1f}", padding=3, fontsize=7)
    axes.set_yticks(range(len(tasks)), tasks)
    axes.tick_params(axis="y", length=0)
    # With room for the labels of the longest bars.
    axes.set(xlim=(0, 108), ylim=(-0.6, len(tasks) - 0.4), xticks=range(0, 101, 20), xlabel=unit)
    axes.grid(axis="x")
    title = f"Model {model}" + (f"\nleft out: other {', '.join(left_out)}" if left_out else "")
    axes.set_title(title, loc="left")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False, borderpad=0)
    return figure


def draw_heat_map(scores: Scores) -> Figure:
    """Tasks by models, a panel for each arm with the models that have it; one colour scale.

    A score that was not measured as the first of its row was has an asterisk, and a line below the
    map says in what they differ.
    """
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
    first: dict[str, Measured] = {}
    for arm, models in arms.items():
        for model in models:
            first |= {t: scores[model, arm, t] for t in tasks if (model, arm, t) in scores} | first
    differing: set[str] = set()
    for axes, (arm, models) in zip(panels[0], arms.items(), strict=True):
        values = np.array(
            [[_in_points(scores.get((m, arm, t))) for m in models] for t in tasks], dtype=float
        )
        image = axes.imshow(values, cmap="cividis", vmin=0, vmax=100, aspect="auto")
        for (row, column), value in np.ndenumerate(values):
            text = "–" if np.isnan(value) else f"{value:.1f}"
            score = scores.get((models[column], arm, tasks[row]))
            if score and (other := unlike(first[tasks[row]].conditions, score.conditions)):
                text += "*"
                differing |= {each.what for each in other}
            colour = "white" if value < 55 else "black"  # cividis is dark below its middle
            axes.text(column, row, text, ha="center", va="center", fontsize=7, color=colour)
        axes.set_title(ARM_NAMES[arm].replace(" (", "\n("), fontsize=7)
        axes.set_xticks(range(len(models)), [m.replace(BM25, "BM25") for m in models], fontsize=7)
        axes.set_yticks(range(len(tasks)), tasks)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    stars = f"\n* {', '.join(sorted(differing))}: not as in the row's first score"
    figure.supxlabel("model" + (stars if differing else ""), fontsize=8)
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
    for number, (task, values) in enumerate(differences.items()):
        axes = panels.flat[number]
        _draw_differences(axes, values)
        axes.set_title(f"{task} ({len(values):,})", loc="left", fontsize=7)
        # The lowest panel of a column that ends early needs tick labels too.
        axes.tick_params(labelbottom=number + columns >= len(differences))
    for axes in panels.flat[len(differences) :]:
        axes.set_visible(False)
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
    for chosen, colour, word, height in (
        (np.minimum(values, 0), LOSS, "worse", 0.18),
        (np.maximum(values, 0), TUNED, "better", 0.34),
    ):
        axes.stairs(chosen, edges, fill=True, color=colour, linewidth=0)
        axes.text(
            0.97, height, f"{np.count_nonzero(chosen) / len(values):.0%} {word}",
            transform=axes.transAxes, color=colour, fontsize=7, va="top", ha="right",
        )  # fmt: skip
    axes.axhline(0, color="black", linewidth=0.6)
    axes.set(xlim=(0, 100), ylim=(-105, 105), xticks=[0, 50, 100], yticks=[-100, 0, 100])
    axes.grid(axis="y")


def _heat_maps(scores: Scores) -> dict[str, Scores]:
    """Generated and real tasks share no models, so they are two pictures."""
    tiny = {key: value for key, value in scores.items() if key[2].startswith("Tiny")}
    real = {key: value for key, value in scores.items() if key not in tiny}
    return {name: chosen for name, chosen in (("tiny.png", tiny), ("mteb.png", real)) if chosen}
