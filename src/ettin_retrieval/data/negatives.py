"""Training pairs with their negatives, as mining writes and training reads them.

The directory also holds the development set, whose passages the same encoder has found.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ettin_retrieval.data.dataset import table

IDS = pa.list_(pa.string())
SCHEMA = pa.schema([("query_id", pa.string()), ("positive_id", pa.string()), ("negative_ids", IDS)])

FILE = "negatives.parquet"

DEVELOPMENT = "dev"
"""The directory of the development set in that of the negatives."""

Pair = tuple[str, str, list[str]]
"""Query id, positive id, negative ids."""


def write_negatives(pairs: list[Pair], directory: Path) -> None:
    """Write `negatives.parquet`."""
    pq.write_table(table(pairs, SCHEMA), directory / FILE)


def read_negatives(directory: Path) -> list[Pair]:
    """Read what `write_negatives` wrote."""
    columns = pq.read_table(directory / FILE, schema=SCHEMA).columns
    return list(zip(*(column.to_pylist() for column in columns), strict=True))
