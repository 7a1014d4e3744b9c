"""The frame of a study: what it reads, the encoders that it trains, and their ledger."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ettin_retrieval.experiment import Material, measurement, run_experiment
from ettin_retrieval.ledger import store
from ettin_retrieval.ledger.provenance import run_record
from ettin_retrieval.pipeline import Paths, run_stage
from ettin_retrieval.runtime import files
from ettin_retrieval.runtime.device import device_type
from ettin_retrieval.settings.schema import Settings
from ettin_retrieval.studies.report import Report, Scores
from ettin_retrieval.studies.settings import load_study_settings

logger = logging.getLogger("ettin_retrieval")

WORK = Path("studies/work")
"""Of unfinished studies: checkpoints, and what finished encoders scored. Git ignores it."""

READS = ("benchmark", "encoder", "training", "negatives", "base-scores")


@dataclass
class Study:
    """Inputs of a study, and the training and scoring of its encoders.

    An interrupted study resumes: a finished encoder is not trained again, as long as nothing that
    decides its scores has changed.

    Attributes
    ----------
    paths
        `READS` and `results`, the study's ledger; `encoder` is what training starts from.
    """

    name: str
    settings: Settings
    paths: Paths

    def __post_init__(self) -> None:
        from ettin_retrieval.training.checkpoints import work_directory

        self.params = load_study_settings()
        self.material = Material.read(self.paths["training"], self.paths["negatives"])
        self._work = work_directory(WORK, self.name)
        self._entries: set[str] = set()

    def scores(self, checkpoint: str) -> Scores:
        """What the pipeline measured for `base` or `finetuned`."""
        return dict(files.read_json(self.paths[f"{checkpoint}-scores"]))

    def train(
        self,
        name: str,
        settings: Settings,
        material: Material | None = None,
        pooling: str | None = None,
    ) -> Scores:
        """Train an encoder, score it, and write the entry `MODEL/NAME-seedSEED`.

        Parameters
        ----------
        material
            What to train on; by default all that the study reads.
        pooling
            Pool this way instead of the checkpoint's.
        """
        from ettin_retrieval.training.checkpoints import work_directory

        material, benchmark = material or self.material, self.paths["benchmark"]
        work = work_directory(self._work, self._key(name, settings, material, pooling))
        ledger = work / "ledger"
        if not ledger.is_dir():
            start = self.paths["encoder"]
            tasks = run_experiment(start, material, benchmark, settings, work, pooling)
            measured = measurement(
                (settings.model, name, settings.seed),
                tasks,
                benchmark,
                run_record(settings.resolved(), material.train.manifest()),
                files.read_json(work / "finetuned" / "checkpoint.json"),
                settings.evaluation.precision,
                own=settings.benchmark_source == "beir" and settings.evaluation.tasks == "auto",
            )
            with files.replacing(ledger) as partial:
                store.write_measurement(partial, measured)
        (entry,) = store.read_ledger(ledger)
        store.write_measurement(self.paths["results"], store.read_measurement(ledger, entry.name))
        self._entries.add(entry.name)
        scores = ", ".join(f"{t} {entry.scores[f'{t}.ndcg_at_10']:.3f}" for t in entry.tasks)
        logger.info("%s: %s seed %d: %s", self.name, name, entry.seed, scores)
        return entry.scores

    def _key(self, name: str, settings: Settings, material: Material, pooling: str | None) -> str:
        """Digest of everything that decides an encoder's scores."""
        from ettin_retrieval.encoders.checkpoint import read_checkpoint
        from ettin_retrieval.training.checkpoints import configuration_key
        from ettin_retrieval.training.examples import training_examples

        base = read_checkpoint(self.paths["encoder"])["fingerprint"]
        examples = training_examples(material.train, material.pairs or [])
        dev = material.dev.corpus.to_json() + material.dev.queries.to_json()
        tasks = sorted(self.paths["benchmark"].glob("*/manifest.json"))
        content = [
            name,
            pooling,
            configuration_key(settings, base, examples, dev, 1, device_type()),
            settings.evaluation.model_dump(),
            [files.sha256_file(path) for path in tasks],
            files.code_digest(*(path.name for path in files.PACKAGE.iterdir() if path.is_dir())),
        ]
        return files.sha256_json(content)[:32]

    def close(self) -> None:
        """Remove the model's entries that the study no longer has, and write the index."""
        from ettin_retrieval.training.checkpoints import remove_work

        results = self.paths["results"]
        for entry in store.read_ledger(results):
            if entry.model == self.settings.model and entry.name not in self._entries:
                for suffix in (".json", ".queries.parquet"):
                    (results / f"{entry.name}{suffix}").unlink()
        store.drop_unused_records(results, self.settings.model)
        store.write_index(results)
        remove_work(self._work)


def sample(material: Material, seed: int, queries: int | None) -> Material:
    """The material of some training queries, a seeded sample; None takes all.

    Samples of one seed are nested: its hundred are among its thousand.
    """
    ids = sorted(material.train.positives())
    chosen = [ids[i] for i in np.random.default_rng(seed).permutation(len(ids))][:queries]
    kept = set(chosen)
    pairs = None if material.pairs is None else [p for p in material.pairs if p[0] in kept]
    return replace(material, train=material.train.with_queries(chosen), pairs=pairs)


def run_study(name: str, run: Callable[[Study], Report], *, reads: Sequence[str] = ()) -> None:
    """Run a study as a stage, with options for `READS` and further `reads`."""

    def stage(settings: Settings, paths: Paths) -> str:
        study = Study(name, settings, paths)
        report = run(study)
        study.close()
        report.write(paths["output"], name, settings.model)
        return report.summary

    run_stage(name, stage, reads=[*READS, *reads], writes=["output", "results"])
