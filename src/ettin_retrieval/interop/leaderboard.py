"""Scores in other people's forms: the public MTEB results repository, and TREC run files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ettin_retrieval.encoders.checkpoint import read_checkpoint
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.runtime.files import replacing, write_json
from ettin_retrieval.tasks import full_name

ORGANISATION = "ettin-retrieval"

META = "model_meta.json"


def export_leaderboard(scores: Path, checkpoint: Path, out: Path, name: str | None = None) -> Path:
    """Write results as the public MTEB results repository lays them out.

    OUT/results/ORG__MODEL/REVISION/TASK.json and model_meta.json, where mteb's `ResultCache(OUT)`
    finds them. The scores are those of the evaluation, to the last digit.

    Parameters
    ----------
    scores
        A stage's scores directory: TASK.json for each task.
    checkpoint
        The checkpoint that was scored.
    name
        `ORG/MODEL`; made from the checkpoint's identity where it is not given.

    Returns
    -------
    The directory REVISION, named by the first 40 hex digits of the identity.

    Raises
    ------
    InputError
        No scores, a file that is no result of mteb's, a changed checkpoint or a malformed name.
    """
    from mteb.models.model_meta import ModelMeta

    from ettin_retrieval.evaluation.search import model_meta
    from ettin_retrieval.settings.schema import Evaluation

    record = read_checkpoint(checkpoint)
    name = name or leaderboard_name(record)
    organisation, _, model = name.partition("/")
    if not organisation or not model or "/" in model or "__" in name or " " in name:
        raise InputError(f"name {name!r}: write ORG/MODEL, without spaces or double underscores")
    results = [(path.stem, _read_result(path)) for path in _result_files(scores)]
    meta: ModelMeta = model_meta(record, name, Evaluation())
    # mteb files a model with keyword arguments away as an experiment; this is the model itself.
    meta = meta.model_copy(update={"experiment_kwargs": None})
    target = out / "results" / meta.model_name_as_path() / str(meta.revision)
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as directory:
        for task, content in results:
            write_json(directory / f"{task}.json", content)
        write_json(directory / META, json.loads(json.dumps(meta.to_dict(), default=str)))
    return target


def leaderboard_name(record: dict[str, Any]) -> str:
    """A model's name from its checkpoint.json: what it is, and the start of its identity.

    >>> leaderboard_name({"source": "jhu-clsp/ettin-encoder-17m", "fingerprint": "0a1b2c3d4e5f" * 6})
    'ettin-retrieval/ettin-encoder-17m-0a1b2c3d4e5f'
    """
    return f"{ORGANISATION}/{record['source'].rpartition('/')[2]}-{record['identity'][:12]}"


def foreign_data(results: Path) -> list[str]:
    """Tasks of an exported directory that were not scored on mteb's pinned data, a line each.

    Such a result is no entry for the public leaderboard, whatever its scores.
    """
    import mteb

    told = []
    for path in sorted(results.glob("*.json")):
        if path.name == META:
            continue
        revision = json.loads(path.read_text(encoding="utf-8"))["dataset_revision"]
        try:
            pinned = mteb.get_task(path.stem).metadata.dataset["revision"]
        except KeyError:
            told.append(f"{path.stem}: no task of mteb's")
            continue
        if revision != pinned:
            told.append(f"{path.stem}: scored on data of revision {revision}, mteb pins {pinned}")
    return told


def _result_files(scores: Path) -> list[Path]:
    paths = sorted(scores.glob("*.json"))
    if not paths:
        raise InputError(f"{scores}: no TASK.json in it; name a scores directory of the pipeline")
    return paths


def _read_result(path: Path) -> dict[str, Any]:
    """A result as JSON, if mteb can read it."""
    from mteb import TaskResult

    try:
        name = TaskResult.from_disk(path).task_name
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, KeyError) as error:
        raise InputError(f"{path}: not a result of mteb's ({error})") from None
    if full_name(name) != name:
        raise InputError(
            f"{path}: scored on a part of the corpus (data.max_corpus_size), which is no result "
            "to publish"
        )
    if name != path.stem:
        raise InputError(f"{path}: holds the task {name}; a file is named after its task")
    return content
