"""The ledger on disk: small files in git, one directory per model.

    results/MODEL/ARM-seedSEED.json              scores and tasks of one checkpoint
    results/MODEL/ARM-seedSEED.queries.parquet   task, query_id, ndcg_at_10, mrr_at_10
    results/MODEL/run-NAME-seedSEED.json         what made them: a record per run, by its id
    results/ledger.json                          sha256 of each of these files

An arm is a checkpoint and the recipe that trained it: `base`, `finetuned-guide`. Tables, plots and
verdicts are made from the ledger alone.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ettin_retrieval.ledger import merging
from ettin_retrieval.ledger.entry import SCHEMA, Entry, Measurement
from ettin_retrieval.ledger.provenance import is_committed
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.runtime.files import read_json, sha256_file, write_json

logger = logging.getLogger("ettin_retrieval")

INDEX = "ledger.json"

QUERIES = pa.schema(
    [
        ("task", pa.string()),
        ("query_id", pa.string()),
        ("ndcg_at_10", pa.float64()),
        ("mrr_at_10", pa.float64()),
    ]
)


def read_entry(path: Path) -> Entry:
    """Read one entry.

    Raises
    ------
    InputError
        The file is malformed, of another schema, or named after another key.
    """
    try:
        content = read_json(path)
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON ({error}); restore it with git") from None
    entry = Entry.of(content, str(path))
    if f"{path.parent.name}/{path.stem}" != entry.name:
        raise InputError(f"{path}: holds {entry.name}; a file is named after its key")
    return entry


def read_ledger(directory: Path) -> list[Entry]:
    """All entries, in order of model, arm and seed."""
    paths = [path for path in directory.glob("*/*.json") if not path.name.startswith("run-")]
    return sorted(map(read_entry, paths), key=lambda entry: entry.key)


def read_queries(directory: Path, entry: Entry) -> pd.DataFrame:
    """Per-query scores of an entry: columns task, query_id, ndcg_at_10, mrr_at_10."""
    path = directory / f"{entry.name}.queries.parquet"
    if not path.is_file():
        raise InputError(f"{path}: no such file; it belongs to {entry.name}.json")
    return pq.read_table(path, schema=QUERIES).to_pandas()


def read_measurement(directory: Path, name: str) -> Measurement:
    """An entry by its name, with everything that belongs to it.

    Raises
    ------
    InputError
        A file is missing or malformed, or lacks the record of a run.
    """
    entry = read_entry(directory / f"{name}.json")
    records = {}
    for reference in (run["run"] for run in entry.runs):
        file, _, run_id = reference.partition("#")
        path = directory / entry.model / f"{file}.json"
        found = _read_runs(path).get(run_id)
        if found is None:
            raise InputError(f"{path}: no record of run {run_id}, which {entry.name} refers to")
        records[reference] = found
    return Measurement(entry, read_queries(directory, entry), records)


def write_measurement(directory: Path, new: Measurement) -> str:
    """Add a measurement to the ledger.

    A measurement of the same checkpoint that agrees on the tasks both scored is merged with the
    entry; one that says nothing new changes no byte. Any other replaces the entry, as outputs
    follow the parameters, and a warning says what differs and where the earlier one still is.

    Returns
    -------
    What was done, in a word or two.
    """
    path = directory / f"{new.entry.name}.json"
    done = "written"
    if path.is_file() and path.with_suffix(".queries.parquet").is_file():
        old = read_measurement(directory, new.entry.name)
        differences = merging.differences(old, new)
        if differences:
            done = "replaced"
            _warn_of_replacement(path, merging.summary(differences[0]))
        else:
            new = merging.united(old, new)
            if new is old:
                return "unchanged"
            added = len(new.entry.tasks) - len(old.entry.tasks)
            done = f"{added} tasks added" if added else "provenance renewed"
    write_json(path, new.entry.content())
    rows = pa.Table.from_pandas(new.queries[QUERIES.names], schema=QUERIES, preserve_index=False)
    pq.write_table(rows.replace_schema_metadata(None), path.with_suffix(".queries.parquet"))
    _write_records(path.parent, new.records)
    return done


def _warn_of_replacement(path: Path, difference: str) -> None:
    where = f"`git show HEAD:{path}` has the earlier one"
    if not is_committed(path):
        where = "the earlier one was not committed and is gone"
    logger.warning("%s replaced: %s; %s", path, difference, where)


def _read_runs(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    content = read_json(path)
    runs: dict[str, Any] = content["runs"]
    return runs


def _write_records(directory: Path, records: dict[str, dict[str, Any]]) -> None:
    """Add records of runs to their files, which keep those that entries refer to."""
    entries = [read_entry(p) for p in directory.glob("*.json") if not p.name.startswith("run-")]
    used = {run["run"] for entry in entries for run in entry.runs}
    for file in {reference.partition("#")[0] for reference in records}:
        path = directory / f"{file}.json"
        runs = {f"{file}#{run_id}": record for run_id, record in _read_runs(path).items()}
        kept = {
            reference.partition("#")[2]: record
            for reference, record in sorted((runs | records).items())
            if reference in used and reference.startswith(f"{file}#")
        }
        write_json(path, {"schema": SCHEMA, "runs": kept})


def index_of(directory: Path) -> dict[str, str]:
    """sha256 of each file of the ledger, by its path below the directory."""
    files = sorted([*directory.glob("*/*.json"), *directory.glob("*/*.queries.parquet")])
    return {path.relative_to(directory).as_posix(): sha256_file(path) for path in files}


def write_index(directory: Path) -> Path:
    """Write `ledger.json`: the hash of each file of the ledger.

    The stage `tables` depends on this file alone. If it depended on the stage that writes the
    entries, `dvc repro tables` would train and evaluate in a fresh clone.
    """
    index = directory / INDEX
    write_json(index, {"schema": SCHEMA, "sha256": index_of(directory)})
    return index


def index_problem(directory: Path) -> str | None:
    """The first file that differs from the index, and what to do; None if there is none.

    Entries that came in by git or by copying are not in the index yet, and `dvc repro tables`
    looks at the index alone.
    """
    index = directory / INDEX
    written: dict[str, str] = {}
    if index.is_file():
        try:
            written = read_json(index)["sha256"]
        except (json.JSONDecodeError, KeyError, TypeError):
            return f"{index}: not a ledger's index; run `ettin-retrieval index`"
    present = index_of(directory)
    for name in sorted(written.keys() | present.keys()):
        if written.get(name) == present.get(name):
            continue
        what = "changed since the index was written"
        if name not in written:
            what = "not in the index"
        elif name not in present:
            what = "in the index, but missing"
        return (
            f"{directory / name}: {what} ({index}); restore the file with git, or, if it belongs "
            "there, run `ettin-retrieval index` and `dvc repro tables`"
        )
    return None
