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
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from ettin_retrieval.pipeline import Paths, run_stage
from ettin_retrieval.reports.documents import Table, points
from ettin_retrieval.settings.schema import Settings
from ettin_retrieval.sources import tiny
from ettin_retrieval.studies import report
from ettin_retrieval.studies.arms import Scores
from ettin_retrieval.studies.domains import domain_of
from ettin_retrieval.studies.settings import load_study_settings

logger = logging.getLogger("ettin_retrieval")


@dataclass(frozen=True)
class Arm:
    """An encoder to compare; without a domain the untrained one."""

    name: str
    domain: tiny.DomainName | None = None
    sampling: str = "hard"


BASE = Arm("base")
WEB = Arm("web, hard", "web")
RANDOM = Arm("web, random", "web", "random")
SCIENTIFIC = Arm("scientific, hard", "scientific")


class Claim(NamedTuple):
    """That one arm beats another on the tasks of a domain, or on all."""

    title: str
    winner: Arm
    loser: Arm
    domain: str


CLAIMS = (
    Claim("Fine-tuning beats base", WEB, BASE, "average"),
    Claim("Mined beat random negatives", WEB, RANDOM, "average"),
    Claim("In-domain wins, web", WEB, SCIENTIFIC, "web"),
    Claim("In-domain wins, scientific", SCIENTIFIC, WEB, "scientific"),
)


def run(settings: Settings, paths: Paths) -> str:
    """Train every arm with every seed and write the table of the claims."""
    from ettin_retrieval.sources.benchmark_data import write_benchmark

    seeds = load_study_settings().tiny_world_seeds
    settings = settings.with_changes({"model": "tiny"})
    scored: dict[tuple[str, int], Scores] = {}
    with tempfile.TemporaryDirectory() as scratch:
        write_benchmark(settings, Path(scratch) / "benchmark")
        for seed in seeds:
            for arm in (BASE, WEB, RANDOM, SCIENTIFIC):
                changes = {"seed": seed, "negatives.sampling": arm.sampling}
                work = Path(scratch) / str(seed) / arm.name
                scores = score(arm, settings.with_changes(changes), work)
                scored[arm.name, seed] = scores
                logger.info(
                    "seed %d, %s: %.4f", seed, arm.name, report.domain_mean(scores, "average")
                )
    tables = [claim_table(claim, scored, seeds) for claim in CLAIMS]
    report.write(
        paths["output"],
        "tiny_world",
        "The tiny world as a small laboratory",
        tables,
        settings.model,
        scored,
        [
            "nDCG@10 in points: mean (lowest to highest) over the seeds "
            f"{', '.join(map(str, seeds))}. Differences are paired by seed.",
            f"Learning rate {settings.learning_rate:g}, batches of {settings.batch_size}, "
            f"{settings.epochs} epochs, {settings.negatives.num_negatives} negatives per pair, "
            f"temperature {settings.finetuning.temperature:g}; generator {tiny.VERSION}.",
        ],
    )
    rows = [row for table in tables for row in table.rows]
    return f"{sum(row[-1].startswith(f'{len(seeds)} ') for row in rows)} of {len(rows)} rows won"


def score(arm: Arm, settings: Settings, work: Path) -> Scores:
    """Flat nDCG@10 of one arm: what the stages do in turn, on the data of the arm's domain."""
    from ettin_retrieval.base_encoder.make import make_base_encoder
    from ettin_retrieval.evaluation.score import score_checkpoint
    from ettin_retrieval.experiment import Material, run_experiment
    from ettin_retrieval.sources.training_data import load_tiny, training_and_dev

    benchmark = work.parents[1] / "benchmark"
    make_base_encoder(settings, work / "base")
    if arm.domain is None:
        tasks = score_checkpoint(work / "base", benchmark, settings)
    else:
        data = training_and_dev(load_tiny(arm.domain, settings), settings)
        material = Material(data["train"], data["dev"])
        tasks = run_experiment(work / "base", material, benchmark, settings, work)
    return {task.name + report.NDCG: task.scores["ndcg_at_10"] for task in tasks}


def claim_table(claim: Claim, scored: dict[tuple[str, int], Scores], seeds: list[int]) -> Table:
    """Winner, loser and difference on each task of the claim, and on their mean."""
    first = scored[claim.winner.name, seeds[0]]
    tasks = [t for t in report.tasks_of(first) if claim.domain in (domain_of(t), "average")]
    rows = []
    for name in [*tasks, claim.domain]:
        winner, loser = (
            pd.Series([_score(scored[arm.name, seed], name) for seed in seeds])
            for arm in (claim.winner, claim.loser)
        )
        won = int((winner > loser).sum())
        cells = map(_range, (winner, loser, winner - loser))
        rows.append((name, *cells, f"{won} of {len(seeds)}"))
    columns = ("Task", claim.winner.name, claim.loser.name, "Difference", "Seeds won")
    return Table(claim.title, columns, tuple(rows))


def _score(scores: Scores, name: str) -> float:
    known = name + report.NDCG in scores
    return report.ndcg(scores, name) if known else report.domain_mean(scores, name)


def _range(values: pd.Series) -> str:
    """Mean (lowest to highest), in points.

    >>> _range(pd.Series([0.25, 0.5, 0.75]))
    '50.0 (25.0 to 75.0)'
    """
    return f"{points(values.mean())} ({points(values.min())} to {points(values.max())})"


if __name__ == "__main__":
    run_stage("tiny_world", run, writes=["output"])
