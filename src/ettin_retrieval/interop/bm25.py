"""BM25, the lexical baseline, with mteb's settings and this repository's ranking.

The settings are bm25s in the Lucene form with its English stop words and PyStemmer's English
stemmer. Scores depend on PyStemmer's release. bm25s scores every passage; the best are kept by the
`TopK` that ranks embeddings, so a figure of BM25 checks data, ranking and metrics, though no
encoder.
"""

from __future__ import annotations

import logging
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mteb
import numpy as np
from datasets import Dataset

from ettin_retrieval.data.dataset import RetrievalDataset
from ettin_retrieval.data.storage import read_dataset
from ettin_retrieval.encoders.encode import SHARD
from ettin_retrieval.evaluation.corpus import Corpus
from ettin_retrieval.evaluation.score import TaskScores, score_task, task_directories
from ettin_retrieval.evaluation.search import TopK, with_ids
from ettin_retrieval.experiment import measurement
from ettin_retrieval.interop import BM25_MODEL
from ettin_retrieval.ledger.entry import Entry
from ettin_retrieval.ledger.provenance import run_record
from ettin_retrieval.ledger.store import read_entry, write_index, write_measurement

logger = logging.getLogger("ettin_retrieval")

SETTINGS: dict[str, Any] = {
    "method": "lucene",
    "k1": 1.5,
    "b": 0.75,
    "stopwords": "english",
    "stemmer": "english",
}
"""mteb's settings, for the record."""


QUERIES_AT_ONCE = 16
"""Caps the scores in memory at this many times the corpus."""


class BM25Search:
    """BM25 behind mteb's interface, as `ExactSearch` is."""

    def __init__(self) -> None:
        self.mteb_model_meta = mteb.get_model_meta(BM25_MODEL)

    def index(self, corpus: Corpus | Dataset, **_: Any) -> None:
        """Count the words of the whole corpus."""
        import bm25s
        import Stemmer

        self.corpus = corpus if isinstance(corpus, Corpus) else Corpus(corpus)
        shards = range(-(-len(self.corpus) // SHARD))
        texts = [text for part in self.corpus.shards(SHARD, shards) for text in part]
        self._reading: dict[str, Any] = {
            "stopwords": SETTINGS["stopwords"],
            "stemmer": Stemmer.Stemmer(SETTINGS["stemmer"]),
            "show_progress": False,
        }
        self._index = bm25s.BM25(**{key: SETTINGS[key] for key in ("method", "k1", "b")})
        self._index.index(bm25s.tokenize(texts, **self._reading), show_progress=False)

    def search(self, queries: Dataset, *, top_k: int, **_: Any) -> dict[str, dict[str, float]]:
        """The `top_k` passages of highest score per query; of equal scores the earlier."""
        import bm25s

        words = bm25s.tokenize(list(queries["text"]), return_ids=False, **self._reading)
        ranked = [
            self._nearest(words[start : start + QUERIES_AT_ONCE], top_k)
            for start in range(0, len(words), QUERIES_AT_ONCE)
        ]
        scores, rows = (np.concatenate(part) for part in zip(*ranked, strict=True))
        return with_ids(self.corpus, queries["id"], scores, rows)

    def _nearest(self, words: list[list[str]], top_k: int) -> tuple[Any, Any]:
        """Scores and rows of shape (queries, k), from scores of every passage shard by shard."""
        passages, best = len(self.corpus), TopK(len(words), top_k)
        scores = np.zeros((len(words), passages), dtype=np.float32)
        for row, of_query in enumerate(words):
            # A word that no passage has scores nothing, and bm25s does not know it.
            if known := [word for word in of_query if word in self._index.vocab_dict]:
                scores[row] = self._index.get_scores(known)
        for start in range(0, passages, SHARD):
            rows = np.arange(start, min(start + SHARD, passages))
            best.add_scores(np.ascontiguousarray(scores[:, rows]), rows)
        return best.ranked()


def score_bm25(name: str, dataset: RetrievalDataset) -> TaskScores:
    """BM25's scores on one task, in the form of an encoder's."""
    search: Any = BM25Search()  # has the methods of an ExactSearch
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
