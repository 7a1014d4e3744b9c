"""Study cross_domain: an encoder tuned on each domain, scored on both.

The encoder tuned on the web is the pipeline's; the scientific one is trained here from the same
base, with the same settings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ettin_retrieval.reports.documents import Table, points
from ettin_retrieval.studies.domains import OTHER, SCIENTIFIC, WEB
from ettin_retrieval.studies.report import Report, Row, domain_means, ndcg_rows
from ettin_retrieval.studies.study import Study, run_study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CHECKPOINTS = {"nothing": "base", WEB: WEB, SCIENTIFIC: SCIENTIFIC}
"""What an encoder was trained on, to the name of its checkpoint."""


def run(study: Study) -> Report:
    """Train on the scientific domain and score on both."""
    settings = study.settings
    scored = {
        "nothing": study.scores("base"),
        WEB: study.scores("finetuned"),
        # With exactly the settings of the web's encoder.
        SCIENTIFIC: study.train(SCIENTIFIC, settings),
    }
    rows = ndcg_rows(scored)
    notes = [
        "Scores are in points (x100). A star marks in-domain scores.",
        f"The scientific training data has {len(study.material.train.queries):,} queries; the "
        "web's is the pipeline's.",
    ]
    if any(row.domain == OTHER for row in rows):
        notes.append("Tasks of the domain `other` belong to neither domain's training data.")
    caption = f"Model {settings.model}, nDCG@10, seed {settings.seed}"
    transfers = transfer(rows)
    return Report(
        title="Cross-domain: trained on one domain, scored on both",
        tables=[matrix(rows, caption), transfers],
        notes=notes,
        scored={(CHECKPOINTS[name], settings.seed): scores for name, scores in scored.items()},
        summary=", ".join(f"{row[0]}: {row[3]} against {row[2]}" for row in transfers.rows),
        draw=lambda: heat_map(rows, caption),
    )


def matrix(rows: list[Row], caption: str) -> Table:
    """Tasks by training domain; in-domain cells have a star."""
    cells = tuple(
        (task, domain, *(points(s) + "*" * (name == domain) for name, s in scores.items()))
        for task, domain, scores in rows
    )
    columns = ("Task", "Domain of the task", *(f"Trained on {name}" for name in CHECKPOINTS))
    return Table(caption, columns, cells, labels=2)


def transfer(rows: list[Row]) -> Table:
    """Means over the tasks of a domain: not trained, trained in it, trained out of it."""
    cells = []
    for domain, scores in domain_means(rows).items():
        if domain in (WEB, SCIENTIFIC):
            other = SCIENTIFIC if domain == WEB else WEB
            base, inside, outside = scores["nothing"], scores[domain], scores[other]
            values = (base, inside, outside, inside - outside)
            cells.append((f"{other} to {domain}", *map(points, values)))
    columns = ("Transfer", "Base", "In-domain", "Out-of-domain", "Lost by the transfer")
    return Table("Means over the tasks of a domain", columns, tuple(cells))


def heat_map(rows: list[Row], caption: str) -> Figure:
    """The matrix in colours; in-domain cells are framed."""
    import numpy as np
    from matplotlib import pyplot as plt
    from matplotlib.patches import Rectangle

    from ettin_retrieval.reports.style import WIDTH

    values = np.array([[100 * score for score in row.scores.values()] for row in rows])
    figure, axes = plt.subplots(figsize=(0.7 * WIDTH, 1.2 + 0.34 * len(rows)))
    image = axes.imshow(values, cmap="cividis", vmin=0, vmax=100, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        colour = "white" if value < 55 else "black"  # cividis is dark below its middle
        axes.text(column, row, f"{value:.1f}", ha="center", va="center", color=colour)
        if rows[row].domain == list(CHECKPOINTS)[column]:
            place = (column - 0.46, row - 0.44)
            axes.add_patch(Rectangle(place, 0.92, 0.88, fill=False, edgecolor="#d55e00", lw=2))
    axes.set_xticks(range(len(CHECKPOINTS)), list(CHECKPOINTS))
    axes.set_yticks(range(len(rows)), [f"{row.task} ({row.domain})" for row in rows])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("trained on (framed: in-domain)")
    axes.set_title(caption, loc="left")
    figure.colorbar(image, ax=axes, label="nDCG@10 (points)", fraction=0.05, pad=0.02)
    return figure


if __name__ == "__main__":
    run_study("cross_domain", run, reads=["finetuned-scores"])
