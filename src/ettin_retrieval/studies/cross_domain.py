"""Study cross_domain: an encoder tuned on each domain, scored on both.

The encoder tuned on the web is the pipeline's own; the scientific one is trained here from the
same base, with the same settings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ettin_retrieval.pipeline import Paths, run_stage
from ettin_retrieval.reports.documents import Table, points
from ettin_retrieval.settings.schema import Settings
from ettin_retrieval.studies import report
from ettin_retrieval.studies.arms import Trainer
from ettin_retrieval.studies.domains import OTHER, SCIENTIFIC, WEB, domain_of
from ettin_retrieval.studies.material import Scores, read_material, read_scores

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TRAINED_ON = {"nothing": "base", WEB: WEB, SCIENTIFIC: SCIENTIFIC}
"""What an encoder was trained on, to the name of its checkpoint."""


def body(settings: Settings, paths: Paths) -> str:
    """Train on the scientific domain, score, and write matrix and heat map."""
    trainer = Trainer("cross_domain", paths["benchmark"], paths["results"])
    material = read_material(paths["training"], paths["negatives"])
    # Exactly the settings that the web's encoder was trained with.
    entry = trainer.run(SCIENTIFIC, paths["encoder"], material, settings)
    trainer.close()
    scored = {
        "nothing": read_scores(paths["base-scores"]),
        WEB: read_scores(paths["finetuned-scores"]),
        SCIENTIFIC: entry.scores,
    }
    numbers = {(TRAINED_ON[name], settings.seed): scores for name, scores in scored.items()}
    caption = f"Model {settings.model}, nDCG@10, seed {settings.seed}"
    with report.styled():
        report.write(
            paths["output"],
            "cross_domain",
            "Cross-domain: trained on one domain, scored on both",
            [matrix(scored, caption), transfer(scored)],
            report.records(settings.model, numbers),
            notes(scored, len(material.train.queries)),
            {"cross_domain.png": heat_map(scored, caption)},
        )
    return transfer_told(scored)


def in_domain(trained_on: str, task: str) -> bool:
    """Whether a task belongs to the domain that an encoder was trained on."""
    return domain_of(task) == trained_on


def matrix(scored: dict[str, Scores], caption: str) -> Table:
    """Tasks by training domain; in-domain cells have a star."""
    tasks = report.tasks_of(scored["nothing"])
    rows = tuple(
        (
            task,
            domain_of(task),
            *(
                points(report.ndcg(scores, task)) + ("*" if in_domain(name, task) else "")
                for name, scores in scored.items()
            ),
        )
        for task in tasks
    )
    columns = ("Task", "Domain of the task", *(f"Trained on {name}" for name in scored))
    return Table(caption, columns, rows, labels=2)


def transfer(scored: dict[str, Scores]) -> Table:
    """Means over the tasks of a domain: trained in it, out of it, and not at all."""
    rows = []
    for domain, other in ((WEB, SCIENTIFIC), (SCIENTIFIC, WEB)):
        if domain not in report.domains_of(scored["nothing"]):
            continue
        base, inside, outside = (
            report.domain_mean(scored[name], domain) for name in ("nothing", domain, other)
        )
        rows.append(
            (f"{other} to {domain}", *map(points, (base, inside, outside, inside - outside)))
        )
    columns = ("Transfer", "Base", "In-domain", "Out-of-domain", "Lost by the transfer")
    return Table("Means over the tasks of a domain", columns, tuple(rows))


def transfer_told(scored: dict[str, Scores]) -> str:
    """Both transfers in one line."""
    return ", ".join(f"{row[0]}: {row[3]} against {row[2]}" for row in transfer(scored).rows)


def notes(scored: dict[str, Scores], queries: int) -> list[str]:
    """Facts to read the matrix by."""
    told = [
        "Scores are in points (x100). A star marks in-domain scores, the others are out of it.",
        f"The scientific training data has {queries:,} queries; the web's is the pipeline's own.",
    ]
    if OTHER in report.domains_of(scored["nothing"]):
        told.append("Tasks of the domain `other` belong to neither domain's training data.")
    return told


def heat_map(scored: dict[str, Scores], caption: str) -> Figure:
    """The matrix in colours; in-domain cells are framed."""
    import numpy as np
    from matplotlib import pyplot as plt
    from matplotlib.patches import Rectangle

    from ettin_retrieval.reports.plots import WIDTH

    tasks = report.tasks_of(scored["nothing"])
    values = np.array([[100 * report.ndcg(s, task) for s in scored.values()] for task in tasks])
    figure, axes = plt.subplots(figsize=(0.7 * WIDTH, 1.2 + 0.34 * len(tasks)))
    image = axes.imshow(values, cmap="cividis", vmin=0, vmax=100, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        # cividis is dark below its middle.
        colour = "white" if value < 55 else "black"
        axes.text(column, row, f"{value:.1f}", ha="center", va="center", color=colour)
        if in_domain(list(scored)[column], tasks[row]):
            place = (column - 0.46, row - 0.44)
            axes.add_patch(Rectangle(place, 0.92, 0.88, fill=False, edgecolor="#d55e00", lw=2))
    axes.set_xticks(range(len(scored)), list(scored))
    axes.set_yticks(range(len(tasks)), [f"{task} ({domain_of(task)})" for task in tasks])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("trained on (framed: in-domain)")
    axes.set_title(caption, loc="left")
    figure.colorbar(image, ax=axes, label="nDCG@10 (points)", fraction=0.05, pad=0.02)
    return figure


if __name__ == "__main__":
    run_stage(
        "cross_domain",
        body,
        reads=["benchmark", "encoder", "training", "negatives", "base-scores", "finetuned-scores"],
        writes=["output", "results"],
        package="studies",
    )
