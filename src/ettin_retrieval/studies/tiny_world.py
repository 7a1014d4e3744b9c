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
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import pandas as pd

from ettin_retrieval.pipeline import Paths, run_stage
from ettin_retrieval.reports.documents import Table
from ettin_retrieval.settings.rates import swept_rate
from ettin_retrieval.settings.schema import Settings
from ettin_retrieval.sources import tiny
from ettin_retrieval.studies.difference import (
    Arm,
    Outcome,
    difference,
    intervals_in_words,
    spread,
)
from ettin_retrieval.studies.report import (
    AVERAGE,
    NDCG,
    Report,
    Row,
    domain_means,
    ndcg_rows,
    tasks_of,
)
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
    Claim("Fine-tuning beats base", "web, hard", "base", AVERAGE),
    Claim("Mined beat random negatives", "web, hard", "web, random", AVERAGE),
    Claim("In-domain wins, web", "web, hard", "scientific, hard", "web"),
    Claim("In-domain wins, scientific", "scientific, hard", "web, hard", "scientific"),
)


def run(settings: Settings, paths: Paths) -> str:
    """Train every encoder with every seed and write the tables of the claims."""
    from ettin_retrieval.sources.benchmark_data import write_benchmark

    params = load_study_settings()
    settings = params.varied(settings, SELECTED)
    arms: dict[str, dict[int, Outcome]] = {name: {} for name in ENCODERS}
    with tempfile.TemporaryDirectory() as scratch:
        benchmark = Path(scratch) / "benchmark"
        write_benchmark(settings, benchmark)
        for seed in params.seeds:
            for name, arm in arms.items():
                work = Path(scratch) / str(seed) / name
                seeded = settings.with_changes({"seed": seed})
                arm[seed] = score(name, seeded, benchmark, work)
                mean = fmean(arm[seed].scores.values())
                logger.info("seed %d, %s: %.4f", seed, name, mean)
        tuned = [f"seed {seed}" for seed, one in arms["base"].items() if is_tuned(settings, one)]
    rows = ndcg_rows(arms)
    tables = [claim_table(claim, rows, arms) for claim in CLAIMS]
    verdicts = [row[-1] for table in tables for row in table.rows]
    report = Report(
        title="Three claims about the tiny world",
        tables=tables,
        notes=[
            "Scores are nDCG@10 in points (x100). A seed decides the initial weights too.",
            intervals_in_words(params.seeds),
            f"Learning rate {settings.learning_rate:g}, swept for the initial weights of "
            f"{', '.join(tuned) or 'no seed'}, untuned for others.",
            f"Batches of {settings.batch_size}, {settings.epochs} epochs, the last weights kept, "
            f"{settings.negatives.num_negatives} negatives per pair, "
            f"temperature {settings.finetuning.temperature:g}; generator {tiny.VERSION}.",
        ],
        arms=arms,
        summary=f"{verdicts.count('holds')} of {len(verdicts)} rows hold",
    )
    report.write(paths["output"], "tiny_world", settings.model)
    return report.summary


def score(name: str, settings: Settings, benchmark: Path, work: Path) -> Outcome:
    """nDCG@10 of one encoder: what the stages do in turn, on the data of its domain."""
    from ettin_retrieval.base_encoder.make import make_base_encoder
    from ettin_retrieval.evaluation.score import score_checkpoint
    from ettin_retrieval.experiment import Material, run_experiment
    from ettin_retrieval.sources.training_data import load_tiny, training_and_dev

    make_base_encoder(settings, work / "base")
    trained = ENCODERS[name]
    if trained is None:
        tasks = score_checkpoint(work / "base", benchmark, settings)
    else:
        domain, sampling = trained
        settings = settings.with_changes({"negatives.sampling": sampling})
        train, dev = training_and_dev(load_tiny(domain, settings), settings).values()
        material = Material(train, dev)
        tasks = run_experiment(work / "base", material, benchmark, settings, work)
    queries = pd.concat([task.per_query.assign(task=task.name) for task in tasks])
    scores = {task.name + NDCG: task.scores["ndcg_at_10"] for task in tasks}
    return Outcome(scores, queries, work / "base")


def is_tuned(settings: Settings, base: Outcome) -> bool:
    """Whether a recorded sweep of this base encoder chose the settings' rate."""
    from ettin_retrieval.encoders.checkpoint import read_checkpoint

    assert base.checkpoint is not None
    fingerprint = read_checkpoint(base.checkpoint)["fingerprint"]
    objective = settings.finetuning.objective
    swept = swept_rate(settings.model, settings.recipe, objective, fingerprint)
    return swept == settings.learning_rate


def claim_table(claim: Claim, rows: list[Row], arms: Mapping[str, Arm]) -> Table:
    """Winner, loser and difference on each task of the claim, and on their mean."""
    scored = {row.task: row.scores for row in rows if claim.domain in (row.domain, AVERAGE)}
    scored[claim.domain] = domain_means(rows)[claim.domain]
    cells = []
    for name, scores in scored.items():
        tasks = tasks_of(rows, name) if name == claim.domain else [name]
        found = difference(arms[claim.loser], arms[claim.winner], tasks)
        both = (spread(scores[arm]) for arm in (claim.winner, claim.loser))
        cells.append((name, *both, *found.cells, found.verdict("holds", "is wrong")))
    columns = ("Task", claim.winner, claim.loser, "Difference", "95% interval", "The claim")
    return Table(claim.title, columns, tuple(cells))


if __name__ == "__main__":
    run_stage("tiny_world", run, writes=["output"])
