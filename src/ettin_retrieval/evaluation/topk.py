"""The best passages of each query over the shards of a corpus, with a fixed order of ties."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch

from ettin_retrieval.encoders.embedding_cache import Embeddings
from ettin_retrieval.evaluation.corpus import Rows

QUERIES_AT_ONCE = 512
"""Queries per matrix product: caps the scores in memory at this many times a shard."""


class TopK:
    """The k highest scores of each query over all shards so far, with their corpus rows.

    Scores are kept in descending order, equal ones by ascending row, however the corpus is cut.
    """

    def __init__(self, queries: int, k: int, device: torch.device | str = "cpu") -> None:
        self.k = k
        self._scores = torch.empty((queries, 0), device=device)
        self._rows = torch.empty((queries, 0), dtype=torch.int64, device=device)

    def add(self, queries: Embeddings, passages: Embeddings, rows: Rows) -> None:
        """Merge one shard: embeddings of shape (queries, d) and (passages, d).

        Parameters
        ----------
        rows
            Corpus rows of the passages, ascending, and all above those of earlier shards.
        """
        device = self._scores.device
        shard = torch.from_numpy(passages).to(device).T
        shard_rows = torch.from_numpy(rows).to(device)
        parts = -(-len(queries) // QUERIES_AT_ONCE)
        merged = []
        for start, stop in pairwise(np.linspace(0, len(queries), parts + 1).astype(int).tolist()):
            kept, kept_rows = self._scores[start:stop], self._rows[start:stop]
            scores = torch.from_numpy(queries[start:stop]).to(device) @ shard
            lowest = kept[:, -1:] if kept.shape[1] == self.k else _lowest_of_best(scores, self.k)
            found, found_rows = at_least(lowest, scores, shard_rows)
            # Stable, so that equal scores stay in order of row.
            ranked, order = torch.cat([kept, found], dim=1).sort(
                dim=1, stable=True, descending=True
            )
            ranked_rows = torch.cat([kept_rows, found_rows], dim=1).gather(1, order[:, : self.k])
            merged.append((ranked[:, : self.k], ranked_rows))
        self._scores, self._rows = (torch.cat(tensors) for tensors in zip(*merged, strict=True))

    def ranked(self) -> tuple[Embeddings, Rows]:
        """Scores and rows in order of rank, of shape (queries, k), or narrower for few passages."""
        return self._scores.cpu().numpy(), self._rows.cpu().numpy()


def _lowest_of_best(scores: torch.Tensor, k: int) -> torch.Tensor:
    """Each query's k-th highest score, of shape (queries, 1)."""
    best = scores.topk(min(k, scores.shape[1]), dim=1, sorted=False).values
    return best.amin(dim=1, keepdim=True)


def at_least(
    lowest: torch.Tensor, scores: torch.Tensor, rows: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores of at least each query's bound and their corpus rows, packed to the left.

    Once the first shards have set the bounds, few scores are left to sort.

    Parameters
    ----------
    lowest, scores, rows
        Shapes (queries, 1), (queries, passages) and (passages,).

    Examples
    --------
    >>> scores = torch.tensor([[1.0, 3.0, 2.0, 0.0], [0.0, 0.0, 5.0, 0.0]])
    >>> packed = at_least(torch.tensor([[2.0], [4.0]]), scores, torch.tensor([6, 7, 8, 9]))
    >>> [part.tolist() for part in packed]
    [[[3.0, 2.0], [5.0, -inf]], [[7, 8], [8, -1]]]
    """
    query, passage = (scores >= lowest).nonzero().unbind(dim=1)
    counts = query.bincount(minlength=len(scores))
    place = torch.arange(len(query), device=scores.device) - (counts.cumsum(0) - counts)[query]
    packed = scores.new_full((len(scores), int(counts.max())), -torch.inf)
    packed_rows = torch.full_like(packed, -1, dtype=torch.int64)
    packed[query, place] = scores[query, passage]
    packed_rows[query, place] = rows[passage]
    return packed, packed_rows


def merged(parts: list[tuple[Embeddings, Rows]], k: int) -> tuple[Embeddings, Rows]:
    """The k best of several searches over different shards, as `TopK.ranked` returns them."""
    scores, rows = (np.concatenate(arrays, axis=1) for arrays in zip(*parts, strict=True))
    order = np.lexsort((rows, -scores), axis=1)[:, :k]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)
