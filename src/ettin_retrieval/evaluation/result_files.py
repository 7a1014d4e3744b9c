"""The files of a task's scores, written as soon as it is scored: equal scores give equal bytes.

TASK.json               mteb's result
TASK.queries.parquet    per-query scores
TASK.run.parquet        retrieved passages
TASK.cut.json           how many queries and passages are longer than the encoder reads, of how
                        many, and their mean lengths

They lie in data/unfinished-evaluation/KEY until the stage has written its outputs, so that an
interrupted evaluation continues. The key covers all that decides the scores: two checkpoints
never share a result.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterable
from operator import itemgetter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ettin_retrieval.data.storage import open_dataset
from ettin_retrieval.encoders.checkpoint import read_checkpoint
from ettin_retrieval.evaluation.score import TaskScores, load_search, score_task, task_directories
from ettin_retrieval.runtime.determinism import arithmetic
from ettin_retrieval.runtime.distributed import all_gather, is_first_rank
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
"""Beside the outputs that DVC tracks."""

RUN = pa.schema(
    [("query_id", pa.string()), ("corpus_id", pa.string()), ("rank", pa.int32()),
     ("score", pa.float32())]
)  # fmt: skip

CUT = ".cut.json"
"""Ends the name of the file with `TaskScores.cut`. No metric: it belongs beside a score."""

TIMES = ("evaluation_time", "kg_co2_emissions", "date", "evaluation_phases")
"""What differs from run to run in mteb's result; left empty."""


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
    missing = [path for path in directories if path.name not in finished]
    if not missing:
        return done
    search = load_search(checkpoint, settings)
    for path in missing:
        scores = score_task(search, path.name, open_dataset(path))
        if is_first_rank():
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


def write_scores(scores: TaskScores, directory: Path) -> None:
    """Write the files of one task; mteb's `TaskResult.from_disk` reads the first."""
    result = json.loads(scores.result.model_dump_json()) | dict.fromkeys(TIMES)
    write_json(directory / f"{scores.name}.json", result)
    per_query = pa.Table.from_pandas(scores.per_query, preserve_index=False)
    pq.write_table(
        per_query.replace_schema_metadata(None), directory / f"{scores.name}.queries.parquet"
    )
    pq.write_table(run_table(scores.run), directory / f"{scores.name}.run.parquet")
    write_json(directory / f"{scores.name}{CUT}", scores.cut)


def run_table(run: dict[str, dict[str, float]]) -> pa.Table:
    """Retrieved passages by query id and rank; equal scores by descending passage id, as trec_eval
    orders them.
    """
    tables = [RUN.empty_table()]
    for query_id in sorted(run):
        hits = sorted(run[query_id].items(), key=itemgetter(1, 0), reverse=True)
        columns = {
            "query_id": [query_id] * len(hits),
            "corpus_id": [passage_id for passage_id, _ in hits],
            "rank": range(1, len(hits) + 1),
            "score": [score for _, score in hits],
        }
        tables.append(pa.table(columns, schema=RUN))
    return pa.concat_tables(tables).combine_chunks()
