"""The held-out list: what no training query may ask or share, whichever tasks a run scores.

On disk it is a directory, which the stage `heldout` writes and every stage that makes training data
reads:

- `TASK/queries.parquet`: id and text of the queries that the task scores
- `TASK/relevant.parquet`: id and text of the passages that are relevant to them
- `TASK/sketch.npy`: digests of passages, which stand for the whole collection
- `manifest.json`: the setting, a digest of the list, and each task's origin, counts and digest
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ettin_retrieval.data.dataset import QUERIES, RetrievalDataset
from ettin_retrieval.data.normalisation import HASHED_AT_ONCE, Hashes, digest, short_digests
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.runtime.files import read_json, write_json

SKETCH = 100_000
"""Largest number of digests in a sketch. A share estimated from all of them has a standard error of
at most 0.16 points."""

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class HeldOutTask:
    """What the list has of one task."""

    queries: pd.DataFrame
    """id and text of the queries with a relevant passage."""
    relevant: pd.DataFrame
    """id and text (title and text joined) of the passages that are relevant to one of them."""
    sketch: Hashes
    """The smallest digests of the collection's normalised texts, ascending, at most `SKETCH`: a
    bottom-k sketch (Broder 1997; Bar-Yossef et al. 2002), a uniform sample of different texts."""
    passages: int
    """Number of different texts in the collection."""

    @property
    def is_whole(self) -> bool:
        """Whether the sketch has every text, so that shares are exact."""
        return len(self.sketch) == self.passages

    def digest(self) -> str:
        """sha256 over the content, whatever the order of rows and the version of a library."""
        whole = hashlib.sha256()
        for table in (self.queries, self.relevant):
            whole.update(b"".join(sorted(map(digest, table["text"]))) + b"\n")
        whole.update(self.sketch.astype("<u8").tobytes() + f"\n{self.passages}".encode())
        return whole.hexdigest()


def held_out(dataset: RetrievalDataset) -> HeldOutTask:
    """What the list keeps of a task."""
    relevant = dataset.qrels[dataset.qrels["score"] > 0]
    scored = dataset.queries["id"].isin(relevant["query_id"])
    answers = replace(dataset, corpus=dataset.corpus[dataset.relevant()])
    sketch, passages = sketch_of(dataset)
    return HeldOutTask(
        dataset.queries[scored].reset_index(drop=True),
        pd.DataFrame({"id": answers.corpus["id"].tolist(), "text": answers.passage_texts()}),
        sketch,
        passages,
    )


def sketch_of(dataset: RetrievalDataset, most: int = SKETCH) -> tuple[Hashes, int]:
    """The smallest digests of a collection's passages, at most `most`, and how many there are."""
    digests = np.empty(len(dataset.corpus), dtype=np.uint64)
    for start in range(0, len(digests), HASHED_AT_ONCE):  # titles and texts joined, part by part
        part = slice(start, start + HASHED_AT_ONCE)
        texts = replace(dataset, corpus=dataset.corpus.iloc[part]).passage_texts()
        digests[part] = short_digests(map(digest, texts), len(texts))
    different = np.unique(digests)
    return different[:most].copy(), len(different)


def write_heldout(
    tasks: Iterable[tuple[str, RetrievalDataset]], setting: list[str] | str, directory: Path
) -> dict[str, Any]:
    """Write the list, one task in memory at a time, and return its manifest.

    The same tasks give the same bytes. `setting` is that of `data.heldout`, for the record.
    """
    records = {}
    for name, dataset in tasks:
        task, origin = held_out(dataset), dataset.origin
        (directory / name).mkdir(parents=True)
        for part in ("queries", "relevant"):
            rows = pa.Table.from_pandas(getattr(task, part), schema=QUERIES, preserve_index=False)
            # Metadata from pandas would tie the bytes to its version.
            path = directory / name / f"{part}.parquet"
            pq.write_table(rows.replace_schema_metadata(None), path)
        np.save(directory / name / "sketch.npy", task.sketch)
        records[name] = {
            "source": origin.source, "revision": origin.revision, "split": origin.split,
            "queries": len(task.queries), "relevant": len(task.relevant),
            "passages": task.passages, "sketch": len(task.sketch), "sha256": task.digest(),
        }  # fmt: skip
    manifest = {"setting": setting, "sha256": digest_of(records), "tasks": records}
    write_json(directory / MANIFEST, manifest)
    return manifest


def digest_of(records: dict[str, dict[str, Any]]) -> str:
    """sha256 over names and digests of the tasks in a manifest, in any order."""
    parts = [f"{name} {record['sha256']}\n" for name, record in sorted(records.items())]
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def read_manifest(directory: Path) -> dict[str, Any]:
    """Read the manifest of a list, or raise InputError where it is missing."""
    path = directory / MANIFEST
    if not path.is_file():
        raise InputError(f"{path}: no such file; run `dvc repro heldout` to make {directory}")
    manifest: dict[str, Any] = read_json(path)
    return manifest


def read_heldout(directory: Path) -> Iterator[tuple[str, HeldOutTask]]:
    """Name and content of each task of a list, one at a time.

    Raises InputError if a file is missing or is not the one that the manifest describes.
    """
    for name, record in read_manifest(directory)["tasks"].items():
        place, task = directory / name, None
        # A file that is not there, cut short, or not of its kind.
        with suppress(OSError, ValueError, EOFError):
            task = HeldOutTask(
                pq.read_table(place / "queries.parquet", schema=QUERIES).to_pandas(),
                pq.read_table(place / "relevant.parquet", schema=QUERIES).to_pandas(),
                np.load(place / "sketch.npy"),
                record["passages"],
            )
        if task is None or task.digest() != record["sha256"]:
            raise InputError(
                f"{place}: missing or not what {MANIFEST} describes; run `dvc checkout`, or "
                "`dvc repro heldout` to make it again"
            )
        yield name, task
