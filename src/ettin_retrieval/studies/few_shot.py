"""Study few_shot: how scores grow with the number of training queries, from none on.

A seed samples the queries and trains on them; the base encoder is the same for all.
"""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING

from ettin_retrieval.reports.documents import Table, improved, points
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.studies.report import Report, Scores, domain_means, ndcg_rows, spread
from ettin_retrieval.studies.settings import PARAMS
from ettin_retrieval.studies.study import Study, run_study, sample
from ettin_retrieval.tasks import AVERAGE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Scored = dict[int, dict[int, Scores]]
"""Number of training queries to seed to scores."""

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
    settings, few = study.settings, study.params.few_shot
    available, most = len(study.material.train.positives()), max(few.examples)
    if most > available:
        raise InputError(
            f"{PARAMS}: few_shot.examples: {most:,} is more than the {available:,} queries of "
            f"{study.paths['training']}"
        )
    scored: Scored = {count: {} for count in sorted(few.examples)}
    for count, scores in scored.items():
        for seed in few.seeds:
            if count == 0:
                scores[seed] = study.scores("base")
            else:
                material = sample(study.material, seed, count)
                seeded = study.params.varied(settings, {"seed": seed})
                scores[seed] = study.train(f"shots{count}", seeded, material)
    means = {count: fmean(averages(seeds)) for count, seeds in scored.items()}
    return Report(
        title="Zero-shot against few-shot",
        tables=[growth(scored), guide_table(scored)],
        notes=[
            "Scores are in points (x100): mean and standard deviation over the seeds "
            f"{', '.join(map(str, few.seeds))}, which sample the training queries and train. "
            "The base encoder is the same for every seed.",
            f"Every number of queries is trained for {settings.epochs} epoch"
            f"{'s' if settings.epochs > 1 else ''} in batches of {settings.batch_size}: ten "
            f"queries are {settings.epochs * -(-10 // settings.batch_size)} steps.",
        ],
        scored={
            (f"shots{count}" if count else "base", seed): scores
            for count, seeds in scored.items()
            for seed, scores in seeds.items()
        },
        summary="mean nDCG@10 " + ", ".join(f"{n}: {mean:.4f}" for n, mean in means.items()),
        draw=lambda: curve(scored, settings.model),
    )


def averages(seeds: dict[int, Scores]) -> list[float]:
    """Mean nDCG@10 over all tasks for each seed."""
    return list(domain_means(ndcg_rows(seeds))["average"].values())


def growth(scored: Scored) -> Table:
    """nDCG@10 by number of training queries, for the mean and for every task."""
    cells = []
    for count, seeds in scored.items():
        rows = ndcg_rows(seeds)
        columns = [averages(seeds), *(list(row.scores.values()) for row in rows)]
        # Without training, a seed changes nothing.
        shown = columns if count else [scores[:1] for scores in columns]
        cells.append((str(count), *map(spread, shown)))
    headings = ("Queries", "Mean", *(row.task for row in rows))
    return Table("nDCG@10 by number of training queries", headings, tuple(cells))


def guide_table(scored: Scored) -> Table:
    """The guide's columns for the fewest and the most training queries, with the improvement."""
    least, most = min(scored), max(scored)
    guide = [(p + heading, p + key) for heading, key in GUIDE.items() for p in ("", "Tiny")]
    measured = next(iter(scored[least].values()))
    columns = {name: key for name, key in [("Avg nDCG@10", AVERAGE), *guide] if key in measured}
    before, after = (
        [fmean([scores[key] for scores in scored[count].values()]) for key in columns.values()]
        for count in (least, most)
    )
    rows = ((str(least), *map(points, before)), (str(most), *map(improved, after, before)))
    caption = f"The guide's columns: {least} against {most:,} training queries"
    return Table(caption, ("Queries", *columns), rows)


def curve(scored: Scored, model: str) -> Figure:
    """Mean over seeds for the guide's tasks, with a band from the lowest to the highest."""
    from matplotlib import pyplot as plt

    from ettin_retrieval.reports.style import WIDTH

    guide = {key.partition(".")[0] for key in GUIDE.values()}
    lines = {"mean of all tasks": [averages(seeds) for seeds in scored.values()]}
    for row in [row for seeds in scored.values() for row in ndcg_rows(seeds)]:
        if row.task.removeprefix("Tiny") in guide:
            lines.setdefault(row.task, []).append(list(row.scores.values()))
    places = range(len(scored))
    figure, axes = plt.subplots(figsize=(WIDTH, 3.2))
    for (name, values), colour in zip(lines.items(), COLOURS, strict=False):
        in_points = [[100 * score for score in seeds] for seeds in values]
        lowest, means, highest = (list(map(of, in_points)) for of in (min, fmean, max))
        axes.fill_between(places, lowest, highest, color=colour, alpha=0.2, lw=0)
        width = 2.0 if values is lines["mean of all tasks"] else 1.2
        axes.plot(places, means, color=colour, lw=width, marker="o", markersize=3.5, label=name)
    # Evenly spaced: the numbers grow tenfold, and zero has no logarithm.
    axes.set_xticks(places, [f"{count:,}" for count in scored])
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
