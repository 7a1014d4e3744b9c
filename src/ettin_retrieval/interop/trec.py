"""TODO: interop.trec."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.parquet as pq

from ettin_retrieval.data.storage import read_dataset
from ettin_retrieval.runtime.errors import InputError

TAG = "ettin-retrieval"


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


def _one_word(ids: pd.Series, path: Path) -> None:
    wrong = ids[ids.str.contains(r"\s") | ids.eq("")]
    if len(wrong):
        raise InputError(f"{path}: id {wrong.iloc[0]!r} has white space, which separates columns")


def _write_lines(path: Path, lines: Iterator[str]) -> Path:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{line}\n" for line in lines)
    return path
