"""Datasets on disk, checked against the digests in their manifest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ettin_retrieval.data.dataset import ROW_GROUP, SCHEMAS, Origin, RetrievalDataset, by_query
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.runtime.files import read_json, sha256_file, write_json


def write_dataset(dataset: RetrievalDataset, directory: Path) -> None:
    """Write the files of a dataset; the same dataset gives the same bytes."""
    directory.mkdir(parents=True, exist_ok=True)
    digests = {}
    for name, schema in SCHEMAS.items():
        frame: pd.DataFrame | None = getattr(dataset, name)
        if frame is None:
            continue
        path = directory / f"{name}.parquet"
        written = pa.Table.from_pandas(frame, schema=schema, preserve_index=False)
        # Metadata from pandas would tie the bytes to its version.
        pq.write_table(written.replace_schema_metadata(None), path, row_group_size=ROW_GROUP)
        digests[path.name] = sha256_file(path)
    write_json(directory / "manifest.json", {**dataset.manifest(), "sha256": digests})


@dataclass(frozen=True)
class StoredDataset:
    """A dataset whose corpus stays on disk: `corpus` is the path of corpus.parquet."""

    corpus: Path
    queries: pd.DataFrame
    qrels: pd.DataFrame
    origin: Origin

    def judgments(self) -> dict[str, dict[str, int]]:
        """All judgments: query id to {passage id: score}."""
        return by_query(self.qrels)


def read_dataset(directory: Path) -> RetrievalDataset:
    """Read what `write_dataset` wrote.

    Raises InputError if a file is missing or is not the one that the manifest describes.
    """
    origin, names = _checked(directory)
    return RetrievalDataset(**{name: _read(directory, name) for name in names}, origin=origin)


def open_dataset(directory: Path) -> StoredDataset:
    """Read what `write_dataset` wrote, except for the corpus; raises as `read_dataset` does."""
    origin, _ = _checked(directory)
    queries, qrels = _read(directory, "queries"), _read(directory, "qrels")
    return StoredDataset(directory / "corpus.parquet", queries, qrels, origin)


def _checked(directory: Path) -> tuple[Origin, list[str]]:
    """Origin and names of the tables of a dataset whose files match the manifest."""
    path = directory / "manifest.json"
    if not path.is_file():
        raise InputError(f"{path}: no such file; run `dvc repro` to make {directory}")
    manifest = read_json(path)
    for name, digest in manifest["sha256"].items():
        path = directory / name
        if not path.is_file() or sha256_file(path) != digest:
            raise InputError(
                f"{path}: missing or not the file that manifest.json describes; "
                "run `dvc checkout`, or `dvc repro` to make it again"
            )
    facts = ("source", "revision", "licence", "split", "notes")
    origin = Origin(**{fact: manifest[fact] for fact in facts})
    return origin, [name.removesuffix(".parquet") for name in manifest["sha256"]]


def _read(directory: Path, name: str) -> pd.DataFrame:
    return pq.read_table(directory / f"{name}.parquet", schema=SCHEMAS[name]).to_pandas()
