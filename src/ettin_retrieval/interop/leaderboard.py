"""Scores in the layout of the public MTEB results repository."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from ettin_retrieval.encoders.checkpoint import read_checkpoint
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.runtime.files import read_json, replacing, write_json
from ettin_retrieval.tasks import full_name

META = "model_meta.json"


def export_leaderboard(scores: Path, checkpoint: Path, out: Path, name: str | None = None) -> Path:
    """Write OUT/results/ORG__MODEL/REVISION/TASK.json and model_meta.json.

    mteb's `ResultCache(OUT)` reads them. The scores are those of the evaluation, to the last digit.

    Parameters
    ----------
    scores
        Scores directory of the pipeline, with TASK.json for each task.
    checkpoint
        The checkpoint that was scored.
    name
        `ORG/MODEL`; by default made from the checkpoint's origin and fingerprint.

    Returns
    -------
    The directory REVISION, named after the first 40 hex digits of the fingerprint.

    Raises
    ------
    InputError
        There are no scores, a file is not a result of mteb's, the checkpoint has changed, or the
        name is malformed.
    """
    from ettin_retrieval.evaluation.result_files import CUT
    from ettin_retrieval.evaluation.search import model_meta

    record = read_checkpoint(checkpoint)
    name = name or leaderboard_name(record)
    if not re.fullmatch(r"[^/ ]+/[^/ ]+", name) or "__" in name:
        raise InputError(f"name {name!r}: write ORG/MODEL, without spaces or double underscores")
    files = [path for path in sorted(scores.glob("*.json")) if not path.name.endswith(CUT)]
    results = {path.name: _read_result(path) for path in files}
    if not results:
        raise InputError(f"{scores}: no TASK.json in it; name a scores directory of the pipeline")
    meta = model_meta(record, name)
    target = out / "results" / meta.model_name_as_path() / str(meta.revision)
    with replacing(target) as directory:
        for file, content in results.items():
            write_json(directory / file, content)
        write_json(directory / META, json.loads(json.dumps(meta.to_dict(), default=str)))
    return target


def leaderboard_name(record: dict[str, Any]) -> str:
    """A model's name from its checkpoint.json: its origin and the start of its fingerprint.

    >>> leaderboard_name({"source": "jhu-clsp/ettin-encoder-17m", "fingerprint": "0a1b2c3d4e5f67"})
    'ettin-retrieval/ettin-encoder-17m-0a1b2c3d4e5f'
    """
    return f"ettin-retrieval/{record['source'].rpartition('/')[2]}-{record['fingerprint'][:12]}"


def foreign_data(results: Path) -> list[str]:
    """One line for each exported task that was not scored on the data that mteb pins.

    The public leaderboard does not take such a result.
    """
    import mteb

    lines = []
    for path in sorted(set(results.glob("*.json")) - {results / META}):
        revision = read_json(path)["dataset_revision"]
        try:
            pinned = mteb.get_task(path.stem).metadata.dataset["revision"]
        except KeyError:
            lines.append(f"{path.stem}: not a task of mteb")
            continue
        if revision != pinned:
            lines.append(f"{path.stem}: scored on data of revision {revision}, mteb pins {pinned}")
    return lines


def _read_result(path: Path) -> dict[str, Any]:
    """A result as JSON, once mteb has read it."""
    from mteb import TaskResult

    try:
        task = TaskResult.from_disk(path).task_name
        content: dict[str, Any] = read_json(path)
    except (ValueError, KeyError) as error:
        raise InputError(f"{path}: not a result of mteb ({error})") from None
    if full_name(task) != task:
        raise InputError(
            f"{path}: scored on a part of the corpus (data.max_corpus_size), which is not a result "
            "to publish"
        )
    if task != path.stem:
        raise InputError(f"{path}: holds the task {task}; a file is named after its task")
    return content
