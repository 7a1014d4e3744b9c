"""The whole way in one function: load, mine, pair, train, evaluate.

The stages of `dvc.yaml` do the same step by step. The studies call it once for each encoder.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ettin_retrieval.data.dataset import RetrievalDataset
from ettin_retrieval.data.negatives import DEVELOPMENT, Pair, read_negatives
from ettin_retrieval.data.storage import read_dataset
from ettin_retrieval.ledger.entry import Entry, Measurement
from ettin_retrieval.ledger.provenance import run_reference
from ettin_retrieval.ledger.results import task_records
from ettin_retrieval.runtime.determinism import seed_everything
from ettin_retrieval.runtime.files import replacing
from ettin_retrieval.settings.rates import rate_record
from ettin_retrieval.settings.schema import Settings
from ettin_retrieval.tasks import flat_metrics

if TYPE_CHECKING:
    from ettin_retrieval.evaluation.score import TaskScores


@dataclass(frozen=True)
class Material:
    """What an encoder is trained on."""

    train: RetrievalDataset
    dev: RetrievalDataset
    """Chooses a learning rate in a sweep; `run_experiment` does not read it."""
    pairs: list[Pair] | None = None
    """Query, positive and negatives; None mines them with the encoder that is to be trained."""

    @classmethod
    def read(cls, training: Path, negatives: Path) -> Material:
        """Read what the stages training_data and negatives wrote."""
        train, dev = read_dataset(training / "train"), read_dataset(negatives / DEVELOPMENT)
        return cls(train, dev, read_negatives(negatives))


def run_experiment(
    start: Path,
    material: Material,
    benchmark: Path,
    settings: Settings,
    work: Path,
    pooling: str | None = None,
) -> list[TaskScores]:
    """Train from a checkpoint and score the result on every task of a benchmark.

    No development label is read: the last weights are kept, so the settings need
    `finetuning.keep: last`.

    Parameters
    ----------
    start
        Checkpoint to train from.
    work
        Directory for checkpoints while training, from which an interrupted run resumes, and for
        the result, `work/finetuned`.
    pooling
        Pool this way instead of the checkpoint's.

    Raises
    ------
    InputError
        The settings do not fit the data or the hardware.
    """
    from ettin_retrieval.encoders.checkpoint import (
        load_checkpoint,
        read_checkpoint,
        save_checkpoint,
    )
    from ettin_retrieval.evaluation.score import score_checkpoint
    from ettin_retrieval.mining.mine import mine, needs_encoder
    from ettin_retrieval.training.examples import training_examples
    from ettin_retrieval.training.finetune import finetune

    pairs = material.pairs
    if pairs is None:
        encoder = load_checkpoint(start) if needs_encoder(settings) else None
        pairs, _ = mine(material.train, encoder, settings)
    examples = training_examples(material.train, pairs)

    seed_everything(settings.seed, settings.strict)
    model = load_checkpoint(start)
    if pooling is not None:
        pooling_module: Any = model[1]
        pooling_module.pooling_mode = pooling
    curve = finetune(model, examples, None, settings, work / "checkpoints")
    with replacing(work / "finetuned") as directory:
        revision = read_checkpoint(start)["fingerprint"]
        origin = {"source": "finetuned", "revision": revision, "training": curve.conditions}
        save_checkpoint(model, directory, origin)

    return score_checkpoint(work / "finetuned", benchmark, settings)


def measurement(
    key: tuple[str, str, int],
    tasks: list[TaskScores],
    benchmark: Path,
    record: dict[str, Any],
    weights: dict[str, Any],
    precision: str | None = None,
    own: bool = False,
) -> Measurement:
    """Scores outside the pipeline as a measurement for a ledger.

    `key` is model, checkpoint and seed, `record` the run's (see `run_record`), and `weights` the
    checkpoint's. `own` says that the tasks are all collections of the user's benchmark. The record
    of a fine-tuned checkpoint gets its learning rate.
    """
    model, checkpoint, seed = key
    if weights["source"] == "finetuned":  # from the checkpoint that `revision` is the digest of
        rate = rate_record(record["settings"], weights["revision"])
        record = {**record, "learning_rate": rate}
    records = task_records(benchmark)
    reference = run_reference(checkpoint, seed, record)
    entry = Entry(
        model=model,
        checkpoint=checkpoint,
        seed=seed,
        scores=flat_metrics({task.name: task.scores for task in tasks}, own=own),
        tasks={
            task.name: records[task.name] | ({"cut": task.cut} if task.cut else {})
            for task in tasks
        },
        weights=weights,
        precision=precision,
        runs=[{"run": reference, "outputs_sha256": None, "tasks": [task.name for task in tasks]}],
    )
    queries = pd.concat(
        [task.per_query.assign(task=task.name) for task in tasks], ignore_index=True
    )
    return Measurement(entry, queries, {reference: record})
