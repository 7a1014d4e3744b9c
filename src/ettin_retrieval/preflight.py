"""Stage settings: check what can be known before expensive work, and write the resolved settings.

It is the first stage to run after a change of params.yaml. What takes time to check (torch, the
Hub) is checked only where the settings need it.
"""

from __future__ import annotations

import logging
from pathlib import Path

from ettin_retrieval import hub
from ettin_retrieval.base_encoder.model_directory import (
    check_model_directory,
    scores_by_dot_product,
)
from ettin_retrieval.encoders.precision import check_precision
from ettin_retrieval.pipeline import Paths, run_stage
from ettin_retrieval.runtime.device import device_type
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.runtime.files import write_json
from ettin_retrieval.settings.schema import Settings
from ettin_retrieval.settings.sections import BenchmarkSource
from ettin_retrieval.sources.benchmark_data import heldout
from ettin_retrieval.tasks import (
    BENCHMARK_TASKS,
    CQADUPSTACK_PARTS,
    TASKS_KEY,
    TINY_TASKS,
    expand,
    mteb_names,
    name_of_directory,
    not_held_out,
)

logger = logging.getLogger("ettin_retrieval")

COPIES = ".dvc/tmp/exps"
"""Where `dvc exp run --temp` and DVC's queue copy the repository, one or two levels below."""


def check(settings: Settings) -> None:
    """Check that the machine, the user's directories and the Hub have what the settings need.

    Raises InputError if they do not.
    """
    for section in ("finetuning", "evaluation"):
        precision = getattr(settings, section).precision
        if precision not in ("auto", "fp32"):
            check_precision(precision, device_type(), f"{section}.precision")
    _check_copy(settings)
    encoder = settings.encoder
    if encoder.source == "local":
        _check_own_encoder(settings)
    elif encoder.is_on_hub:
        hub.resolve_commit(encoder.source, encoder.revision or "main", "model")
    if settings.train_source != "tiny":
        _check_training_data(settings)
    _check_tasks(settings)


def _check_copy(settings: Settings) -> None:
    """In DVC's copy of the repository, the directories in `local` must be in the copy or absolute.

    DVC tracks them whichever model is selected, and stops at the first that is missing.
    """
    here = Path.cwd()
    if not here.match(f"{COPIES}/*") and not here.match(f"{COPIES}/*/*"):
        return
    for key, path in settings.local.model_dump().items():
        named = (here / path).resolve()
        if not Path(path).is_absolute() and not (named.exists() and named.is_relative_to(here)):
            raise InputError(
                f"local.{key}: {path}: not in the copy of the repository that --temp and --queue "
                "run in, which has only what git tracks; give an absolute path"
            )


def _check_own_encoder(settings: Settings) -> None:
    directory = Path(settings.local.encoder)
    where = f"local.encoder: {directory}"
    check_model_directory(directory, where)
    wants_dot = settings.encoder.normalize == "auto" and scores_by_dot_product(directory, where)
    if wants_dot and settings.finetuning.objective == "cosine_similarity":
        raise InputError(
            f"{where}: this encoder scores by dot product, which the objective cosine_similarity "
            "cannot train; choose another, or "
            f"-S encoders.yaml:ettin_{settings.model}.base.normalize=true"
        )


def _check_tasks(settings: Settings) -> None:
    """Look for the tasks to score and the held-out ones, and warn of a scored one that is not."""
    given = {
        TASKS_KEY: (settings.benchmark_source, settings.evaluation.tasks),
        heldout.KEY: (settings.heldout_source, heldout.wanted(settings)),
    }
    scored, kept = (_task_names(settings, key, *choice) for key, choice in given.items())
    if missing := not_held_out(scored, kept):
        logger.warning(
            "evaluation.tasks: training is not decontaminated against %s; name them in "
            "data.heldout, or their scores may profit from training queries like theirs",
            ", ".join(missing),
        )


def _task_names(
    settings: Settings, key: str, source: BenchmarkSource, wanted: list[str] | str
) -> list[str]:
    """Names of tasks; those that mteb must be asked for, which takes seconds, are checked too."""
    if source == "beir":
        from ettin_retrieval.sources import beir

        named = "local.benchmark" + (", where data.heldout looks" if key == heldout.KEY else "")
        found = beir.collections(Path(settings.local.benchmark), named)
        return wanted if isinstance(wanted, list) else list(map(name_of_directory, found))
    if source == "tiny":
        return wanted if isinstance(wanted, list) else list(TINY_TASKS)
    names = mteb_names(wanted)
    expand(sorted({*names} - {*BENCHMARK_TASKS, *CQADUPSTACK_PARTS}), key)
    return names


def _check_training_data(settings: Settings) -> None:
    from ettin_retrieval.sources import beir
    from ettin_retrieval.sources.training_data import msmarco

    source = settings.train_source
    if source == "beir":
        beir.files_of(Path(settings.local.train), "train", "local.train")
    elif source != "tiny":
        repository = msmarco.REPOSITORY if source == "msmarco" else msmarco.TRIPLETS
        hub.resolve_commit(repository, "main", "dataset")


def run(settings: Settings, paths: Paths) -> None:
    """Check what can be checked at once, and write the resolved settings."""
    check(settings)
    write_json(paths["settings"], settings.resolved())


if __name__ == "__main__":
    run_stage("settings", run, writes=["settings"])
