"""Exact nearest passages by inner product: FAISS finds them, one arithmetic ranks them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ettin_retrieval.encoders.embedding_cache import Embeddings

Rows = npt.NDArray[np.int64]

SLACK = 16
"""Passages searched for beyond those asked for: which of two nearly equal ones comes last of all
may differ between a CPU and a GPU, and is decided here."""

CLOSE = 2e-6
"""Scores whose difference, as a share of the query's highest, is at most this may change places
in single precision."""

SCORED_AT_ONCE = 512
"""Passages scored in float64 at a time, which a processor's cache holds."""

PRODUCT = 4096
"""Passages per matrix product of FAISS on a CPU; with its 1024 a search takes longer."""

GPU_LIMIT = 2048
"""The most neighbours that FAISS finds on a GPU."""


def gpus() -> int:
    """How many GPUs FAISS can use; 0 for faiss-cpu, and for faiss-gpu on a machine without one."""
    import faiss

    # index_cpu_to_all_gpus of no GPU is an empty index, which crashes when it is searched.
    return faiss.get_num_gpus() if hasattr(faiss, "StandardGpuResources") else 0


class PassageIndex:
    """Passages in the order of the corpus, added block by block and held once.

    Scores are inner products computed in float64 and rounded to float32, so that a passage has
    the same score wherever it was found, and CPU and GPU rank alike.

    Parameters
    ----------
    dimension
        Of the embeddings.
    tie_order
        For each row of the corpus its place among equal scores.

    Examples
    --------
    >>> index = PassageIndex(2, tie_order=np.array([1, 0, 2]))
    >>> index.add(np.array([[1, 0], [1, 0], [0, 1]], dtype=np.float32))
    >>> scores, rows = index.nearest(np.array([[0.5, 0]], dtype=np.float32), 2)
    >>> rows.tolist(), scores.tolist()
    ([[1, 0]], [[0.5, 0.5]])
    """

    def __init__(self, dimension: int, tie_order: Rows) -> None:
        import faiss

        # Always a product of matrices: FAISS 1.15 goes query by query where queries times
        # dimension are below 128,000, which takes nine times as long here.
        faiss.cvar.distance_compute_blas_threshold = 1
        faiss.cvar.distance_compute_blas_database_bs = PRODUCT
        self.tie_order = tie_order
        # Room for all of them at once: what grows is copied, and takes its space twice meanwhile.
        self._vectors: Embeddings = np.empty((len(tie_order), dimension), dtype=np.float32)
        self._length = 0
        self._on_gpus: Any = None

    def __len__(self) -> int:
        return self._length

    def add(self, passages: Embeddings) -> None:
        """Append embeddings of shape (passages, dimension)."""
        stop = self._length + len(passages)
        self._vectors[self._length : stop] = passages
        self._length = stop
        self._on_gpus = None

    def nearest(
        self, queries: Embeddings, top_k: int, slack: int = SLACK
    ) -> tuple[Embeddings, Rows]:
        """Scores and corpus rows of the nearest passages, each of shape (queries, top_k).

        Scores fall, equal ones are in `tie_order`; there are fewer columns if the index has
        fewer passages.

        Parameters
        ----------
        slack
            Passages searched for beyond `top_k`. Queries for which these are too few, because
            the last of them is as near as the last one asked for, are searched again with more.
        """
        wanted = min(top_k + slack, len(self))
        found = self._search(queries, wanted)
        scores = self.scores(queries, found)
        order = self._order(scores, found)
        scores, found = np.take_along_axis(scores, order, 1), np.take_along_axis(found, order, 1)
        if wanted < len(self):
            close = CLOSE * np.abs(scores).max(axis=1)
            for row in np.flatnonzero(scores[:, top_k - 1] - scores[:, -1] <= close):
                again = self.nearest(queries[row : row + 1], top_k, 8 * slack)
                scores[row, :top_k], found[row, :top_k] = again[0][0], again[1][0]
        return scores[:, :top_k], found[:, :top_k]

    def rank(self, query: Embeddings, rows: Rows, top_k: int) -> tuple[Embeddings, Rows]:
        """The nearest of the given corpus rows to one query: scores and rows, of shape (top_k,)."""
        scores = self.scores(query[None], rows[None])[0]
        order = self._order(scores, rows)[:top_k]
        return scores[order], rows[order]

    def scores(self, queries: Embeddings, rows: Rows) -> Embeddings:
        """Similarity of each query to corpus rows of its own, both of shape (queries, rows)."""
        scores = np.empty(rows.shape, dtype=np.float32)
        at_once = max(1, SCORED_AT_ONCE // max(1, rows.shape[1]))
        for start in range(0, len(queries), at_once):
            part = slice(start, start + at_once)
            passages = self._vectors[rows[part]].astype(np.float64)
            # Pair by pair: a product of matrices would sum in an order that depends on its shape.
            scores[part] = np.vecdot(passages, queries[part, None].astype(np.float64))
        return scores

    def _order(self, scores: Embeddings, rows: Rows) -> Rows:
        return np.lexsort((self.tie_order[rows], -scores))

    def _search(self, queries: Embeddings, neighbours: int) -> Rows:
        """Rows of the nearest passages in single precision, shape (queries, neighbours)."""
        import faiss

        if gpus() == 0 or neighbours > GPU_LIMIT:
            vectors = self._vectors[: self._length]
            _, rows = faiss.knn(queries, vectors, neighbours, metric=faiss.METRIC_INNER_PRODUCT)
        else:
            if self._on_gpus is None:
                self._on_gpus = self._copied_to_gpus()
            _, rows = self._on_gpus.search(queries, neighbours)
        return rows

    def _copied_to_gpus(self) -> Any:
        """An index whose passages are shared by all GPUs."""
        import faiss

        options = faiss.GpuMultipleClonerOptions()
        options.shard = True
        flat = faiss.IndexFlatIP(self._vectors.shape[1])
        flat.add(self._vectors[: self._length])
        return faiss.index_cpu_to_all_gpus(flat, co=options)
