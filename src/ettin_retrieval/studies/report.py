"""What a study leaves behind: a document in every format, and a picture, the same bytes each time.

Scores are fractions in CSV and JSON, points in Markdown, LaTeX and the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

from ettin_retrieval.reports.documents import FORMATS, Document, Table
from ettin_retrieval.runtime.files import replacing
from ettin_retrieval.studies.difference import Arm
from ettin_retrieval.studies.domains import DOMAINS, domain_of
from ettin_retrieval.tasks import CQADUPSTACK, CQADUPSTACK_PARTS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NDCG = ".ndcg_at_10"


AVERAGE = "average"
"""The mean over all tasks, among the means of domains."""


class Row(NamedTuple):
    """nDCG@10 on one task, fractions: of each arm, a value for each seed."""

    task: str
    domain: str
    scores: dict[str, list[float]]


@dataclass(frozen=True)
class Report:
    """What a study found.

    Attributes
    ----------
    arms
        What was compared, by name.
    summary
        The outcome in one line, for the log.
    draw
        Draws the picture, if there is one.
    """

    title: str
    tables: Sequence[Table]
    notes: Sequence[str]
    arms: Mapping[str, Arm]
    summary: str
    draw: Callable[[], Figure] | None = None

    def write(self, directory: Path, study: str, model: str) -> None:
        """Write `STUDY.md`, `.tex`, `.csv`, `.json` and `.png`, replacing the last ones."""
        records = [
            {"model": model, "checkpoint": name, "seed": seed, "metric": metric, "score": value}
            for name, arm in self.arms.items()
            for seed, outcome in arm.items()
            # Averages first: their keys name no task.
            for metric, value in sorted(outcome.scores.items(), key=lambda m: ("." in m[0], m))
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


def ndcg_rows(arms: Mapping[str, Arm]) -> list[Row]:
    """A row for each task, by domain and name.

    CQADupstackRetrieval stands for its forums: two of them beside it would count twice.
    """
    metrics = next(iter(next(iter(arms.values())).values())).scores
    tasks = [key.removesuffix(NDCG) for key in metrics if key.endswith(NDCG)]
    if CQADUPSTACK in tasks:
        tasks = [task for task in tasks if task not in CQADUPSTACK_PARTS]
    tasks.sort(key=lambda task: (DOMAINS.index(domain_of(task)), task))

    def scores(arm: Arm, task: str) -> list[float]:
        return [outcome.scores[task + NDCG] for outcome in arm.values()]

    return [
        Row(task, domain_of(task), {name: scores(arm, task) for name, arm in arms.items()})
        for task in tasks
    ]


def tasks_of(rows: list[Row], domain: str) -> list[str]:
    """The tasks of a domain, or all of them."""
    return [row.task for row in rows if domain in (row.domain, AVERAGE)]


def domain_means(rows: list[Row]) -> dict[str, dict[str, list[float]]]:
    """Domain to arm to the mean over the domain's tasks for each seed; the last is `AVERAGE`."""

    def means(chosen: list[Row]) -> dict[str, list[float]]:
        by_arm = {name: [row.scores[name] for row in chosen] for name in chosen[0].scores}
        return {
            name: [fmean(seed) for seed in zip(*of, strict=True)] for name, of in by_arm.items()
        }

    domains = dict.fromkeys(row.domain for row in rows)
    found = {domain: means([row for row in rows if row.domain == domain]) for domain in domains}
    return {**found, AVERAGE: means(rows)}
