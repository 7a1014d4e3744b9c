"""Passages with the same text: found in one pass, encoded once, and put back into the results."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from xxhash import xxh3_64_intdigest

from ettin_retrieval.encoders.embedding_cache import Embeddings
from ettin_retrieval.evaluation.corpus import Rows


@dataclass(frozen=True)
class Duplicates:
    """The rows of a corpus whose text an earlier row has.

    Attributes
    ----------
    rows
        Rising.
    originals
        Of each of these the first row with its text.
    size
        Rows of the corpus.
    """

    rows: Rows
    originals: Rows
    size: int

    @classmethod
    def among(cls, shards: Iterable[list[str]]) -> Duplicates:
        """Of the texts of a corpus, which are kept as eight bytes each.

        Two different texts have the same eight bytes once in 500,000 corpora of the size of
        MS MARCO's (8.8 million passages).

        >>> found = Duplicates.among([["a", "b", "a"], ["c", "a", "b"]])
        >>> found.rows.tolist(), found.originals.tolist()
        ([2, 4, 5], [0, 0, 1])
        """
        digests = [_digests(texts) for texts in shards]
        digest = np.concatenate(digests) if digests else np.zeros(0, dtype=np.uint64)
        del digests
        order = digest.argsort(kind="stable")
        digest = digest[order]
        places = 1 + np.flatnonzero(digest[1:] == digest[:-1])
        # Of places one after the other, the first row of their text is before the first of them.
        begins = np.diff(places, prepend=-1) != 1
        before = np.maximum.accumulate(np.where(begins, places - 1, 0))
        originals = order[before]
        rows = order[places]
        rising = rows.argsort()
        return cls(rows[rising], originals[rising], len(order))

    def originals_in(self, start: int, stop: int) -> Rows:
        """The rows from `start` on, before `stop`, that are no copies."""
        rows = np.arange(start, min(stop, self.size))
        low, high = np.searchsorted(self.rows, [start, stop])
        return np.delete(rows, self.rows[low:high] - start)

    def put_back(self, scores: Embeddings, rows: Rows) -> tuple[Embeddings, Rows]:
        """Best passages with copies, from the best without: two arrays of shape (queries, k).

        A passage that is among the k best with copies has its original among the k best without:
        were k originals before its own, they would be before the passage too.

        Parameters
        ----------
        scores, rows
            As `TopK.ranked` gives them: scores fall, and rows rise where they are equal.
        """
        if not len(self.rows):
            return scores, rows
        scores, rows = scores.copy(), rows.copy()
        by_original = self.originals.argsort(kind="stable")
        copied, first, count = np.unique(
            self.originals[by_original], return_index=True, return_counts=True
        )
        for query in np.flatnonzero(np.isin(rows, copied).any(axis=1)):
            place = np.searchsorted(copied, rows[query]).clip(max=len(copied) - 1)
            times = np.where(copied[place] == rows[query], count[place], 0)
            hit = np.repeat(np.arange(len(times)), times)
            within = np.arange(len(hit)) - np.repeat(times.cumsum() - times, times)
            copies = self.rows[by_original[first[place[hit]] + within]]
            all_scores = np.concatenate([scores[query], scores[query, hit]])
            all_rows = np.concatenate([rows[query], copies])
            best = np.lexsort((all_rows, -all_scores))[: rows.shape[1]]
            scores[query], rows[query] = all_scores[best], all_rows[best]
        return scores, rows


def _digests(texts: list[str]) -> npt.NDArray[np.uint64]:
    """Eight bytes of each text, the same in every process."""
    return np.fromiter(map(xxh3_64_intdigest, map(str.encode, texts)), np.uint64, len(texts))
