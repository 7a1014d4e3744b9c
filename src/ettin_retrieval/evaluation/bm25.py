"""BM25, the lexical baseline, by mteb's own implementation (`mteb/baseline-bm25s`).

Its settings are mteb's: bm25s in the Lucene form with k1 1.5 and b 0.75, bm25s' English stop
words, PyStemmer's English stemmer, title and text joined by a newline. PyStemmer's release
shows in the scores.
"""

from __future__ import annotations

import logging
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mteb
import pandas as pd

from ettin_retrieval.evaluation.benchmark import (
    TaskScores,
    flat_metrics,
    score_task,
    task_directories,
)
from ettin_retrieval.records import RetrievalDataset, read_dataset
from ettin_retrieval.results import (
    AVERAGE,
    AVERAGE_ENG_V2,
    Entry,
    read_entry,
    read_queries,
    write_entry,
    write_index,
)
from ettin_retrieval.stages.results import task_record

logger = logging.getLogger("ettin_retrieval")

MODEL = "mteb/baseline-bm25s"

NAME, CHECKPOINT, SEED = "bm25", "base", 0
"""BM25's key in the ledger; nothing of it is drawn at random."""


def score_bm25(name: str, dataset: RetrievalDataset) -> TaskScores:
    """BM25's scores on one task, in the form of an encoder's.

    Parameters
    ----------
    name
        mteb's name of the task, or any other name for a collection of one's own.

    Notes
    -----
    mteb reseeds the global random generators when it makes a task.
    """
    # Any: mteb's object is no ExactSearch, but has the same two methods.
    search: Any = mteb.get_model(MODEL)
    return score_task(search, name, dataset)


def stemmer_version() -> str:
    """Installed release of PyStemmer."""
    return version("PyStemmer")


def record_bm25(benchmark: Path, results: Path) -> Entry:
    """Score BM25 on every task of a benchmark and add them to its entry of the ledger.

    Scores of other tasks that the entry has stay. Averages are left to the tables, which take
    them over the tasks of a benchmark.

    Raises
    ------
    InputError
        No task in the directory.
    """
    scored, tasks = [], {}
    for directory in task_directories(benchmark):
        dataset = read_dataset(directory)
        scored.append(score_bm25(directory.name, dataset))
        tasks[directory.name] = task_record(dataset.manifest())
        logger.info("%s: nDCG@10 %.5f", directory.name, scored[-1].scores["ndcg_at_10"])
    scores = flat_metrics({task.name: task.scores for task in scored}, whole=False)
    queries = pd.concat([task.per_query.assign(task=task.name) for task in scored])
    path = results / NAME / f"{CHECKPOINT}-seed{SEED}.json"
    if path.is_file():
        old = read_entry(path)
        kept = read_queries(results, old)
        scores = {**old.scores, **scores}
        tasks = {**old.tasks, **tasks}
        queries = pd.concat([kept[~kept["task"].isin(set(queries["task"]))], queries])
    entry = Entry(
        model=NAME,
        checkpoint=CHECKPOINT,
        seed=SEED,
        scores={k: v for k, v in sorted(scores.items()) if k not in {AVERAGE, AVERAGE_ENG_V2}},
        tasks=dict(sorted(tasks.items())),
        provenance={
            "implementation": MODEL,
            "versions": {name: version(name) for name in ("bm25s", "mteb", "PyStemmer")},
        },
    )
    write_entry(results, entry, queries.sort_values(["task", "query_id"], ignore_index=True))
    write_index(results)
    return entry
