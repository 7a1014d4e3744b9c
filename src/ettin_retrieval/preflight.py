"""What can be known before any expensive work: the machine, the user's directories, the hub.

Stage `settings` asks, because it is the first to run after a change of params.yaml. What costs
time to ask (torch, the hub) is asked only where the settings need it.
"""

from __future__ import annotations

from pathlib import Path

from ettin_retrieval.pipeline import Paths, run_stage
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.runtime.files import write_json
from ettin_retrieval.settings.schema import Settings


def check(settings: Settings) -> None:
    """See that the machine, the directories and the hub have what the settings ask for.

    Raises
    ------
    InputError
        They do not.
    """
    _check_precisions(settings)
    _check_directories(settings)
    _check_hub(settings)


def _check_precisions(settings: Settings) -> None:
    wanted = {
        "finetuning.precision": settings.finetuning.precision,
        "evaluation.precision": settings.evaluation.precision,
    }
    if set(wanted.values()) == {"fp32"}:
        return
    import torch

    from ettin_retrieval.encoders.precision import check_precision

    device = "cuda" if torch.cuda.is_available() else "cpu"
    for key, precision in wanted.items():
        check_precision(precision, device, key)


def _check_directories(settings: Settings) -> None:
    """The user's own encoder and collections, as far as their files go."""
    if settings.encoder.source == "local":
        from ettin_retrieval.base_encoder.model_directory import (
            check_model_directory,
            scores_by_dot_product,
        )

        directory = Path(settings.local.encoder)
        where = f"local.encoder: {directory}"
        check_model_directory(directory, where)
        wants_dot = settings.encoder.normalize == "auto" and scores_by_dot_product(directory, where)
        if wants_dot and settings.finetuning.objective == "cosine_similarity":
            raise InputError(
                f"{where}: this encoder scores by dot product, which the objective "
                "cosine_similarity cannot train; choose another, or "
                f"-S encoders.yaml:ettin_{settings.model}.base.normalize=true"
            )
    from ettin_retrieval.sources import beir

    if settings.train_source == "beir":
        beir.files_of(Path(settings.local.train), "train", "local.train")
    if settings.benchmark_source == "beir":
        beir.collections(Path(settings.local.benchmark), "local.benchmark")


def _check_hub(settings: Settings) -> None:
    """The hub has the encoder and the training data, or the local cache does."""
    from ettin_retrieval import hub
    from ettin_retrieval.sources.training_data import msmarco

    encoder = settings.encoder
    if encoder.revision is not None and encoder.source not in {"tiny", "local"}:
        hub.resolve_commit(encoder.source, encoder.revision, "model")
    repository = {"msmarco": msmarco.REPOSITORY, "triplets": msmarco.TRIPLETS}
    if settings.train_source in repository:
        hub.resolve_commit(repository[settings.train_source], "main", "dataset")


def run(settings: Settings, paths: Paths) -> None:
    """Check what can be checked at once, and write the resolved settings."""
    check(settings)
    write_json(paths["settings"], settings.resolved())


if __name__ == "__main__":
    run_stage("settings", run, writes=["settings"])
