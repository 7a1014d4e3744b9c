"""Scores in other people's forms: the public MTEB results repository, and TREC run files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.parquet as pq

from ettin_retrieval.encoders import read_checkpoint
from ettin_retrieval.errors import InputError
from ettin_retrieval.records import read_dataset, replacing, write_json
from ettin_retrieval.sources.subsampling import full_name

ORGANISATION = "ettin-retrieval"

TAG = "ettin-retrieval"

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
    from ettin_retrieval.params import Evaluation

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

    >>> leaderboard_name({"source": "jhu-clsp/ettin-encoder-17m", "identity": "0a1b2c3d4e5f" * 6})
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


def export_trec(
    scores: Path, out: Path, benchmark: Path | None = None, tag: str = TAG
) -> list[Path]:
    """Write each task's retrieved passages as a TREC run file, TASK.trec.

    Parameters
    ----------
    scores
        A stage's scores directory: TASK.run.parquet for each task.
    benchmark
        Directory of the tasks' datasets; where it is given, each task's judgments are written to
        TASK.qrels, in TREC's form too.
    tag
        Last column of the run files.

    Returns
    -------
    The files written.

    Raises
    ------
    InputError
        No runs, or an id or tag with white space, which would make another column.
    """
    paths = sorted(scores.glob("*.run.parquet"))
    if not paths:
        raise InputError(
            f"{scores}: no .run.parquet in it; name a scores directory of the pipeline"
        )
    if not tag or len(tag.split()) != 1:
        raise InputError(f"tag {tag!r}: white space separates columns; write one word")
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for path in paths:
        task = path.name.removesuffix(".run.parquet")
        run = pq.read_table(path).to_pandas()
        _one_word(run["query_id"], path)
        _one_word(run["corpus_id"], path)
        written.append(_write_lines(out / f"{task}.trec", run_lines(run, tag)))
        if benchmark is not None:
            qrels = read_dataset(benchmark / task).qrels
            written.append(_write_lines(out / f"{task}.qrels", qrels_lines(qrels)))
    return written


def run_lines(run: pd.DataFrame, tag: str = TAG) -> Iterator[str]:
    r"""Lines `query_id Q0 corpus_id rank score tag` in order of query and rank.

    Scores fall strictly, so that a tool that orders by score, by rank or by line sees the same
    order, however it breaks ties. See `strictly_falling`.

    Parameters
    ----------
    run
        Columns query_id, corpus_id, rank and score.

    Examples
    --------
    >>> rows = {"query_id": "q", "corpus_id": ["b", "a"], "rank": [1, 2], "score": [0.5, 0.5]}
    >>> print(*run_lines(pd.DataFrame(rows), "me"), sep="\n")
    q Q0 b 1 0.5 me
    q Q0 a 2 0.49999997 me
    """
    ordered = run.sort_values(["query_id", "rank"], kind="stable")
    for query_id, hits in ordered.groupby("query_id", sort=True):
        falling = strictly_falling(hits["score"].to_numpy(np.float32))
        for corpus_id, rank, score in zip(hits["corpus_id"], hits["rank"], falling, strict=True):
            yield f"{query_id} Q0 {corpus_id} {rank} {score!s} {tag}"


def qrels_lines(qrels: pd.DataFrame) -> Iterator[str]:
    """Lines `query_id 0 corpus_id score`.

    >>> list(qrels_lines(pd.DataFrame({"query_id": ["q"], "corpus_id": ["a"], "score": [2]})))
    ['q 0 a 2']
    """
    for query_id, corpus_id, score in zip(
        qrels["query_id"], qrels["corpus_id"], qrels["score"], strict=True
    ):
        yield f"{query_id} 0 {corpus_id} {score}"


def strictly_falling(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Lower a score that is not below the one before it to the next number below.

    In float32, because trec_eval keeps scores so: a smaller step would be a tie again. The
    printed form of a float32 is the shortest that reads back as the same number.

    Parameters
    ----------
    scores
        Shape (passages,), in order of rank.

    Raises
    ------
    InputError
        A score rises from one rank to the next, or is no finite number.

    Examples
    --------
    >>> strictly_falling(np.array([1, 1, 1, 0.5], dtype=np.float32)).tolist()
    [1.0, 0.9999999403953552, 0.9999998807907104, 0.5]
    """
    if not np.isfinite(scores).all():
        raise InputError(
            "a run has a score that is no finite number; evaluate the checkpoint again"
        )
    steps = np.diff(scores)
    if (steps > 0).any():
        raise InputError("a run's scores rise from one rank to the next; evaluate again")
    if (steps < 0).all():
        return scores
    falling = scores.copy()
    for rank in range(1, len(falling)):
        if falling[rank] >= falling[rank - 1]:
            falling[rank] = np.nextafter(falling[rank - 1], np.float32(-np.inf))
    return falling


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


def _one_word(ids: pd.Series, path: Path) -> None:
    wrong = ids[ids.str.contains(r"\s") | ids.eq("")]
    if len(wrong):
        raise InputError(f"{path}: id {wrong.iloc[0]!r} has white space, which separates columns")


def _write_lines(path: Path, lines: Iterator[str]) -> Path:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{line}\n" for line in lines)
    return path
