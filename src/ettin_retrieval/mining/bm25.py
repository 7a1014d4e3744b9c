"""The nearest passages by BM25, in bounded memory.

It is bm25s with the settings of the lexical baseline (`interop/bm25.py`).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ettin_retrieval.mining.passage_index import Numbers

PART = 2**18
"""Passages indexed at a time. Each part of a larger corpus has word frequencies of its own, which
hardly differ between parts of this size."""


def nearest_by_words(
    texts: list[str], queries: list[str], eligible: npt.NDArray[np.bool_], top_k: int
) -> list[Numbers]:
    """The rows of each query's nearest eligible passages, the nearest first.

    Passages without a word of the query do not count, so there may be fewer than `top_k`. Equal
    scores are ordered by row.
    """
    import bm25s
    import Stemmer

    stemmer = Stemmer.Stemmer("english")
    options = {"stopwords": "english", "stemmer": stemmer, "show_progress": False}
    # Without empty queries: their only token would be one that every passage lacks.
    words = bm25s.tokenize(queries, return_ids=False, allow_empty=False, **options)
    found: list[list[tuple[float, int]]] = [[] for _ in queries]
    for start in range(0, len(texts), PART):
        tokens = bm25s.tokenize(texts[start : start + PART], **options)
        index = bm25s.BM25(method="lucene", k1=1.5, b=0.75)
        index.index(tokens, show_progress=False)
        allowed = eligible[start : start + PART]
        for best, of_query in zip(found, words, strict=True):
            known = [word for word in of_query if word in index.vocab_dict]
            if not known:
                continue
            scores = np.where(allowed, index.get_scores(known), 0)
            rows = np.flatnonzero(scores)
            rows = rows[np.argsort(-scores[rows], kind="stable")[:top_k]]
            best += zip((-scores[rows]).tolist(), (start + rows).tolist(), strict=True)
            best.sort()
            del best[top_k:]
    return [np.array([row for _, row in best], dtype=np.int64) for best in found]
