"""Reads a corpus one shard at a time, so that memory does not grow with it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from ettin_retrieval.data.dataset import ROW_GROUP, passage_text

if TYPE_CHECKING:
    from datasets import Dataset

Rows = npt.NDArray[np.int64]
"""Positions of passages in a corpus."""


class Corpus(ABC):
    """A corpus as a search needs it."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of passages."""

    @abstractmethod
    def batches(self, columns: list[str], size: int) -> Iterator[pa.RecordBatch]:
        """All rows in order, `size` at a time; columns that the corpus lacks are left out."""

    def shards(self, size: int, numbers: Container[int]) -> Iterator[list[str]]:
        """Passages as the encoder reads them, shard by shard.

        Parameters
        ----------
        size
            Passages per shard.
        numbers
            Which shards to yield, counted from 0.
        """
        for number, batch in enumerate(self.batches(["title", "text"], size)):
            if number in numbers:
                yield _passage_texts(batch)

    def ids(self, rows: Rows) -> list[str]:
        """Passage ids of strictly ascending rows, from one pass over the column."""
        found: list[str] = []
        start = 0
        for batch in self.batches(["id"], ROW_GROUP):
            low, high = np.searchsorted(rows, [start, start + len(batch)])
            found += batch.column(0).take(pa.array(rows[low:high] - start)).to_pylist()
            start += len(batch)
        return found


@dataclass(frozen=True)
class StoredCorpus(Corpus):
    """The corpus.parquet of a dataset, which stays on disk."""

    path: Path

    def __len__(self) -> int:
        return int(pq.read_metadata(self.path).num_rows)

    def batches(self, columns: list[str], size: int) -> Iterator[pa.RecordBatch]:
        # A small buffer, because whole column chunks would be read at once otherwise.
        with pq.ParquetFile(self.path, buffer_size=1 << 20, pre_buffer=False) as file:
            yield from file.iter_batches(size, columns=columns, use_threads=False)


@dataclass(frozen=True)
class LoadedCorpus(Corpus):
    """A corpus that the datasets library holds in memory or maps into it."""

    dataset: Dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def batches(self, columns: list[str], size: int) -> Iterator[pa.RecordBatch]:
        present = [name for name in columns if name in self.dataset.column_names]
        arrow = self.dataset.select_columns(present).with_format("arrow")
        for start in range(0, len(arrow), size):
            yield arrow[start : start + size].combine_chunks().to_batches()[0]


def _passage_texts(batch: pa.RecordBatch) -> list[str]:
    texts = batch.column("text").to_pylist()
    titles = batch.column("title").to_pylist() if "title" in batch.schema.names else []
    if any(titles):
        return list(map(passage_text, titles, texts))
    return list(map(str.strip, texts))
