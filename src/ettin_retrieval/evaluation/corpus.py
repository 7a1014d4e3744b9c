"""Reads a corpus one shard at a time, so that memory does not grow with it."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from xxhash import xxh3_64_intdigest

from ettin_retrieval.data.dataset import ROW_GROUP, passage_text
from ettin_retrieval.encoders.encode import Embeddings

if TYPE_CHECKING:
    from datasets import Dataset

Rows = npt.NDArray[np.int64]
"""Positions of passages in a corpus."""


@dataclass(frozen=True)
class Corpus:
    """A corpus as a search needs it: the file corpus.parquet, which stays on disk, or a Dataset."""

    source: Path | Dataset

    def __len__(self) -> int:
        if isinstance(self.source, Path):
            return int(pq.read_metadata(self.source).num_rows)
        return len(self.source)

    def shards(self, size: int, numbers: Container[int]) -> Iterator[list[str]]:
        """Passages as the encoder reads them: the shards of `size` passages with these numbers."""
        for number, batch in enumerate(self._batches(["title", "text"], size)):
            if number in numbers:
                texts = batch.column("text").to_pylist()
                titles = batch.column("title").to_pylist() if "title" in batch.schema.names else []
                if any(titles):
                    yield list(map(passage_text, titles, texts))
                else:
                    yield list(map(str.strip, texts))

    def ids(self, rows: Rows) -> list[str]:
        """Passage ids of strictly ascending rows, from one pass over the column."""
        found: list[str] = []
        start = 0
        for batch in self._batches(["id"], ROW_GROUP):
            low, high = np.searchsorted(rows, [start, start + len(batch)])
            found += batch.column("id").take(pa.array(rows[low:high] - start)).to_pylist()
            start += len(batch)
        return found

    def _batches(self, columns: list[str], size: int) -> Iterator[pa.RecordBatch | pa.Table]:
        """All rows in order, `size` at a time; columns that the corpus lacks are left out."""
        if isinstance(self.source, Path):
            # A small buffer, because whole column chunks would be read at once otherwise.
            with pq.ParquetFile(self.source, buffer_size=1 << 20, pre_buffer=False) as file:
                yield from file.iter_batches(size, columns=columns, use_threads=False)
        else:
            present = [name for name in columns if name in self.source.column_names]
            yield from self.source.select_columns(present).with_format("arrow").iter(size)


class DistinctTexts:
    """Passages with equal texts: encoded once, and restored in the results.

    Texts are compared by eight bytes, which two different ones share once in 500,000 corpora of the
    size of MS MARCO's (8.8 million passages).

    >>> DistinctTexts([["a", "b", "a"], ["c", "a", "b"]]).first.tolist()
    [0, 1, 0, 3, 0, 1]
    """

    def __init__(self, shards: Iterable[list[str]]) -> None:
        digests = (xxh3_64_intdigest(text.encode()) for texts in shards for text in texts)
        _, first, text = np.unique(
            np.fromiter(digests, np.uint64), return_index=True, return_inverse=True
        )
        # For each row, the first one with the same text.
        self.first: Rows = first[text]

    def shard(self, number: int, size: int) -> Rows:
        """Rows of a shard of `size` passages whose text no earlier row has."""
        rows = np.arange(number * size, min((number + 1) * size, len(self.first)))
        return rows[self.first[rows] == rows]

    def restore(self, scores: Embeddings, rows: Rows, k: int) -> tuple[Embeddings, Rows]:
        """The k best passages with duplicates, from the k best without.

        Scores and rows are in order of rank and of shape (queries, k), or narrower for few
        passages. A duplicate among the k best has its original among the k best without duplicates:
        k originals that precede its own would precede the duplicate too.
        """
        duplicates: dict[int, list[int]] = {}
        for row in np.flatnonzero(self.first != np.arange(len(self.first))).tolist():
            duplicates.setdefault(int(self.first[row]), []).append(row)
        k = min(k, len(self.first))
        missing = ((0, 0), (0, k - scores.shape[1]))
        best_scores, best_rows = np.pad(scores, missing), np.pad(rows, missing)
        for query, hits in enumerate(rows.tolist()):
            places = [place for place, row in enumerate(hits) if row in duplicates]
            # Fewer than k hits are all originals, so one of them has duplicates.
            if places:
                more = [duplicates[hits[place]] for place in places]
                all_rows = np.concatenate([rows[query], *more])
                repeated = scores[query, places].repeat([len(of_hit) for of_hit in more])
                all_scores = np.concatenate([scores[query], repeated])
                best = np.lexsort((all_rows, -all_scores))[:k]
                best_scores[query], best_rows[query] = all_scores[best], all_rows[best]
        return best_scores, best_rows
