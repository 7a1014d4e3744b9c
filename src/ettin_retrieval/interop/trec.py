"""Runs and judgments in the formats of trec_eval."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.parquet as pq

from ettin_retrieval.data.storage import read_dataset
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.runtime.files import write_lines

TAG = "ettin-retrieval"


def export_trec(scores: Path, out: Path, benchmark: Path | None = None) -> list[Path]:
    """Write each task's retrieved passages as a TREC run file, TASK.trec.

    Parameters
    ----------
    scores
        Scores directory of the pipeline, with TASK.run.parquet for each task.
    benchmark
        Directory of the tasks' datasets, to write their judgments to TASK.qrels.

    Returns
    -------
    The files written.

    Raises
    ------
    InputError
        There are no runs, or an id has white space, which separates columns.
    """
    paths = sorted(scores.glob("*.run.parquet"))
    if not paths:
        raise InputError(
            f"{scores}: no .run.parquet in it; name a scores directory of the pipeline"
        )
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for path in paths:
        task = path.name.removesuffix(".run.parquet")
        run = pq.read_table(path).to_pandas()
        _check_ids(run, path)
        written.append(write_lines(out / f"{task}.trec", run_lines(run)))
        if benchmark is not None:
            qrels = read_dataset(benchmark / task).qrels
            _check_ids(qrels, benchmark / task / "qrels.parquet")
            written.append(write_lines(out / f"{task}.qrels", qrels_lines(qrels)))
    return written


def _check_ids(pairs: pd.DataFrame, path: Path) -> None:
    for ids in (pairs["query_id"], pairs["corpus_id"]):
        if len(wrong := ids[ids.str.contains(r"\s") | ids.eq("")]):
            raise InputError(
                f"{path}: id {wrong.iloc[0]!r} has white space, which separates columns"
            )


def run_lines(run: pd.DataFrame) -> Iterator[str]:
    r"""Lines `query_id Q0 corpus_id rank score tag` in order of query and rank.

    Scores descend strictly, so ordering by score, by rank and by line is the same, however a tool
    breaks ties.

    >>> rows = {"query_id": "q", "corpus_id": ["b", "a"], "rank": [1, 2], "score": [0.5, 0.5]}
    >>> print(*run_lines(pd.DataFrame(rows)), sep="\n")
    q Q0 b 1 0.5 ettin-retrieval
    q Q0 a 2 0.49999997 ettin-retrieval
    """
    ordered = run.sort_values(["query_id", "rank"], kind="stable")
    for query_id, hits in ordered.groupby("query_id", sort=True):
        scores = strictly_descending(hits["score"].to_numpy(np.float32))
        for corpus_id, rank, score in zip(hits["corpus_id"], hits["rank"], scores, strict=True):
            yield f"{query_id} Q0 {corpus_id} {rank} {score!s} {TAG}"


def qrels_lines(qrels: pd.DataFrame) -> Iterator[str]:
    """Lines `query_id 0 corpus_id score`.

    >>> list(qrels_lines(pd.DataFrame({"query_id": ["q"], "corpus_id": ["a"], "score": [2]})))
    ['q 0 a 2']
    """
    for row in qrels.itertuples():
        yield f"{row.query_id} 0 {row.corpus_id} {row.score}"


def strictly_descending(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Lower each score that is not below the one before it to the next smaller number.

    In float32, as trec_eval reads scores: a smaller step would be a tie again. A float32 prints as
    the shortest decimal that reads back as the same number. Scores in order of rank that rise or
    are not finite are an `InputError`.

    >>> strictly_descending(np.array([1, 1, 1, 0.5], dtype=np.float32)).tolist()
    [1.0, 0.9999999403953552, 0.9999998807907104, 0.5]
    """
    if not np.isfinite(scores).all():
        raise InputError("a run has a score that is not finite; evaluate the checkpoint again")
    steps = np.diff(scores)
    if (steps > 0).any():
        raise InputError("a run's scores rise from one rank to the next; evaluate again")
    if (steps < 0).all():
        return scores
    lowest = np.float32(-np.inf)
    lowered = accumulate(scores, lambda last, score: min(score, np.nextafter(last, lowest)))
    return np.fromiter(lowered, np.float32)
