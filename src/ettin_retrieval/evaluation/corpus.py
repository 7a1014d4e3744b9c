"""A corpus as a search reads it: shard by shard, so that memory does not grow with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from ettin_retrieval.data.dataset import ROW_GROUP, passage_text

if TYPE_CHECKING:
    from datasets import Dataset

Rows = npt.NDArray[np.int64]

CONTENT = ("title", "text")


class Corpus(Protocol):
    """What a search needs of a corpus."""

    def __len__(self) -> int:
        """Number of passages."""

    def shards(self, size: int, numbers: Sequence[int]) -> Iterator[pa.RecordBatch]:
        """The shards of these numbers, which rise, if the corpus is cut every `size` rows."""

    def ids(self, rows: Rows) -> list[str]:
        """Ids of rows, which are given in rising order without repeats."""


def corpus_of(corpus: Corpus | Dataset) -> Corpus:
    """What mteb hands to a search, as a `Corpus`."""
    from datasets import Dataset

    return LoadedCorpus(corpus) if isinstance(corpus, Dataset) else corpus


@dataclass(frozen=True)
class StoredCorpus:
    """The corpus.parquet of a dataset, of which only a shard at a time is in memory."""

    path: Path

    def __len__(self) -> int:
        """Number of passages."""
        return int(pq.read_metadata(self.path).num_rows)

    def shards(self, size: int, numbers: Sequence[int]) -> Iterator[pa.RecordBatch]:
        """See `Corpus`."""
        wanted = set(numbers)
        with _opened(self.path) as file:
            parts = file.iter_batches(size, columns=list(CONTENT), use_threads=False)
            for number, part in enumerate(parts):
                if number in wanted:
                    yield part

    def ids(self, rows: Rows) -> list[str]:
        """See `Corpus`. A pass over the column of ids, instead of a list of all of them."""
        with _opened(self.path) as file:
            parts = file.iter_batches(ROW_GROUP, columns=["id"], use_threads=False)
            return _taken((part.column(0) for part in parts), rows)


@dataclass(frozen=True)
class LoadedCorpus:
    """A corpus in memory, or mapped to it, by the library datasets."""

    dataset: Dataset

    def __len__(self) -> int:
        """Number of passages."""
        return len(self.dataset)

    def shards(self, size: int, numbers: Sequence[int]) -> Iterator[pa.RecordBatch]:
        """See `Corpus`."""
        columns = [name for name in CONTENT if name in self.dataset.column_names]
        arrow = self.dataset.select_columns(columns).with_format("arrow")
        for number in numbers:
            start = number * size
            yield arrow[start : start + size].combine_chunks().to_batches()[0]

    def ids(self, rows: Rows) -> list[str]:
        """See `Corpus`."""
        # Rows by number would each be looked for in the table's pieces, a millisecond for two.
        return _taken(self.dataset.with_format("arrow")["id"][:].chunks, rows)


def _taken(column: Iterable[pa.Array], rows: Rows) -> list[str]:
    """The values of rows, which rise, of a column in parts."""
    found: list[str] = []
    start = 0
    for part in column:
        low, high = np.searchsorted(rows, [start, start + len(part)])
        found += part.take(pa.array(rows[low:high] - start)).to_pylist()
        start += len(part)
    return found


def passage_texts(shard: pa.RecordBatch) -> list[str]:
    """What an encoder reads of each passage; some collections have no titles."""
    texts = shard.column("text").to_pylist()
    titles = shard.column("title").to_pylist() if "title" in shard.schema.names else []
    if any(titles):
        return list(map(passage_text, titles, texts))
    return list(map(str.strip, texts))


def _opened(path: Path) -> pq.ParquetFile:
    # A buffer instead of whole column chunks at once.
    return pq.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False)
