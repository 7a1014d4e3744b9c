"""Study cross_domain: an encoder tuned on each domain, scored on both.

The encoder tuned on the web is the pipeline's; the scientific one is trained here from the same
base, with the same settings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ettin_retrieval.experiment import Material
from ettin_retrieval.pipeline import Paths, run_stage
from ettin_retrieval.reports.documents import Table, points
from ettin_retrieval.settings.schema import Settings
from ettin_retrieval.studies import report
from ettin_retrieval.studies.arms import Arms, Scores, read_scores
from ettin_retrieval.studies.domains import OTHER, SCIENTIFIC, WEB, domain_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CHECKPOINTS = {"nothing": "base", WEB: WEB, SCIENTIFIC: SCIENTIFIC}
"""What an encoder was trained on, to the name of its checkpoint."""


def run(settings: Settings, paths: Paths) -> str:
    """Train on the scientific domain, score, and write matrix and heat map."""
    material = Material.read(paths["training"], paths["negatives"])
    arms = Arms("cross_domain", paths["benchmark"], paths["results"])
    scored = {
        "nothing": read_scores(paths["base-scores"]),
        WEB: read_scores(paths["finetuned-scores"]),
        # With exactly the settings of the web's encoder.
        SCIENTIFIC: arms.run(SCIENTIFIC, paths["encoder"], material, settings),
    }
    arms.close()
    notes = [
        "Scores are in points (x100). A star marks in-domain scores.",
        f"The scientific training data has {len(material.train.queries):,} queries; the web's is "
        "the pipeline's.",
    ]
    if OTHER in report.domains_of(scored["nothing"]):
        notes.append("Tasks of the domain `other` belong to neither domain's training data.")
    caption = f"Model {settings.model}, nDCG@10, seed {settings.seed}"
    transfers = transfer(scored)
    with report.styled():
        report.write(
            paths["output"],
            "cross_domain",
            "Cross-domain: trained on one domain, scored on both",
            [matrix(scored, caption), transfers],
            settings.model,
            {(CHECKPOINTS[name], settings.seed): scores for name, scores in scored.items()},
            notes,
            {"cross_domain.png": heat_map(scored, caption)},
        )
    return ", ".join(f"{row[0]}: {row[3]} against {row[2]}" for row in transfers.rows)


def matrix(scored: dict[str, Scores], caption: str) -> Table:
    """Tasks by training domain; in-domain cells have a star."""
    rows = tuple(
        (
            task,
            domain_of(task),
            *(
                points(report.ndcg(scores, task)) + ("*" if domain_of(task) == name else "")
                for name, scores in scored.items()
            ),
        )
        for task in report.tasks_of(scored["nothing"])
    )
    columns = ("Task", "Domain of the task", *(f"Trained on {name}" for name in scored))
    return Table(caption, columns, rows, labels=2)


def transfer(scored: dict[str, Scores]) -> Table:
    """Means over the tasks of a domain: not trained, trained in it, trained out of it."""
    rows = []
    for domain, other in ((WEB, SCIENTIFIC), (SCIENTIFIC, WEB)):
        if domain in report.domains_of(scored["nothing"]):
            base, inside, outside = (
                report.domain_mean(scored[name], domain) for name in ("nothing", domain, other)
            )
            values = (base, inside, outside, inside - outside)
            rows.append((f"{other} to {domain}", *map(points, values)))
    columns = ("Transfer", "Base", "In-domain", "Out-of-domain", "Lost by the transfer")
    return Table("Means over the tasks of a domain", columns, tuple(rows))


def heat_map(scored: dict[str, Scores], caption: str) -> Figure:
    """The matrix in colours; in-domain cells are framed."""
    import numpy as np
    from matplotlib import pyplot as plt
    from matplotlib.patches import Rectangle

    from ettin_retrieval.reports.style import WIDTH

    tasks = report.tasks_of(scored["nothing"])
    values = np.array([[100 * report.ndcg(s, task) for s in scored.values()] for task in tasks])
    figure, axes = plt.subplots(figsize=(0.7 * WIDTH, 1.2 + 0.34 * len(tasks)))
    image = axes.imshow(values, cmap="cividis", vmin=0, vmax=100, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        colour = "white" if value < 55 else "black"  # cividis is dark below its middle
        axes.text(column, row, f"{value:.1f}", ha="center", va="center", color=colour)
        if domain_of(tasks[row]) == list(scored)[column]:
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
        run,
        reads=["benchmark", "encoder", "training", "negatives", "base-scores", "finetuned-scores"],
        writes=["output", "results"],
    )
