"""The whole way in one function: load, mine, pair, train, evaluate.

The stages of `dvc.yaml` do the same step by step, with files between the steps. The studies call
this function once for each encoder that they train.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ettin_retrieval.data.dataset import RetrievalDataset
from ettin_retrieval.data.negatives import Pair, read_negatives
from ettin_retrieval.data.storage import read_dataset
from ettin_retrieval.runtime.determinism import seed_everything
from ettin_retrieval.runtime.files import replacing
from ettin_retrieval.settings.schema import Settings

if TYPE_CHECKING:
    from ettin_retrieval.evaluation.score import TaskScores


@dataclass(frozen=True)
class Material:
    """What an encoder is trained on.

    Attributes
    ----------
    pairs
        Query, positive and negatives; None mines them with the encoder that is to be trained.
    """

    train: RetrievalDataset
    dev: RetrievalDataset
    pairs: list[Pair] | None = None

    @classmethod
    def read(cls, training: Path, negatives: Path | None = None) -> Material:
        """Read what the stages training_data and negatives wrote."""
        train, dev = (read_dataset(training / name) for name in ("train", "dev"))
        return cls(train, dev, None if negatives is None else read_negatives(negatives))


def run_experiment(
    start: Path,
    material: Material,
    benchmark: Path,
    settings: Settings,
    work: Path,
    pooling: str | None = None,
) -> list[TaskScores]:
    """Train from a checkpoint and score the result on every task of a benchmark.

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
        model[1].pooling_mode = pooling
    finetune(model, examples, material.dev, settings, work / "checkpoints")
    with replacing(work / "finetuned") as directory:
        origin = {"source": "finetuned", "revision": read_checkpoint(start)["fingerprint"]}
        save_checkpoint(model, directory, origin)

    return score_checkpoint(work / "finetuned", benchmark, settings)
