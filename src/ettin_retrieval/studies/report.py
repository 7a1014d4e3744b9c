"""What a study leaves behind: a document in every format, and a picture, the same bytes each time.

Scores are fractions in CSV and JSON, points in Markdown, LaTeX and the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any, NamedTuple

from ettin_retrieval.reports.documents import FORMATS, Document, Table, points
from ettin_retrieval.runtime.files import replacing
from ettin_retrieval.studies.domains import DOMAINS, domain_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Scores = dict[str, float]
"""Flat metrics, such as `SciFact.ndcg_at_10`; fractions."""

NDCG = ".ndcg_at_10"


class Row(NamedTuple):
    """nDCG@10 of several encoders on one task, fractions."""

    task: str
    domain: str
    scores: dict[Any, float]


@dataclass(frozen=True)
class Report:
    """What a study found.

    Attributes
    ----------
    scored
        Checkpoint and seed to its scores.
    summary
        The outcome in one line, for the log.
    draw
        Draws the picture, if there is one.
    """

    title: str
    tables: Sequence[Table]
    notes: Sequence[str]
    scored: Mapping[tuple[str, int], Scores]
    summary: str
    draw: Callable[[], Figure] | None = None

    def write(self, directory: Path, study: str, model: str) -> None:
        """Write `STUDY.md`, `.tex`, `.csv`, `.json` and `.png`, replacing the last ones."""
        records = [
            {"model": model, "checkpoint": name, "seed": seed, "metric": metric, "score": value}
            for (name, seed), scores in self.scored.items()
            # Averages first: their keys name no task.
            for metric, value in sorted(scores.items(), key=lambda m: ("." in m[0], m))
        ]
        document = Document(
            name=study,
            title=self.title,
            tables=tuple(self.tables),
            records=tuple(records),
            fields=("model", "checkpoint", "seed", "metric", "score"),
            notes=tuple(self.notes),
            signature=f"Made by `dvc repro {study}` in studies/; do not edit.",
        )
        with replacing(directory) as partial:
            for suffix, form in FORMATS.items():
                (partial / f"{study}.{suffix}").write_bytes(form(document).encode())
            if self.draw is not None:
                from ettin_retrieval.reports.style import save, styled

                with styled():
                    save(self.draw(), partial / f"{study}.png")


def ndcg_rows(scored: Mapping[Any, Scores]) -> list[Row]:
    """A row for each task, by domain and name, with the keys of `scored`."""
    metrics = next(iter(scored.values()))
    tasks = [key.removesuffix(NDCG) for key in metrics if key.endswith(NDCG)]
    tasks.sort(key=lambda task: (DOMAINS.index(domain_of(task)), task))
    return [
        Row(task, domain_of(task), {key: scores[task + NDCG] for key, scores in scored.items()})
        for task in tasks
    ]


def domain_means(rows: list[Row]) -> dict[str, dict[Any, float]]:
    """Domain to encoder to mean over the domain's tasks; the last is `average`, over all tasks."""

    def mean(chosen: list[Row]) -> dict[Any, float]:
        return {key: fmean(row.scores[key] for row in chosen) for key in chosen[0].scores}

    domains = dict.fromkeys(row.domain for row in rows)
    means = {domain: mean([row for row in rows if row.domain == domain]) for domain in domains}
    return {**means, "average": mean(rows)}


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation in points; a single value alone.

    >>> spread([0.5, 0.6]), spread([0.5])
    ('55.0 ± 7.1', '50.0')
    """
    mean = points(fmean(values))
    return mean if len(values) == 1 else f"{mean} ± {points(stdev(values))}"
