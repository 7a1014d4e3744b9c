"""What a study leaves behind: a document in every format, and pictures, the same bytes each time.

Scores are fractions in CSV and JSON, points in Markdown, LaTeX and pictures.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ettin_retrieval.reports.documents import FORMATS, Document, Table, points
from ettin_retrieval.runtime.files import replacing
from ettin_retrieval.studies.arms import Scores
from ettin_retrieval.studies.domains import OTHER, SCIENTIFIC, WEB, domain_of
from ettin_retrieval.tasks import AVERAGE, AVERAGE_ENG_V2, AVERAGE_OWN

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NDCG = ".ndcg_at_10"
FIELDS = ("model", "checkpoint", "seed", "metric", "score")
AVERAGES = (AVERAGE, AVERAGE_ENG_V2, AVERAGE_OWN)


def tasks_of(scores: Scores) -> list[str]:
    """Tasks that were scored, by domain: web, scientific, others."""
    order = {WEB: 0, SCIENTIFIC: 1, OTHER: 2}
    names = {key.removesuffix(NDCG) for key in scores if key.endswith(NDCG)}
    return sorted(names, key=lambda name: (order[domain_of(name)], name))


def ndcg(scores: Scores, task: str) -> float:
    """nDCG@10 of a task."""
    return scores[task + NDCG]


def domains_of(scores: Scores) -> list[str]:
    """The domains of the tasks, in their order."""
    return list(dict.fromkeys(domain_of(task) for task in tasks_of(scores)))


def domain_mean(scores: Scores, domain: str) -> float:
    """Mean nDCG@10 over the tasks of a domain; over all tasks for `average`."""
    tasks = [t for t in tasks_of(scores) if domain in (domain_of(t), "average")]
    return sum(ndcg(scores, t) for t in tasks) / len(tasks)


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation in points; a single value alone.

    >>> spread([0.5, 0.6]), spread([0.5])
    ('55.0 ± 7.1', '50.0')
    """
    mean = points(sum(values) / len(values))
    return mean if len(values) == 1 else f"{mean} ± {points(statistics.stdev(values))}"


def write(
    directory: Path,
    study: str,
    title: str,
    tables: Sequence[Table],
    model: str,
    scored: Mapping[tuple[str, int], Scores],
    notes: Sequence[str],
    pictures: Mapping[str, Figure] | None = None,
) -> None:
    """Write the study's document in every format, and its pictures, replacing the last ones.

    Parameters
    ----------
    scored
        Checkpoint and seed to flat metrics.
    pictures
        File name to figure.
    """
    records = [
        {"model": model, "checkpoint": name, "seed": seed, "metric": metric, "score": value}
        for (name, seed), scores in scored.items()
        for metric, value in sorted(
            scores.items(), key=lambda item: (item[0] not in AVERAGES, item)
        )
    ]
    document = Document(
        name=study,
        title=title,
        tables=tuple(tables),
        records=tuple(records),
        fields=FIELDS,
        notes=tuple(notes),
        signature=f"Made by `dvc repro {study}` in studies/; do not edit.",
    )
    with replacing(directory) as partial:
        for suffix, form in FORMATS.items():
            (partial / f"{study}.{suffix}").write_bytes(form(document).encode())
        for name, figure in (pictures or {}).items():
            # Without the version of matplotlib, which a PNG carries by default.
            figure.savefig(partial / name, metadata={"Software": None})


def styled() -> Any:
    """The style of this project's pictures, whatever the user's matplotlibrc says."""
    from matplotlib import pyplot as plt

    from ettin_retrieval.reports.style import STYLE

    return plt.style.context(STYLE, after_reset=True)
