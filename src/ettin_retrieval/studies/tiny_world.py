"""Study tiny_world: does the generated collection behave as retrieval does?

Three claims, each with several seeds, which decide the initial weights, the order of training and
random negatives:

1. Fine-tuning on the web rows beats the untrained encoder on every task.
2. Negatives mined by the untrained encoder beat random ones.
3. Training in a domain beats training in the other one, both ways.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ettin_retrieval.pipeline import Paths, run_stage
from ettin_retrieval.reports.documents import Table, points
from ettin_retrieval.settings.schema import Settings
from ettin_retrieval.sources import tiny
from ettin_retrieval.studies.report import NDCG, Report, Row, Scores, domain_means, ndcg_rows
from ettin_retrieval.studies.settings import load_study_settings

logger = logging.getLogger("ettin_retrieval")

SELECTED = {"model": "tiny", "data.benchmark": "tiny", "evaluation.tasks": "auto"}
"""The study is about the tiny world, whatever params.yaml selects."""


ENCODERS: dict[str, tuple[tiny.DomainName, str] | None] = {
    "base": None,
    "web, hard": ("web", "hard"),
    "web, random": ("web", "random"),
    "scientific, hard": ("scientific", "hard"),
}
"""Encoder to the domain that it is trained on and its negatives; None for the untrained one."""


class Claim(NamedTuple):
    """That one encoder beats another on the tasks of a domain, or on all."""

    title: str
    winner: str
    loser: str
    domain: str


CLAIMS = (
    Claim("Fine-tuning beats base", "web, hard", "base", "average"),
    Claim("Mined beat random negatives", "web, hard", "web, random", "average"),
    Claim("In-domain wins, web", "web, hard", "scientific, hard", "web"),
    Claim("In-domain wins, scientific", "scientific, hard", "web, hard", "scientific"),
)


def run(settings: Settings, paths: Paths) -> str:
    """Train every encoder with every seed and write the tables of the claims."""
    from ettin_retrieval.sources.benchmark_data import write_benchmark

    seeds = load_study_settings().tiny_world_seeds
    settings = settings.with_changes(SELECTED)
    scored: dict[tuple[str, int], Scores] = {}
    with tempfile.TemporaryDirectory() as scratch:
        benchmark = Path(scratch) / "benchmark"
        write_benchmark(settings, benchmark)
        for seed in seeds:
            for name in ENCODERS:
                work = Path(scratch) / str(seed) / name
                seeded = settings.with_changes({"seed": seed})
                scores = scored[name, seed] = score(name, seeded, benchmark, work)
                logger.info("seed %d, %s: %.4f", seed, name, fmean(scores.values()))
    tables = [claim_table(claim, ndcg_rows(scored), seeds) for claim in CLAIMS]
    rows = [row for table in tables for row in table.rows]
    won = sum(row[-1].startswith(f"{len(seeds)} ") for row in rows)
    report = Report(
        title="Three claims about the tiny world",
        tables=tables,
        notes=[
            "nDCG@10 in points: mean (lowest to highest) over the seeds "
            f"{', '.join(map(str, seeds))}. Differences are paired by seed.",
            f"Learning rate {settings.learning_rate:g}, batches of {settings.batch_size}, "
            f"{settings.epochs} epochs, {settings.negatives.num_negatives} negatives per pair, "
            f"temperature {settings.finetuning.temperature:g}; generator {tiny.VERSION}.",
        ],
        scored=scored,
        summary=f"{won} of {len(rows)} rows won",
    )
    report.write(paths["output"], "tiny_world", settings.model)
    return report.summary


def score(name: str, settings: Settings, benchmark: Path, work: Path) -> Scores:
    """Flat nDCG@10 of one encoder: what the stages do in turn, on the data of its domain."""
    from ettin_retrieval.base_encoder.make import make_base_encoder
    from ettin_retrieval.encoders.checkpoint import load_checkpoint
    from ettin_retrieval.evaluation.score import score_checkpoint
    from ettin_retrieval.experiment import Material, run_experiment
    from ettin_retrieval.mining.development import development_set
    from ettin_retrieval.sources.training_data import load_tiny, training_and_dev

    make_base_encoder(settings, work / "base")
    trained = ENCODERS[name]
    if trained is None:
        tasks = score_checkpoint(work / "base", benchmark, settings)
    else:
        domain, sampling = trained
        settings = settings.with_changes({"negatives.sampling": sampling})
        train, dev = training_and_dev(load_tiny(domain, settings), settings).values()
        dev = development_set(train, dev, load_checkpoint(work / "base"), settings)
        material = Material(train, dev)
        tasks = run_experiment(work / "base", material, benchmark, settings, work)
    return {task.name + NDCG: task.scores["ndcg_at_10"] for task in tasks}


def claim_table(claim: Claim, rows: list[Row], seeds: list[int]) -> Table:
    """Winner, loser and difference on each task of the claim, and on their mean."""
    scored = {row.task: row.scores for row in rows if claim.domain in (row.domain, "average")}
    scored[claim.domain] = domain_means(rows)[claim.domain]
    cells = []
    for name, scores in scored.items():
        winner, loser = (
            np.array([scores[encoder, seed] for seed in seeds])
            for encoder in (claim.winner, claim.loser)
        )
        ranges = map(in_range, (winner, loser, winner - loser))
        cells.append((name, *ranges, f"{(winner > loser).sum()} of {len(seeds)}"))
    columns = ("Task", claim.winner, claim.loser, "Difference", "Seeds won")
    return Table(claim.title, columns, tuple(cells))


def in_range(values: npt.NDArray[np.float64]) -> str:
    """Mean (lowest to highest), in points.

    >>> in_range(np.array([0.25, 0.5, 0.75]))
    '50.0 (25.0 to 75.0)'
    """
    return f"{points(values.mean())} ({points(values.min())} to {points(values.max())})"


if __name__ == "__main__":
    run_stage("tiny_world", run, writes=["output"])
