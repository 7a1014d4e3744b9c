"""Study few_shot: how scores grow with the number of training queries, from none on.

A seed draws the queries and trains on them, so that both are paired: the spread over seeds holds
draws and training. Every number of queries is trained for the same number of steps, and the last
weights are kept, so that no development label is used beside the labels that are counted.
"""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING

from ettin_retrieval.reports.documents import Table, improved, points
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.studies.difference import Arm, difference, intervals_in_words, spread
from ettin_retrieval.studies.report import AVERAGE, Report, domain_means, ndcg_rows, tasks_of
from ettin_retrieval.studies.settings import PARAMS
from ettin_retrieval.studies.study import Study, run_study, sample
from ettin_retrieval.tasks import AVERAGE as OF_BENCHMARK
from ettin_retrieval.tasks import AVERAGE_ENG_V2

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Arms = dict[int, Arm]
"""Number of training queries to what seeds scored."""

GUIDE = {
    "MSMARCO MRR@10": "MSMARCO.mrr_at_10",
    "NFCorpus nDCG@10": "NFCorpus.ndcg_at_10",
    "SciFact nDCG@10": "SciFact.ndcg_at_10",
}
"""Columns of the guide's zero-shot and few-shot evaluation; the tiny world's start with `Tiny`."""

COLOURS = ("#000000", "#0072b2", "#d55e00", "#009e73")
"""From Okabe and Ito's palette."""


def run(study: Study) -> Report:
    """Train with every number of queries and every seed."""
    few, seeds = study.params.few_shot, study.params.seeds
    pairs: dict[int, list[int]] = {}
    arms: Arms = {}
    for count in sizes(study):
        if count == 0:
            arms[count], pairs[count] = study.base(), [0]
            continue
        materials = {seed: sample(study.material, seed, count) for seed in seeds}
        pairs[count] = [len(material.pairs or []) for material in materials.values()]
        changes = {"finetuning.max_steps": few.steps}
        arms[count] = {
            seed: study.train(
                name_of(count), study.params.varied(study.settings, changes | {"seed": seed}), drawn
            )
            for seed, drawn in materials.items()
        }
    means = {count: fmean(averages(arm)) for count, arm in arms.items()}
    return Report(
        title="Zero-shot against few-shot",
        tables=[growth(arms, pairs), *guide_table(arms)],
        notes=[
            "Scores are nDCG@10 in points (x100), unless a column names another metric.",
            intervals_in_words(seeds)
            + " A seed draws the queries and trains on them (paired, not crossed); where all "
            "queries are taken, it only trains.",
            f"Every number of queries is trained for {few.steps:,} optimizer steps in batches of "
            f"at most {study.settings.batch_size}, which hold no query twice: few queries make "
            "smaller batches.",
            "No development label is used: the last weights are kept. So the queries counted are "
            "all that were labelled, but for those of the sweep of the learning rate, if any.",
            study.rate_in_words(),
        ],
        arms={name_of(count): arm for count, arm in arms.items()},
        summary="mean nDCG@10 " + ", ".join(f"{n}: {mean:.4f}" for n, mean in means.items()),
        draw=lambda: curve(arms, study.settings.model),
    )


def sizes(study: Study) -> list[int]:
    """The numbers of queries in rising order, `all` as a number.

    Raises
    ------
    InputError
        There are fewer queries.
    """
    available = len(study.material.train.positives())
    wanted = study.params.few_shot.examples
    for count in wanted:
        if count != "all" and count > available:
            raise InputError(
                f"{PARAMS}: few_shot.examples: {count:,} is more than the {available:,} queries of "
                f"{study.paths['training']}"
            )
    return sorted({available if count == "all" else count for count in wanted})


def name_of(count: int) -> str:
    """Name of the checkpoint."""
    return f"shots{count}" if count else "base"


def averages(arm: Arm) -> list[float]:
    """Mean nDCG@10 over all tasks for each seed."""
    return domain_means(ndcg_rows({"": arm}))[AVERAGE][""]


def growth(arms: Arms, pairs: dict[int, list[int]]) -> Table:
    """nDCG@10 by number of training queries, for the mean and for every task.

    The gain is on the smallest number, which is usually the base encoder.
    """
    least = arms[min(arms)]
    cells = []
    for count, arm in arms.items():
        rows = ndcg_rows({"": arm})
        gain = ("", "")
        if arm is not least:
            gain = difference(least, arm, tasks_of(rows, AVERAGE)).cells
        of_tasks = [spread(row.scores[""]) for row in rows]
        labelled = f"{fmean(pairs[count]):,.0f}"
        cells.append((str(count), labelled, spread(averages(arm)), *gain, *of_tasks))
    over = f"Gain on {min(arms)}"
    headings = ("Queries", "Pairs", "Mean", over, "95% interval", *(row.task for row in rows))
    return Table("nDCG@10 by number of training queries", headings, tuple(cells))


def guide_table(arms: Arms) -> list[Table]:
    """The guide's columns for the fewest and the most training queries, with the improvement.

    None if the tasks scored have none of these columns.
    """
    least, most = min(arms), max(arms)
    guide = [(p + heading, p + key) for heading, key in GUIDE.items() for p in ("", "Tiny")]
    averages = [("Avg nDCG@10", OF_BENCHMARK), ("Avg nDCG@10 (eng, v2)", AVERAGE_ENG_V2)]
    measured = next(iter(arms[least].values())).scores
    columns = {name: key for name, key in [*averages, *guide] if key in measured}
    if not columns:
        return []
    before, after = (
        [fmean([one.scores[key] for one in arms[count].values()]) for key in columns.values()]
        for count in (least, most)
    )
    rows = ((str(least), *map(points, before)), (str(most), *map(improved, after, before)))
    caption = f"The guide's columns: {least} against {most:,} training queries, means over seeds"
    return [Table(caption, ("Queries", *columns), rows)]


def curve(arms: Arms, model: str) -> Figure:
    """Mean over seeds for the guide's tasks, with a band from the lowest to the highest."""
    from matplotlib import pyplot as plt

    from ettin_retrieval.reports.style import WIDTH

    guide = {key.partition(".")[0] for key in GUIDE.values()}
    lines = {"mean of all tasks": [averages(arm) for arm in arms.values()]}
    for row in [row for arm in arms.values() for row in ndcg_rows({"": arm})]:
        if row.task.removeprefix("Tiny") in guide:
            lines.setdefault(row.task, []).append(row.scores[""])
    places = range(len(arms))
    figure, axes = plt.subplots(figsize=(WIDTH, 3.2))
    for (name, values), colour in zip(lines.items(), COLOURS, strict=False):
        in_points = [[100 * score for score in seeds] for seeds in values]
        lowest, means, highest = (list(map(of, in_points)) for of in (min, fmean, max))
        axes.fill_between(places, lowest, highest, color=colour, alpha=0.2, lw=0)
        width = 2.0 if values is lines["mean of all tasks"] else 1.2
        axes.plot(places, means, color=colour, lw=width, marker="o", markersize=3.5, label=name)
    # Evenly spaced: the numbers grow by factors, and zero has no logarithm.
    axes.set_xticks(places, [f"{count:,}" for count in arms])
    axes.set_xlabel("training queries")
    axes.set_ylabel("nDCG@10 (points)")
    axes.set_ylim(0, 100)
    axes.grid(axis="y")
    title = f"Model {model}: mean of {len(values[0])} seeds, band from lowest to highest"
    axes.set_title(title, loc="left")
    axes.legend(frameon=False, loc="upper left")
    return figure


if __name__ == "__main__":
    run_study("few_shot", run)
