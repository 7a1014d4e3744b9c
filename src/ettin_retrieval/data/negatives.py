"""TODO: data.negatives."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ettin_retrieval.data.dataset import table

SCHEMA = pa.schema(
    [
        ("query_id", pa.string()),
        ("positive_id", pa.string()),
        ("negative_ids", pa.list_(pa.string())),
    ]
)

Pair = tuple[str, str, list[str]]
"""query id, positive id, negative ids"""


def write_negatives(pairs: list[Pair], directory: Path) -> None:
    """Write `negatives.parquet`."""
    pq.write_table(table(pairs, SCHEMA), directory / "negatives.parquet")


def read_negatives(directory: Path) -> list[Pair]:
    """Read what `write_negatives` wrote."""
    rows = pq.read_table(directory / "negatives.parquet", schema=SCHEMA).to_pylist()
    return [(r["query_id"], r["positive_id"], r["negative_ids"]) for r in rows]
