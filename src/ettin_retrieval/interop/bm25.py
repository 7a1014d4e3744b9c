"""BM25, the lexical baseline, as mteb implements it.

That is bm25s in the Lucene form with its English stop words, PyStemmer's English stemmer, and
title and text joined by a newline. Scores depend on PyStemmer's release.
"""

from __future__ import annotations

import logging
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mteb

from ettin_retrieval.data.dataset import RetrievalDataset
from ettin_retrieval.data.storage import read_dataset
from ettin_retrieval.evaluation.score import TaskScores, score_task, task_directories
from ettin_retrieval.experiment import measurement
from ettin_retrieval.interop import BM25_MODEL
from ettin_retrieval.ledger.entry import Entry
from ettin_retrieval.ledger.provenance import run_record
from ettin_retrieval.ledger.store import read_entry, write_index, write_measurement

logger = logging.getLogger("ettin_retrieval")

SETTINGS = {"method": "lucene", "k1": 1.5, "b": 0.75, "stopwords": "english", "stemmer": "english"}
"""mteb's settings, for the record."""


def score_bm25(name: str, dataset: RetrievalDataset) -> TaskScores:
    """BM25's scores on one task, in the form of an encoder's."""
    search: Any = mteb.get_model(BM25_MODEL)  # has the methods of an ExactSearch
    return score_task(search, name, dataset)


def record_bm25(benchmark: Path, results: Path) -> Entry:
    """Score BM25 on every task of a benchmark directory, and add the scores to its entry.

    Returns
    -------
    The entry, with the tasks of earlier calls.
    """
    start = time.monotonic()
    scored = []
    for directory in task_directories(benchmark):
        scored.append(score_bm25(directory.name, read_dataset(directory)))
        logger.info("%s: nDCG@10 %.5f", directory.name, scored[-1].scores["ndcg_at_10"])
    # The releases that decide the scores stand for weights.
    versions = {name: version(name) for name in ("bm25s", "PyStemmer")}
    fingerprint = ", ".join(f"{name} {release}" for name, release in versions.items())
    record = run_record(SETTINGS, costs={"bm25": {"seconds": round(time.monotonic() - start, 1)}})
    record["versions"] |= versions
    weights = {"source": BM25_MODEL, "fingerprint": fingerprint}
    new = measurement(("bm25", "base", 0), scored, benchmark, record, weights)
    write_measurement(results, new)
    write_index(results)
    return read_entry(results / f"{new.entry.name}.json")
