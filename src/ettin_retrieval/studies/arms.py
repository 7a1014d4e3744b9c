"""What every study does: train an encoder, score it, keep the scores as a ledger entry."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ValidationError

from ettin_retrieval.ledger.entry import Entry
from ettin_retrieval.ledger.provenance import provenance
from ettin_retrieval.ledger.results import task_record
from ettin_retrieval.ledger.store import read_ledger, read_queries, write_entry, write_index
from ettin_retrieval.runtime.determinism import seed_everything
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.runtime.files import replacing, sha256_file
from ettin_retrieval.settings.schema import Settings
from ettin_retrieval.studies.material import Material
from ettin_retrieval.training.checkpoints import (
    PACKAGE,
    configuration_key,
    remove_work,
    work_directory,
)

logger = logging.getLogger("ettin_retrieval")


def varied(settings: Settings, changes: dict[str, Any], study: str) -> Settings:
    """The settings of one arm of a study; the development set is looked at as studies do.

    Raises
    ------
    InputError
        What the study asks for does not fit together.
    """
    every = settings.studies.evaluations_per_epoch
    try:
        return settings.with_changes({"finetuning.evaluations_per_epoch": every} | changes)
    except ValidationError as error:
        first = error.errors()[0]
        told = first.get("ctx", {}).get("error", first["msg"])
        wanted = ", ".join(f"{key}={value}" for key, value in changes.items())
        raise InputError(f"params.yaml: studies.{study}: {wanted}: {told}") from None


WORK = Path("models/studies.work")
"""Of studies that have not come to their end: checkpoints, and what finished arms scored."""


class Trainer:
    """Trains and scores the encoders of one study.

    A study that was killed goes on where it was: an arm that was scored is not trained again, as
    long as nothing that decides its scores has changed.

    Parameters
    ----------
    study
        Name of the study.
    benchmark
        Directory of the tasks to score on.
    results
        The study's ledger.
    """

    def __init__(self, study: str, benchmark: Path, results: Path) -> None:
        self.study = study
        self.benchmark = benchmark
        self.results = results
        self._work = work_directory(WORK, study)
        self._written: list[Entry] = []

    def run(
        self,
        name: str,
        start: Path,
        material: Material,
        settings: Settings,
        pooling: str | None = None,
    ) -> Entry:
        """Train from a checkpoint, score, and write the entry `MODEL/NAME-seedSEED`.

        Parameters
        ----------
        start
            Checkpoint to train from.
        pooling
            Pool this way instead of the checkpoint's own.
        """
        key = self._key(name, start, material, settings, pooling)
        directory = work_directory(self._work, key)
        ledger = directory / "ledger"
        if not ledger.is_dir():
            checkpoint = _trained(start, material, settings, pooling, directory)
            entry, queries = self._scored(name, checkpoint, material, settings)
            with replacing(ledger) as partial:
                write_entry(partial, entry, queries)
        (entry,) = read_ledger(ledger)
        write_entry(self.results, entry, read_queries(ledger, entry))
        self._written.append(entry)
        scores = ", ".join(f"{t} {entry.scores[f'{t}.ndcg_at_10']:.3f}" for t in entry.tasks)
        logger.info("%s: %s seed %d: %s", self.study, name, settings.seed, scores)
        return entry

    def _key(
        self,
        name: str,
        start: Path,
        material: Material,
        settings: Settings,
        pooling: str | None,
    ) -> str:
        """Digest of all that decides an arm's scores."""
        from ettin_retrieval.encoders.checkpoint import read_checkpoint

        dev = [part.to_json() for part in (material.dev.corpus, material.dev.queries)]
        train = training_examples(material.train, material.pairs)
        base = read_checkpoint(start)["fingerprint"]
        decisive = [
            name,
            pooling,
            configuration_key(settings, base, train, "".join(dev), 1, device()),
            settings.evaluation.model_dump(),
            [sha256_file(path) for path in sorted(self.benchmark.glob("*/manifest.json"))],
            # All of the package: scoring is not among the modules of the key above.
            [sha256_file(path) for path in sorted(PACKAGE.rglob("*.py"))],
        ]
        return hashlib.sha256(json.dumps(decisive).encode()).hexdigest()[:32]

    def _scored(
        self, name: str, checkpoint: Path, material: Material, settings: Settings
    ) -> tuple[Entry, pd.DataFrame]:
        from ettin_retrieval.encoders.checkpoint import read_checkpoint
        from ettin_retrieval.evaluation.score import score_checkpoint
        from ettin_retrieval.tasks import flat_metrics

        tasks = score_checkpoint(checkpoint, self.benchmark, settings)
        manifests = sorted(self.benchmark.glob("*/manifest.json"))
        entry = Entry(
            model=settings.model,
            checkpoint=name,
            seed=settings.seed,
            scores=flat_metrics(
                {task.name: task.scores for task in tasks},
                whole=isinstance(settings.evaluation.tasks, str),
            ),
            tasks={
                path.parent.name: task_record(json.loads(path.read_text(encoding="utf-8")))
                for path in manifests
            },
            provenance=provenance(
                read_checkpoint(checkpoint), material.train.manifest(), settings.resolved()
            ),
        )
        queries = pd.concat(
            [task.per_query.assign(task=task.name) for task in tasks], ignore_index=True
        )
        return entry, queries

    def close(self) -> None:
        """Drop the model's entries that the study no longer asks for; write the ledger's index."""
        written = {entry.name for entry in self._written}
        models = {entry.model for entry in self._written}
        for entry in read_ledger(self.results):
            if entry.model in models and entry.name not in written:
                (self.results / f"{entry.name}.json").unlink()
                (self.results / f"{entry.name}.queries.parquet").unlink()
        write_index(self.results)
        remove_work(self._work)


def _trained(
    start: Path, material: Material, settings: Settings, pooling: str | None, directory: Path
) -> Path:
    """The checkpoint that training ends with; `directory` is for it, and to go on from."""
    from ettin_retrieval.encoders.checkpoint import (
        load_checkpoint,
        read_checkpoint,
        save_checkpoint,
    )
    from ettin_retrieval.training.finetune import finetune

    seed_everything(settings.seed, settings.strict)
    model = load_checkpoint(start)
    if pooling is not None:
        pooling_module: Any = model[1]
        pooling_module.pooling_mode = pooling
    train = training_examples(material.train, material.pairs)
    finetune(model, train, material.dev, settings, directory / "work")
    checkpoint = directory / "trained"
    with replacing(checkpoint) as partial:
        origin = {"source": "finetuned", "revision": read_checkpoint(start)["fingerprint"]}
        save_checkpoint(model, partial, origin)
    return checkpoint


def device() -> str:
    """Type of the device that checkpoints are loaded to."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
