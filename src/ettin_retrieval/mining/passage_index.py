"""Exact nearest passages by inner product: FAISS finds them, one arithmetic ranks them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from ettin_retrieval.encoders.encode import Embeddings

Numbers = npt.NDArray[np.int64]

SLACK = 16
"""Passages searched for beyond those wanted: which of two nearly equal ones comes last may differ
between a CPU and a GPU, and is decided here."""

CLOSE = 2e-6
"""Scores that differ by at most this share of the query's highest may be in either order in single
precision."""

SCORED_AT_ONCE = 512
"""Passages scored in float64 at a time, which fit a processor's cache."""

GPU_LIMIT = 2048
"""The most neighbours that FAISS finds on a GPU."""


def gpus() -> int:
    """How many GPUs FAISS can use; 0 for faiss-cpu, and for faiss-gpu on a machine without one."""
    import faiss

    # index_cpu_to_all_gpus without a GPU gives an empty index, which crashes when searched.
    return faiss.get_num_gpus() if hasattr(faiss, "StandardGpuResources") else 0


class PassageIndex:
    """Embeddings of the corpus, held once.

    Scores are inner products computed in float64 and rounded to float32: a passage has the same
    score wherever it was found, and CPU and GPU rank alike.

    Parameters
    ----------
    blocks
        Embeddings of shape (passages, d), in the order of the corpus.
    numbers
        For each row of the corpus, the number that a search returns for its passage. Equal scores
        are ordered by number.

    >>> vectors = np.array([[1, 0], [1, 0], [0, 1]], dtype=np.float32)
    >>> index = PassageIndex([vectors], numbers=np.array([2, 1, 0]))
    >>> scores, passages = index.nearest(np.array([[0.5, 0]], dtype=np.float32), 2)
    >>> passages.tolist(), scores.tolist()
    ([[1, 2]], [[0.5, 0.5]])
    """

    def __init__(self, blocks: Iterable[Embeddings], numbers: Numbers) -> None:
        import faiss

        # Always a product of matrices: FAISS 1.15 goes query by query where queries times
        # dimension are below 128,000, which takes nine times as long here.
        faiss.cvar.distance_compute_blas_threshold = 1
        faiss.cvar.distance_compute_blas_database_bs = 4096  # slower with its default of 1024
        stop = 0
        for block in blocks:
            if stop == 0:
                # All at once: a growing array is copied, and twice in memory meanwhile.
                self._vectors: Embeddings = np.empty((len(numbers), block.shape[1]), np.float32)
            start, stop = stop, stop + len(block)
            self._vectors[numbers[start:stop]] = block

    def nearest(
        self, queries: Embeddings, top_k: int, slack: int = SLACK
    ) -> tuple[Embeddings, Numbers]:
        """Scores and numbers of the nearest passages, of shape (queries, top_k); fewer if few.

        The search is for `slack` passages more. Queries whose last one of these is as near as the
        last one wanted are searched for again, with more.
        """
        wanted = min(top_k + slack, len(self._vectors))
        scores, passages = self.rank(queries, self._search(queries, wanted), wanted)
        if wanted < len(self._vectors):
            close = CLOSE * np.abs(scores).max(axis=1)
            for row in np.flatnonzero(scores[:, top_k - 1] - scores[:, -1] <= close):
                again = self.nearest(queries[row : row + 1], top_k, 8 * slack)
                scores[row, :top_k], passages[row, :top_k] = again[0][0], again[1][0]
        return scores[:, :top_k], passages[:, :top_k]

    def rank(
        self, queries: Embeddings, passages: Numbers, top_k: int
    ) -> tuple[Embeddings, Numbers]:
        """Scores and numbers of the nearest of each query's own passages.

        `passages` has shape (queries, passages); -1 where a query has fewer, which ranks last with
        a score of -inf.
        """
        scores = np.where(passages < 0, np.float32(-np.inf), self.scores(queries, passages))
        order = np.lexsort((passages, -scores))[:, :top_k]
        return np.take_along_axis(scores, order, 1), np.take_along_axis(passages, order, 1)

    def scores(self, queries: Embeddings, passages: Numbers) -> Embeddings:
        """Similarity of each query to its own passages, of the shape of `passages`."""
        scores = np.empty(passages.shape, dtype=np.float32)
        at_once = max(1, SCORED_AT_ONCE // max(1, passages.shape[1]))
        for start in range(0, len(queries), at_once):
            part = slice(start, start + at_once)
            vectors = self._vectors[passages[part]].astype(np.float64)
            # Pair by pair: a product of matrices would sum in an order that depends on its shape.
            scores[part] = np.vecdot(vectors, queries[part, None].astype(np.float64))
        return scores

    def _search(self, queries: Embeddings, neighbours: int) -> Numbers:
        """The nearest passages in single precision, of shape (queries, neighbours)."""
        import faiss

        if gpus() > 0 and neighbours <= GPU_LIMIT:
            return self._on_gpus.search(queries, neighbours)[1]
        metric = faiss.METRIC_INNER_PRODUCT
        return faiss.knn(queries, self._vectors, neighbours, metric=metric)[1]

    @cached_property
    def _on_gpus(self) -> Any:
        """An index whose passages are divided among all GPUs."""
        import faiss

        options = faiss.GpuMultipleClonerOptions()
        options.shard = True
        flat = faiss.IndexFlatIP(self._vectors.shape[1])
        flat.add(self._vectors)
        return faiss.index_cpu_to_all_gpus(flat, co=options)
