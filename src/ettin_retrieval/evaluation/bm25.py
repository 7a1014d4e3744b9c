"""BM25, the lexical baseline, by mteb's own implementation (`mteb/baseline-bm25s`).

Its settings are mteb's: bm25s in the Lucene form with k1 1.5 and b 0.75, bm25s' English stop
words, PyStemmer's English stemmer, title and text joined by a newline. PyStemmer's release
shows in the scores.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import mteb

from ettin_retrieval.evaluation.benchmark import TaskScores, score_task
from ettin_retrieval.records import RetrievalDataset

MODEL = "mteb/baseline-bm25s"


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
