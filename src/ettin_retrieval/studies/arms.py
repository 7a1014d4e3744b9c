"""The encoders of a study: trained, scored, and kept as ledger entries."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ettin_retrieval.experiment import Material, measurement, run_experiment
from ettin_retrieval.ledger.entry import Entry, Measurement
from ettin_retrieval.ledger.provenance import run_record
from ettin_retrieval.ledger.store import (
    read_ledger,
    read_measurement,
    write_index,
    write_measurement,
)
from ettin_retrieval.runtime.device import device_type
from ettin_retrieval.runtime.files import (
    PACKAGE,
    code_digest,
    read_json,
    replacing,
    sha256_file,
    sha256_json,
)
from ettin_retrieval.settings.schema import Settings

logger = logging.getLogger("ettin_retrieval")

WORK = Path("studies/work")
"""Of unfinished studies: checkpoints, and what finished arms scored. Git ignores it."""

Scores = dict[str, float]
"""Flat metrics, such as `SciFact.ndcg_at_10`; fractions."""


class Arms:
    """Trains and scores the arms of one study.

    An interrupted study resumes: a finished arm is not trained again, as long as nothing that
    decides its scores has changed.

    Parameters
    ----------
    benchmark
        Directory of the tasks to score on.
    results
        The study's ledger.
    """

    def __init__(self, study: str, benchmark: Path, results: Path) -> None:
        from ettin_retrieval.training.checkpoints import work_directory

        self.study = study
        self.benchmark = benchmark
        self.results = results
        self._work = work_directory(WORK, study)
        self._entries: list[Entry] = []

    def run(
        self,
        name: str,
        start: Path,
        material: Material,
        settings: Settings,
        pooling: str | None = None,
    ) -> Scores:
        """Train from a checkpoint, score, and write the entry `MODEL/NAME-seedSEED`.

        Parameters
        ----------
        pooling
            Pool this way instead of the checkpoint's.
        """
        from ettin_retrieval.training.checkpoints import work_directory

        work = work_directory(self._work, self._key(name, start, material, settings, pooling))
        ledger = work / "ledger"
        if not ledger.is_dir():
            scored = self._measured(name, start, material, settings, pooling, work)
            with replacing(ledger) as partial:
                write_measurement(partial, scored)
        (entry,) = read_ledger(ledger)
        write_measurement(self.results, read_measurement(ledger, entry.name))
        self._entries.append(entry)
        scores = ", ".join(f"{t} {entry.scores[f'{t}.ndcg_at_10']:.3f}" for t in entry.tasks)
        logger.info("%s: %s seed %d: %s", self.study, name, settings.seed, scores)
        return entry.scores

    def close(self) -> None:
        """Remove the model's entries that the study no longer has, and write the index."""
        from ettin_retrieval.training.checkpoints import remove_work

        names = {entry.name for entry in self._entries}
        models = {entry.model for entry in self._entries}
        for entry in read_ledger(self.results):
            if entry.model in models and entry.name not in names:
                for suffix in (".json", ".queries.parquet"):
                    (self.results / f"{entry.name}{suffix}").unlink()
                (self.results / entry.model / f"run-{entry.arm}-seed{entry.seed}.json").unlink()
        write_index(self.results)
        remove_work(self._work)

    def _key(
        self,
        name: str,
        start: Path,
        material: Material,
        settings: Settings,
        pooling: str | None,
    ) -> str:
        """Digest of everything that decides an arm's scores."""
        from ettin_retrieval.encoders.checkpoint import read_checkpoint
        from ettin_retrieval.training.checkpoints import configuration_key
        from ettin_retrieval.training.examples import training_examples

        dev = [part.to_json() for part in (material.dev.corpus, material.dev.queries)]
        examples = training_examples(material.train, material.pairs or [])
        base = read_checkpoint(start)["fingerprint"]
        packages = sorted(path.name for path in PACKAGE.iterdir() if path.is_dir())
        content = [
            name,
            pooling,
            configuration_key(settings, base, examples, "".join(dev), 1, device_type()),
            settings.evaluation.model_dump(),
            [sha256_file(path) for path in sorted(self.benchmark.glob("*/manifest.json"))],
            code_digest(*packages),
        ]
        return sha256_json(content)[:32]

    def _measured(
        self,
        name: str,
        start: Path,
        material: Material,
        settings: Settings,
        pooling: str | None,
        work: Path,
    ) -> Measurement:
        tasks = run_experiment(start, material, self.benchmark, settings, work, pooling)
        return measurement(
            (settings.model, name, settings.seed),
            tasks,
            self.benchmark,
            run_record(settings.resolved(), material.train.manifest()),
            read_json(work / "finetuned" / "checkpoint.json"),
            settings.evaluation.precision,
            own=settings.benchmark_source == "beir" and settings.evaluation.tasks == "auto",
        )


def sample(material: Material, seed: int, queries: int | None) -> Material:
    """The material of some training queries, a seeded sample; None takes all.

    Samples of one seed are nested: its hundred are among its thousand.
    """
    ids = sorted(material.train.positives())
    chosen = [ids[i] for i in np.random.default_rng(seed).permutation(len(ids))][:queries]
    kept = set(chosen)
    pairs = None if material.pairs is None else [p for p in material.pairs if p[0] in kept]
    return replace(material, train=material.train.with_queries(chosen), pairs=pairs)


def read_scores(path: Path) -> Any:
    """Flat metrics as the stage evaluate wrote them."""
    return read_json(path)
