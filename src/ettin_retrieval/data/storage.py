"""TODO: data.storage."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ettin_retrieval.data.dataset import (
    OPTIONAL,
    ROW_GROUP,
    SCHEMAS,
    Origin,
    RetrievalDataset,
    by_query,
)
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.runtime.files import sha256_file, write_json


def write_dataset(dataset: RetrievalDataset, directory: Path) -> None:
    """Write the files of a dataset; the same dataset gives the same bytes."""
    directory.mkdir(parents=True, exist_ok=True)
    hashes = {}
    for name, schema in SCHEMAS.items():
        frame: pd.DataFrame | None = getattr(dataset, name)
        if frame is None:
            continue
        written = pa.Table.from_pandas(frame, schema=schema, preserve_index=False)
        # Without the pandas metadata, which would tie the bytes to the version of pandas.
        plain = written.replace_schema_metadata(None)
        pq.write_table(plain, directory / f"{name}.parquet", row_group_size=ROW_GROUP)
        hashes[f"{name}.parquet"] = sha256_file(directory / f"{name}.parquet")
    write_json(directory / "manifest.json", {**dataset.manifest(), "sha256": hashes})


@dataclass(frozen=True)
class StoredDataset:
    """A dataset whose corpus stays on disk: memory holds queries and judgments alone.

    Attributes
    ----------
    corpus
        The Parquet file of the corpus.
    queries, qrels, origin
        As in `RetrievalDataset`.
    """

    corpus: Path
    queries: pd.DataFrame
    qrels: pd.DataFrame
    origin: Origin

    def judgments(self) -> dict[str, dict[str, int]]:
        """All judgments: query id to {passage id: score}."""
        return by_query(self.qrels)


def read_dataset(directory: Path) -> RetrievalDataset:
    """Read what `write_dataset` wrote.

    Raises
    ------
    InputError
        A file is missing, or is not the one that the manifest describes.
    """
    origin, files = _checked(directory)
    return RetrievalDataset(**{name: _frame_of(directory, name) for name in files}, origin=origin)


def open_dataset(directory: Path) -> StoredDataset:
    """Read what `write_dataset` wrote, all but the corpus.

    Raises
    ------
    InputError
        A file is missing, or is not the one that the manifest describes.
    """
    origin, _ = _checked(directory)
    queries, qrels = (_frame_of(directory, name) for name in ("queries", "qrels"))
    return StoredDataset(directory / "corpus.parquet", queries, qrels, origin)


def _checked(directory: Path) -> tuple[Origin, list[str]]:
    """Where a dataset comes from and what it has, once its files are those of its manifest."""
    manifest_path = directory / "manifest.json"
    if not manifest_path.is_file():
        raise InputError(f"{manifest_path}: no such file; run `dvc repro` to make {directory}")
    manifest = json.loads(manifest_path.read_text(encoding="utf-8"))
    files = [n for n in SCHEMAS if n not in OPTIONAL or f"{n}.parquet" in manifest["sha256"]]
    for name in files:
        path = directory / f"{name}.parquet"
        if not path.is_file() or sha256_file(path) != manifest["sha256"][path.name]:
            raise InputError(
                f"{path}: missing or not the file that manifest.json describes; "
                "run `dvc checkout`, or `dvc repro` to make it again"
            )
    origin = Origin(
        source=manifest["source"],
        revision=manifest["revision"],
        licence=manifest["licence"],
        split=manifest["split"],
        notes=manifest["notes"],
    )
    return origin, files


def _frame_of(directory: Path, name: str) -> pd.DataFrame:
    return pq.read_table(directory / f"{name}.parquet", schema=SCHEMAS[name]).to_pandas()
