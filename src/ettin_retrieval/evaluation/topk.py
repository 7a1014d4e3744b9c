"""TODO: evaluation.topk."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch

from ettin_retrieval.encoders.embedding_cache import Embeddings
from ettin_retrieval.evaluation.corpus import Rows

QUERIES_AT_ONCE = 512
"""Queries per matrix product: bounds the scores in memory to this many times a shard."""


class TopK:
    """The k highest scores of each query over all shards seen so far, and their corpus rows.

    Of equal scores the lower rows are kept, whatever the shards.
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
            Of the passages, rising, and all beyond those of shards that were added before.
        """
        device = self._scores.device
        shard = torch.from_numpy(passages).to(device).T
        shard_rows = torch.from_numpy(rows).to(device)
        parts = -(-len(queries) // QUERIES_AT_ONCE)
        added = []
        for start, stop in pairwise(np.linspace(0, len(queries), parts + 1).astype(int).tolist()):
            part = slice(start, stop)
            found = torch.from_numpy(queries[part]).to(device) @ shard
            added.append(self._with(self._scores[part], self._rows[part], found, shard_rows))
        self._scores, self._rows = (
            torch.cat(of) if parts > 1 else of[0] for of in zip(*added, strict=True)
        )

    def _with(
        self,
        scores: torch.Tensor,
        rows: torch.Tensor,
        found: torch.Tensor,
        found_rows: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The best of what is kept, of shape (queries, kept), and of what was found."""
        columns = torch.arange(found.shape[1], device=found.device).expand_as(found)
        if scores.shape[1] == self.k:
            found, columns = above(found, scores.amin(dim=1, keepdim=True))
        if not scores.shape[1] and found.shape[1] > self.k:
            # The first shard: nothing to merge with.
            best = best_columns(found, columns, self.k)
            return found.gather(1, best), found_rows[best]
        scores = torch.cat([scores, found], dim=1)
        rows = torch.cat([rows, found_rows[columns]], dim=1)
        if scores.shape[1] <= self.k:
            return scores, rows
        best = best_columns(scores, rows, self.k)
        return scores.gather(1, best), rows.gather(1, best)

    def ranked(self) -> tuple[Embeddings, Rows]:
        """Scores, falling, and rows, rising where scores are equal, each of shape (queries, k).

        Where there are fewer than k passages, the scores end with -inf and the rows with -1.
        """
        rows, by_row = self._rows.sort(dim=1)
        scores, order = self._scores.gather(1, by_row).sort(dim=1, stable=True, descending=True)
        missing = (0, self.k - scores.shape[1])
        scores = torch.nn.functional.pad(scores, missing, value=-torch.inf)
        rows = torch.nn.functional.pad(rows.gather(1, order), missing, value=-1)
        return scores.cpu().numpy(), rows.cpu().numpy()


def above(scores: torch.Tensor, lowest: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores above a bound of their row, of shape (rows, 1), and their columns, moved together.

    Once the first shards have set the bounds few scores are above them, and what is left costs
    next to nothing to merge. Rows with fewer than others end with -inf.

    >>> scores = torch.tensor([[1.0, 3.0, 2.0, 0.0, 0.0], [0.0, 0.0, 5.0, 0.0, 0.0]])
    >>> [part.tolist() for part in above(scores, torch.tensor([[1.5], [4.0]]))]
    [[[3.0, 2.0], [5.0, -inf]], [[1, 2], [2, 0]]]
    """
    row, column = (scores > lowest).nonzero().unbind(dim=1)
    counts = row.bincount(minlength=len(scores))
    place = torch.arange(len(row), device=scores.device) - (counts.cumsum(0) - counts)[row]
    width = int(counts.max())
    kept = scores.new_full((len(scores), width), -torch.inf)
    columns = torch.zeros_like(kept, dtype=torch.int64)
    kept[row, place] = scores[row, column]
    columns[row, place] = column
    return kept, columns


def best_columns(scores: torch.Tensor, rows: torch.Tensor, k: int) -> torch.Tensor:
    """The columns of each query's k highest scores, in any order; of equal ones the lower rows.

    There are more than k columns; `rows` says which passage a score is of.

    >>> best = best_columns(torch.tensor([[2.0, 1.0, 2.0, 3.0]]), torch.tensor([[7, 8, 5, 6]]), 2)
    >>> sorted(best[0].tolist())
    [2, 3]
    """
    values, columns = torch.topk(scores, k + 1, dim=1, sorted=False)
    # One too many, to see whether it equals the last: the lowest goes, the last takes its place.
    lowest = values.argmin(dim=1, keepdim=True)
    left_out = values.gather(1, lowest)
    values = values.scatter(1, lowest, values[:, k:])[:, :k]
    columns = columns.scatter(1, lowest, columns[:, k:])[:, :k]
    least = values.amin(dim=1, keepdim=True)
    # topk takes any of the scores that equal the lowest one: where one is left, take the first.
    for query in ((least == left_out) & (least > -torch.inf)).nonzero()[:, 0].tolist():
        higher = columns[query][values[query] > least[query]]
        equal = (scores[query] == least[query]).nonzero()[:, 0]
        first = equal[rows[query][equal].argsort()[: k - len(higher)]]
        columns[query] = torch.cat([higher, first])
    return columns


def merged(parts: list[tuple[Embeddings, Rows]], k: int) -> tuple[Embeddings, Rows]:
    """The k best of several searches over different shards, as `TopK.ranked` gives them."""
    scores, rows = (np.concatenate(arrays, axis=1) for arrays in zip(*parts, strict=True))
    order = np.lexsort((rows, -scores), axis=1)[:, :k]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)
