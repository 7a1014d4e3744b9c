"""The frame of a study: what it reads, the encoders that it trains, and their ledger."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from ettin_retrieval.data.dataset import RetrievalDataset
from ettin_retrieval.experiment import Material, measurement, run_experiment
from ettin_retrieval.ledger import store
from ettin_retrieval.ledger.provenance import run_record
from ettin_retrieval.pipeline import Paths, run_stage
from ettin_retrieval.runtime import files
from ettin_retrieval.runtime.device import device_type
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.settings.rates import sweep_name, swept_rate
from ettin_retrieval.settings.schema import Settings
from ettin_retrieval.sources.training_data.decontamination import Report as Overlaps
from ettin_retrieval.sources.training_data.decontamination import decontaminate
from ettin_retrieval.studies.difference import Arm, Outcome
from ettin_retrieval.studies.report import NDCG, Report
from ettin_retrieval.studies.settings import load_study_settings
from ettin_retrieval.tasks import METRICS, flat_metrics

logger = logging.getLogger("ettin_retrieval")

WORK = Path("studies/work")
"""Of unfinished studies: checkpoints, and what finished encoders scored. Git ignores it."""

READS = ("benchmark", "encoder", "training", "negatives", "base-scores")


class Rate(NamedTuple):
    """A learning rate, and whether a recorded sweep of the same encoder chose it."""

    value: float
    tuned: bool

    def __str__(self) -> str:
        """The rate and how it was chosen.

        >>> print(Rate(0.002, True), "and", Rate(5e-05, False))
        0.002 (swept) and 5e-05 (untuned)
        """
        return f"{self.value:g} ({'swept' if self.tuned else 'untuned'})"


@dataclass
class Study:
    """Inputs of a study, and the training and scoring of its encoders.

    An interrupted study resumes: a finished encoder is not trained again, as long as nothing that
    decides its scores has changed.

    Attributes
    ----------
    settings
        The pipeline's, with the last weights kept and the rate of `rate`.
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
        rate = self.rate(self.settings.finetuning.objective)
        self.settings = self.params.varied(self.settings, {"finetuning.learning_rate": rate.value})
        self._work = work_directory(WORK, self.name)
        self._entries: set[str] = set()

    @property
    def tasks(self) -> list[str]:
        """What encoders are scored on."""
        return sorted(path.parent.name for path in self.paths["benchmark"].glob("*/manifest.json"))

    def rate(self, objective: str) -> Rate:
        """The rate that the sweep of this model, recipe and objective chose.

        Without one, or where params.yaml names another rate, the settings' rate, untuned: a rate
        says nothing about other models, and little about other objectives.
        """
        settings = self.settings
        swept = self._swept(settings, objective, self.paths["encoder"])
        named = settings.finetuning.learning_rate != "auto"
        if swept is None or (named and objective == settings.finetuning.objective):
            return Rate(settings.learning_rate, swept == settings.learning_rate)
        return Rate(swept, True)

    def rate_in_words(self) -> str:
        """The note on the rate of a table whose encoders share one."""
        model, recipe = self.settings.model, self.settings.recipe
        objective = self.settings.finetuning.objective
        rate = self.rate(objective)
        why = (
            f"chosen by the sweep of this encoder (studies/sweeps/"
            f"{sweep_name(model, recipe, objective)}.md) on the pipeline's development queries"
            if rate.tuned
            else "untuned: no sweep of this encoder, recipe and objective chose it"
        )
        return f"Learning rate {rate.value:g}, {why}."

    def without_overlap(
        self, datasets: dict[str, RetrievalDataset]
    ) -> tuple[dict[str, RetrievalDataset], Overlaps]:
        """The datasets without queries that share text or a relevant passage with held-out tasks.

        As with `data.decontaminate: answers`, whatever the pipeline's setting.
        """
        return decontaminate(datasets, self.paths["heldout"], "answers")

    def base(self) -> Arm:
        """What the pipeline measured for the base encoder, for every seed the same.

        Raises
        ------
        InputError
            Other tasks were measured than the benchmark has.
        """
        directory = self.paths["base-scores"]
        files = {t: directory / f"{t}.queries.parquet" for t in self.tasks}
        for task, file in files.items():
            if not file.is_file():
                raise InputError(f"{file}: no scores of {task}; run `dvc repro evaluate@base`")
        tasks = {task: pd.read_parquet(file) for task, file in files.items()}
        means = {task: {m: float(of[m].mean()) for m in METRICS} for task, of in tasks.items()}
        queries = pd.concat([of.assign(task=task) for task, of in tasks.items()])
        outcome = Outcome(flat_metrics(means, own=self._own), queries)
        return dict.fromkeys(self.params.seeds, outcome)

    @property
    def _own(self) -> bool:
        settings = self.settings
        return settings.benchmark_source == "beir" and settings.evaluation.tasks == "auto"

    def train(
        self,
        name: str,
        settings: Settings,
        material: Material | None = None,
        pooling: str | None = None,
        start: Path | None = None,
    ) -> Outcome:
        """Train an encoder, score it, and write the entry `MODEL/NAME-seedSEED`.

        Parameters
        ----------
        material
            What to train on; by default all that the study reads.
        pooling
            Pool this way instead of the checkpoint's.
        start
            Train from this checkpoint instead of the base encoder.
        """
        from ettin_retrieval.training.checkpoints import work_directory

        material, start = material or self.material, start or self.paths["encoder"]
        benchmark = self.paths["benchmark"]
        work = work_directory(self._work, self._key(name, settings, material, pooling, start))
        ledger = work / "ledger"
        if not ledger.is_dir():
            tasks = run_experiment(start, material, benchmark, settings, work, pooling)
            swept = self._swept(settings, settings.finetuning.objective, start)
            tuned = pooling is None and swept == settings.learning_rate
            rate = Rate(settings.learning_rate, tuned)
            record = run_record(settings.resolved(), material.train.manifest())
            measured = measurement(
                (settings.model, name, settings.seed),
                tasks,
                benchmark,
                record | {"learning_rate": rate._asdict()},
                files.read_json(work / "finetuned" / "checkpoint.json"),
                settings.evaluation.precision,
                own=self._own,
            )
            with files.replacing(ledger) as partial:
                store.write_measurement(partial, measured)
        (entry,) = store.read_ledger(ledger)
        measured = store.read_measurement(ledger, entry.name)
        store.write_measurement(self.paths["results"], measured)
        self._entries.add(entry.name)
        means = {k: v for k, v in entry.scores.items() if k.endswith(NDCG)}
        scores = ", ".join(f"{k.removesuffix(NDCG)} {v:.3f}" for k, v in means.items())
        logger.info("%s: %s seed %d: %s", self.name, name, entry.seed, scores)
        return Outcome(entry.scores, measured.queries, work / "finetuned")

    def _swept(self, settings: Settings, objective: str, start: Path) -> float | None:
        from ettin_retrieval.encoders.checkpoint import read_checkpoint

        fingerprint = read_checkpoint(start)["fingerprint"]
        return swept_rate(settings.model, settings.recipe, objective, fingerprint)

    def _key(
        self, name: str, settings: Settings, material: Material, pooling: str | None, start: Path
    ) -> str:
        """Digest of everything that decides an encoder's scores."""
        from ettin_retrieval.encoders.checkpoint import read_checkpoint
        from ettin_retrieval.training.checkpoints import configuration_key
        from ettin_retrieval.training.examples import training_examples

        base = read_checkpoint(start)["fingerprint"]
        examples = training_examples(material.train, material.pairs or [])
        tasks = sorted(self.paths["benchmark"].glob("*/manifest.json"))
        content = [
            name,
            pooling,
            configuration_key(settings, base, examples, "", 1, device_type()),
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
