"""Study few_shot: how scores grow with the number of training queries, from none on.

A seed samples the queries and trains on them; the base encoder is the same for all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ettin_retrieval.experiment import Material
from ettin_retrieval.pipeline import Paths, run_stage
from ettin_retrieval.reports.documents import Table, improved
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.settings.schema import Settings
from ettin_retrieval.studies import report
from ettin_retrieval.studies.arms import Arms, Scores, read_scores, sample
from ettin_retrieval.studies.settings import PARAMS, load_study_settings, varied
from ettin_retrieval.tasks import AVERAGE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Scored = dict[int, dict[int, Scores]]
"""Number of training queries to seed to scores."""

GUIDE_TASKS = (("MSMARCO", "mrr_at_10"), ("NFCorpus", "ndcg_at_10"), ("SciFact", "ndcg_at_10"))
"""Tasks of the guide's zero-shot and few-shot evaluation, with their metrics."""

COLOURS = ("#000000", "#0072b2", "#d55e00", "#009e73")
"""From Okabe and Ito's palette."""


def run(settings: Settings, paths: Paths) -> str:
    """Train with every number of queries and every seed; write tables and curve."""
    study = load_study_settings()
    few = study.few_shot
    material = Material.read(paths["training"], paths["negatives"])
    available, most = len(material.train.positives()), max(few.examples)
    if most > available:
        raise InputError(
            f"{PARAMS}: few_shot.examples: {most:,} is more than the {available:,} queries of "
            f"{paths['training']}"
        )
    base = read_scores(paths["base-scores"])
    arms = Arms("few_shot", paths["benchmark"], paths["results"])
    scored: Scored = {}
    for count in sorted(few.examples):
        for seed in few.seeds:
            scores = base
            if count:
                arm = varied(settings, {"seed": seed}, study)
                chosen = sample(material, seed, count)
                scores = arms.run(f"shots{count}", paths["encoder"], chosen, arm)
            scored.setdefault(count, {})[seed] = scores
    arms.close()
    with report.styled():
        report.write(
            paths["output"],
            "few_shot",
            "Zero-shot against few-shot",
            [growth(scored), guide_table(scored)],
            settings.model,
            {
                (f"shots{count}" if count else "base", seed): scores
                for count, seeds in scored.items()
                for seed, scores in seeds.items()
            },
            [
                "Scores are in points (x100): mean and standard deviation over the seeds "
                f"{', '.join(map(str, few.seeds))}, which sample the training queries and train. "
                "The base encoder is the same for every seed.",
                f"Every number of queries is trained for {settings.epochs} epoch"
                f"{'s' if settings.epochs > 1 else ''} in batches of {settings.batch_size}: ten "
                f"queries are {settings.epochs * -(-10 // settings.batch_size)} steps.",
            ],
            {"few_shot.png": curve(scored, settings.model)},
        )
    means = [(count, list(map(_average, seeds.values()))) for count, seeds in scored.items()]
    return "mean nDCG@10 " + ", ".join(f"{c}: {sum(m) / len(m):.4f}" for c, m in means)


def _average(scores: Scores) -> float:
    return report.domain_mean(scores, "average")


def growth(scored: Scored) -> Table:
    """nDCG@10 by number of training queries, for the mean and for every task."""
    tasks = report.tasks_of(next(iter(next(iter(scored.values())).values())))
    rows = []
    for count, seeds in scored.items():
        # Without training, a seed changes nothing.
        runs = list(seeds.values())[: None if count else 1]
        cells = [report.spread([_average(s) for s in runs])]
        cells += [report.spread([report.ndcg(s, task) for s in runs]) for task in tasks]
        rows.append((str(count), *cells))
    return Table("nDCG@10 by number of training queries", ("Queries", "Mean", *tasks), tuple(rows))


def guide_table(scored: Scored) -> Table:
    """The guide's columns for the fewest and the most training queries, with the improvement."""
    least, most = min(scored), max(scored)
    first = next(iter(scored[least].values()))
    columns = [("Avg nDCG@10", AVERAGE)] if AVERAGE in first else []
    for task, metric in GUIDE_TASKS:
        for name in (task, f"Tiny{task}"):
            if f"{name}.{metric}" in first:
                heading = "MRR@10" if metric == "mrr_at_10" else "nDCG@10"
                columns.append((f"{name} {heading}", f"{name}.{metric}"))

    def mean(count: int, key: str) -> float:
        values = [scores[key] for scores in scored[count].values()]
        return sum(values) / len(values)

    rows = []
    for count in (least, most):
        before = {key: None if count == least else mean(least, key) for _, key in columns}
        rows.append((str(count), *(improved(mean(count, k), before[k]) for _, k in columns)))
    caption = f"The guide's columns: {least} against {most:,} training queries"
    return Table(caption, ("Queries", *(name for name, _ in columns)), tuple(rows))


def curve(scored: Scored, model: str) -> Figure:
    """Mean over seeds for the guide's tasks, with a band from the lowest to the highest."""
    from matplotlib import pyplot as plt

    from ettin_retrieval.reports.style import WIDTH

    first = next(iter(next(iter(scored.values())).values()))
    guide = {name for task, _ in GUIDE_TASKS for name in (task, f"Tiny{task}")}
    lines = ["mean of all tasks", *(t for t in report.tasks_of(first) if t in guide)]
    figure, axes = plt.subplots(figsize=(WIDTH, 3.2))
    counts = sorted(scored)
    for name, colour in zip(lines, COLOURS, strict=False):
        whole = name == lines[0]
        values = [
            [100 * (_average(s) if whole else report.ndcg(s, name)) for s in scored[c].values()]
            for c in counts
        ]
        places = range(len(counts))
        lowest, highest = [min(v) for v in values], [max(v) for v in values]
        axes.fill_between(places, lowest, highest, color=colour, alpha=0.2, lw=0)
        width = 2.0 if whole else 1.2
        means = [sum(v) / len(v) for v in values]
        axes.plot(places, means, color=colour, lw=width, marker="o", markersize=3.5, label=name)
    # Evenly spaced: the numbers grow tenfold, and zero has no logarithm.
    axes.set_xticks(range(len(counts)), [f"{count:,}" for count in counts])
    axes.set_xlabel("training queries")
    axes.set_ylabel("nDCG@10 (points)")
    axes.set_ylim(0, 100)
    axes.grid(axis="y")
    seeds = len(next(iter(scored.values())))
    title = f"Model {model}: mean of {seeds} seeds, band from lowest to highest"
    axes.set_title(title, loc="left")
    axes.legend(frameon=False, loc="upper left")
    return figure


if __name__ == "__main__":
    run_stage(
        "few_shot",
        run,
        reads=["benchmark", "encoder", "training", "negatives", "base-scores"],
        writes=["output", "results"],
    )
