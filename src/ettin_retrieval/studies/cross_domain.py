"""Study cross_domain: an encoder tuned on each domain, scored on both.

Both are trained here, from the same base encoder with the same settings, on as many queries and
pairs of either domain, without what the evaluation asks (see `matched`).
"""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING

from ettin_retrieval.reports.documents import Table
from ettin_retrieval.studies.difference import Arm, Outcome, difference, intervals_in_words, spread
from ettin_retrieval.studies.domains import OTHER, SCIENTIFIC, WEB, require_both
from ettin_retrieval.studies.matched import WEB_READS, amount_in_words, matched, two_domains
from ettin_retrieval.studies.report import Report, Row, domain_means, ndcg_rows, tasks_of
from ettin_retrieval.studies.study import Study, run_study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NOTHING = "nothing"
TRAINED_ON = (NOTHING, WEB, SCIENTIFIC)
"""What an encoder was trained on, which names its arm."""


def run(study: Study) -> Report:
    """Train on either domain with every seed, and score on both."""
    params = study.params
    require_both(study.tasks)
    materials = two_domains(study)
    trained: dict[str, dict[int, Outcome]] = {WEB: {}, SCIENTIFIC: {}}
    for seed in params.seeds:
        drawn = matched(materials, params.two_domains, seed)
        seeded = params.varied(study.settings, {"seed": seed})
        for domain, outcomes in trained.items():
            outcomes[seed] = study.train(domain, seeded, drawn[domain])
    arms: dict[str, Arm] = {NOTHING: study.base(), **trained}
    rows = ndcg_rows(arms)
    notes = [
        "Scores are nDCG@10 in points (x100). A star marks in-domain scores.",
        amount_in_words(drawn[WEB]),
        intervals_in_words(params.seeds),
        study.rate_in_words(),
    ]
    if any(row.domain == OTHER for row in rows):
        notes.append("Tasks of the domain `other` belong to neither domain's training data.")
    caption = f"Model {study.settings.model}, nDCG@10"
    transfers = transfer(rows, arms)
    return Report(
        title="Cross-domain: trained on one domain, scored on both",
        tables=[matrix(rows, caption), transfers],
        notes=notes,
        arms={"base": arms[NOTHING], WEB: arms[WEB], SCIENTIFIC: arms[SCIENTIFIC]},
        summary=", ".join(f"{row[0]}: {row[6]} {row[4]} ({row[5]})" for row in transfers.rows),
        draw=lambda: heat_map(rows, caption),
    )


def matrix(rows: list[Row], caption: str) -> Table:
    """Tasks by training domain; in-domain cells have a star."""
    cells = tuple(
        (task, domain, *(spread(s) + "*" * (name == domain) for name, s in scores.items()))
        for task, domain, scores in rows
    )
    columns = ("Task", "Domain of the task", *(f"Trained on {name}" for name in TRAINED_ON))
    return Table(caption, columns, cells, labels=2)


def transfer(rows: list[Row], arms: dict[str, Arm]) -> Table:
    """Means over the tasks of a domain: not trained, trained in it, trained out of it."""
    means = domain_means(rows)
    cells = []
    for domain, other in ((WEB, SCIENTIFIC), (SCIENTIFIC, WEB)):
        values = (means[domain][name] for name in (NOTHING, domain, other))
        found = difference(arms[domain], arms[other], tasks_of(rows, domain))
        verdict = found.verdict("gains", "loses")
        cells.append((f"{other} to {domain}", *map(spread, values), *found.cells, verdict))
    columns = (
        "Transfer", "Base", "In-domain", "Out-of-domain", "Out minus in", "95% interval",
        "Verdict",
    )  # fmt: skip
    return Table("Means over the tasks of a domain", columns, tuple(cells))


def heat_map(rows: list[Row], caption: str) -> Figure:
    """The matrix in colours; in-domain cells are framed."""
    import numpy as np
    from matplotlib import pyplot as plt
    from matplotlib.patches import Rectangle

    from ettin_retrieval.reports.style import WIDTH

    values = np.array([[100 * fmean(seeds) for seeds in row.scores.values()] for row in rows])
    figure, axes = plt.subplots(figsize=(0.7 * WIDTH, 1.2 + 0.34 * len(rows)))
    image = axes.imshow(values, cmap="cividis", vmin=0, vmax=100, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        colour = "white" if value < 55 else "black"  # cividis is dark below its middle
        axes.text(column, row, f"{value:.1f}", ha="center", va="center", color=colour)
        if rows[row].domain == list(TRAINED_ON)[column]:
            place = (column - 0.46, row - 0.44)
            axes.add_patch(Rectangle(place, 0.92, 0.88, fill=False, edgecolor="#d55e00", lw=2))
    axes.set_xticks(range(len(TRAINED_ON)), list(TRAINED_ON))
    axes.set_yticks(range(len(rows)), [f"{row.task} ({row.domain})" for row in rows])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("trained on (framed: in-domain)")
    axes.set_title(f"{caption}, means over seeds", loc="left")
    figure.colorbar(image, ax=axes, label="nDCG@10 (points)", fraction=0.05, pad=0.02)
    return figure


if __name__ == "__main__":
    run_study("cross_domain", run, reads=["heldout", *WEB_READS])
