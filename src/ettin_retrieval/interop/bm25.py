"""BM25, the lexical baseline, by mteb's own implementation (`mteb/baseline-bm25s`).

Its settings are mteb's: bm25s in the Lucene form with k1 1.5 and b 0.75, bm25s' English stop
words, PyStemmer's English stemmer, title and text joined by a newline. PyStemmer's release
shows in the scores.
"""

from __future__ import annotations

import logging
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mteb
import pandas as pd

from ettin_retrieval.data.dataset import RetrievalDataset
from ettin_retrieval.data.storage import read_dataset
from ettin_retrieval.evaluation.score import TaskScores, score_task, task_directories
from ettin_retrieval.ledger.entry import Entry
from ettin_retrieval.ledger.provenance import provenance
from ettin_retrieval.ledger.results import task_record
from ettin_retrieval.ledger.store import read_entry, write_entry, write_index
from ettin_retrieval.tasks import flat_metrics

logger = logging.getLogger("ettin_retrieval")

MODEL = "mteb/baseline-bm25s"

NAME, CHECKPOINT, SEED = "bm25", "base", 0
"""BM25's key in the ledger; nothing of it is drawn at random."""

SETTINGS = {"method": "lucene", "k1": 1.5, "b": 0.75, "stopwords": "english", "stemmer": "english"}
"""mteb's, told in an entry's provenance."""


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

    Returns
    -------
    The entry as it is then, with the tasks of earlier runs.

    Raises
    ------
    InputError
        No task in the directory.
    """
    start = time.monotonic()
    scored, tasks = [], {}
    for directory in task_directories(benchmark):
        dataset = read_dataset(directory)
        scored.append(score_bm25(directory.name, dataset))
        tasks[directory.name] = task_record(dataset.manifest())
        logger.info("%s: nDCG@10 %.5f", directory.name, scored[-1].scores["ndcg_at_10"])
    entry = Entry(
        model=NAME,
        checkpoint=CHECKPOINT,
        seed=SEED,
        scores=flat_metrics({task.name: task.scores for task in scored}),
        tasks=tasks,
        provenance=_provenance(time.monotonic() - start),
    )
    queries = pd.concat([task.per_query.assign(task=task.name) for task in scored])
    write_entry(results, entry, queries.sort_values(["task", "query_id"], ignore_index=True))
    write_index(results)
    return read_entry(results / f"{entry.name}.json")


def _provenance(seconds: float) -> dict[str, Any]:
    """The record of any other entry; what BM25's scores depend on stands for its weights."""
    versions = {name: version(name) for name in ("bm25s", "PyStemmer")}
    identity = ", ".join(f"{name} {release}" for name, release in versions.items())
    record = provenance(
        {"source": MODEL, "fingerprint": identity},
        None,
        SETTINGS,
        costs={NAME: {"seconds": round(seconds, 1)}},
    )
    return record | {"versions": record["versions"] | versions}
