"""Evaluations that continue: a task's result is on disk as soon as it is there.

    data/unfinished-evaluation/KEY/TASK.json               mteb's result
    data/unfinished-evaluation/KEY/TASK.queries.parquet    per-query scores
    data/unfinished-evaluation/KEY/TASK.run.parquet        retrieved passages

The key is of all that decides the scores, so that two checkpoints never share a result. The
directory is beside the DVC outputs, and its content is deleted once the stage has its own.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ettin_retrieval.data.storage import open_dataset
from ettin_retrieval.encoders.checkpoint import read_checkpoint
from ettin_retrieval.evaluation.result_files import portable_result, run_table
from ettin_retrieval.evaluation.score import (
    TaskScores,
    load_search,
    means,
    score_task,
    task_directories,
)
from ettin_retrieval.runtime.determinism import arithmetic
from ettin_retrieval.runtime.distributed import all_gather, rank_and_world_size
from ettin_retrieval.runtime.files import (
    code_digest,
    replacing,
    sha256_file,
    sha256_json,
    write_json,
)
from ettin_retrieval.settings.schema import Settings

logger = logging.getLogger("ettin_retrieval")

UNFINISHED = Path("data/unfinished-evaluation")


def score_tasks(
    checkpoint: Path, benchmark: Path, settings: Settings, name: str, unfinished: Path = UNFINISHED
) -> dict[str, Path]:
    """Score the tasks that an interrupted evaluation of the same checkpoint has not scored.

    Returns
    -------
    Task to the directory of its files, in order of task. Under `torchrun` the first rank alone
    writes them.
    """
    directories = task_directories(benchmark)
    fingerprint = read_checkpoint(checkpoint)["fingerprint"]
    done = {path.name: unfinished / result_key(fingerprint, path, settings) for path in directories}
    # What the first rank found counts for all: on another machine the directory is another.
    finished = all_gather({task for task, path in done.items() if path.is_dir()})[0]
    if finished:
        logger.info("evaluation: continues; scored already: %s", ", ".join(sorted(finished)))
    search = load_search(checkpoint, settings, name) if len(finished) < len(done) else None
    for path in directories:
        if search is not None and path.name not in finished:
            scores = score_task(search, path.name, open_dataset(path))
            if rank_and_world_size()[0] == 0:
                write_scores(scores, done[path.name])
    return done


def result_key(fingerprint: str, dataset: Path, settings: Settings) -> str:
    """Name of a task's result: the checkpoint, the task's files, the settings, the code,
    libraries, threads and device.

    The checkpoint's fingerprint covers weights, pooling, normalisation and lengths, and not its path.
    """
    content = {
        "checkpoint": fingerprint,
        "task": dataset.name,
        "dataset": sha256_file(dataset / "manifest.json"),
        "precision": settings.evaluation.precision,
        "strict": settings.strict,
        "code": code_digest("evaluation", "encoders"),
        "arithmetic": arithmetic(),
    }
    return sha256_json(content)


def write_scores(scores: TaskScores, directory: Path) -> None:
    """Write one task's files, whole or not at all."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with replacing(directory) as partial:
        write_json(partial / f"{scores.name}.json", portable_result(scores.result))
        per_query = pa.Table.from_pandas(scores.per_query, preserve_index=False)
        pq.write_table(
            per_query.replace_schema_metadata(None), partial / f"{scores.name}.queries.parquet"
        )
        pq.write_table(run_table(scores.run), partial / f"{scores.name}.run.parquet")


def read_means(done: dict[str, Path]) -> dict[str, dict[str, float]]:
    """Task to metric to mean, from the files of `score_tasks`."""
    return {
        task: means(pd.read_parquet(directory / f"{task}.queries.parquet"))
        for task, directory in done.items()
    }


def collect(done: dict[str, Path], target: Path) -> None:
    """Copy the files of all tasks to one directory."""
    for directory in done.values():
        for path in sorted(directory.iterdir()):
            shutil.copyfile(path, target / path.name)


def forget(done: dict[str, Path]) -> None:
    """Delete the files of `score_tasks`, and their directory once it is empty."""
    for directory in done.values():
        shutil.rmtree(directory)
    parents = {directory.parent for directory in done.values()}
    for parent in parents:
        if not any(parent.iterdir()):
            parent.rmdir()
