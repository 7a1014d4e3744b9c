"""An interrupted evaluation continues: each task's files are written as soon as it is scored.

They lie in data/unfinished-evaluation/KEY until the stage has written its outputs. The key covers
all that decides the scores, so two checkpoints never share a result.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable
from pathlib import Path

from ettin_retrieval.data.storage import open_dataset
from ettin_retrieval.encoders.checkpoint import read_checkpoint
from ettin_retrieval.evaluation.result_files import write_scores
from ettin_retrieval.evaluation.score import load_search, score_task, task_directories
from ettin_retrieval.runtime.determinism import arithmetic
from ettin_retrieval.runtime.distributed import all_gather, rank_and_world_size
from ettin_retrieval.runtime.files import code_digest, replacing, sha256_file, sha256_json
from ettin_retrieval.settings.schema import Settings

logger = logging.getLogger("ettin_retrieval")

UNFINISHED = Path("data/unfinished-evaluation")
"""Beside the outputs that DVC tracks."""


def score_tasks(checkpoint: Path, benchmark: Path, settings: Settings) -> dict[str, Path]:
    """Score the tasks that an interrupted evaluation of the same checkpoint has not scored.

    Returns
    -------
    Task to the directory of its files, in order of task. Under `torchrun` only the first rank
    writes them.
    """
    directories = task_directories(benchmark)
    fingerprint = read_checkpoint(checkpoint)["fingerprint"]
    done = {path.name: UNFINISHED / result_key(fingerprint, path, settings) for path in directories}
    # The first rank decides: a rank on another machine sees another disk.
    finished = all_gather({task for task, path in done.items() if path.is_dir()})[0]
    if finished:
        logger.info("evaluation continues; already scored: %s", ", ".join(sorted(finished)))
    if len(finished) == len(done):
        return done
    search = load_search(checkpoint, settings)
    for path in directories:
        if path.name in finished:
            continue
        scores = score_task(search, path.name, open_dataset(path))
        if rank_and_world_size()[0] == 0:
            with replacing(done[path.name]) as directory:
                write_scores(scores, directory)
    return done


def result_key(fingerprint: str, dataset: Path, settings: Settings) -> str:
    """Digest of everything that decides a task's scores.

    The fingerprint covers the checkpoint's weights, pooling, normalisation and lengths.
    """
    return sha256_json(
        {
            "checkpoint": fingerprint,
            "task": dataset.name,
            "dataset": sha256_file(dataset / "manifest.json"),
            "precision": settings.evaluation.precision,
            "strict": settings.strict,
            "code": code_digest("evaluation", "encoders"),
            "arithmetic": arithmetic(),
        }
    )


def forget(directories: Iterable[Path]) -> None:
    """Delete the directories of `score_tasks`, and the one they lie in once it is empty."""
    for directory in directories:
        shutil.rmtree(directory)
        if not any(directory.parent.iterdir()):
            directory.parent.rmdir()
