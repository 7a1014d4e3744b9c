"""The ledger on disk: small files in git, one directory per model.

    results/MODEL/ARM-seedSEED.json              scores and tasks of one checkpoint
    results/MODEL/ARM-seedSEED.queries.parquet   task, query_id, ndcg_at_10, mrr_at_10
    results/MODEL/run-NAME-seedSEED.json         what made them: a record per run, by its id
    results/ledger.json                          sha256 of each of these files

An arm is a checkpoint and the recipe that trained it: `base`, `finetuned-guide`. Tables, plots and
verdicts are made from the ledger alone.
"""

from __future__ import annotations

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

QUERY_METRICS = ("ndcg_at_10", "mrr_at_10")
"""The metrics that the ledger has per query."""

QUERIES = pa.schema(
    [("task", pa.string()), ("query_id", pa.string())]
    + [(metric, pa.float64()) for metric in QUERY_METRICS]
)


def entry_files(directory: Path, model: str = "*") -> list[Path]:
    """Files of the entries, without those of runs, in order of name."""
    paths = sorted(directory.glob(f"{model}/*.json"))
    return [path for path in paths if not path.name.startswith("run-")]


def read_mapping(path: Path) -> dict[str, Any]:
    """A JSON mapping of the ledger, of any schema; an `InputError` for any other content."""
    try:
        content = read_json(path)
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON ({error}); restore it with git") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: not a file of the ledger; restore it with git")
    return content


def _read_current(path: Path) -> dict[str, Any]:
    content = read_mapping(path)
    schema = content.get("schema", 1)
    if schema == 1:
        command = f"ettin-retrieval migrate --results {path.parents[1]}"
        raise InputError(f"{path}: schema 1 of the ledger; run `{command}`")
    if schema != SCHEMA:
        raise InputError(f"{path}: schema {schema} of the ledger; this version reads {SCHEMA}")
    return content


def read_entry(path: Path) -> Entry:
    """Read one entry; an `InputError` if it is malformed or named after another key."""
    entry = Entry.of(_read_current(path), str(path))
    if f"{path.parent.name}/{path.stem}" != entry.name:
        raise InputError(f"{path}: holds {entry.name}; a file is named after its key")
    return entry


def read_ledger(directory: Path) -> list[Entry]:
    """All entries, in order of model, arm and seed."""
    entries = map(read_entry, entry_files(directory))
    return sorted(entries, key=lambda entry: (entry.model, entry.arm, entry.seed))


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
    records = read_records(directory, entry)
    for run in entry.runs:
        if run["run"] not in records:
            path, run_id = _place(directory, entry.model, run["run"])
            raise InputError(
                f"{path}: no record of run {run_id}, which {entry.name} refers to; restore it with "
                "git"
            )
    return Measurement(entry, read_queries(directory, entry), records)


def read_records(directory: Path, entry: Entry) -> dict[str, dict[str, Any]]:
    """The records of an entry's runs that are there, by their references."""
    records = {}
    for run in entry.runs:
        path, run_id = _place(directory, entry.model, run["run"])
        found = _read_runs(path).get(run_id)
        if found is not None:
            records[run["run"]] = found
    return records


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
        if differing := merging.differences(old, new):
            done, where = "replaced", "the earlier one was not committed and is gone"
            if is_committed(path):
                where = f"`git show HEAD:{path}` has the earlier one"
            logger.warning("%s replaced: %s; %s", path, merging.summary(differing[0]), where)
        else:
            new = merging.united(old, new)
            if new is old:
                return "unchanged"
            added = len(new.entry.tasks) - len(old.entry.tasks)
            done = f"{added} tasks added" if added else "provenance renewed"
    write_files(directory, new)
    drop_unused_records(directory, new.entry.model)
    return done


def write_files(directory: Path, new: Measurement) -> None:
    """Write the files of a measurement, whatever they hold now."""
    # Records first: even if the process is killed, an entry refers to no missing record.
    for reference, record in new.records.items():
        path, run_id = _place(directory, new.entry.model, reference)
        _write_runs(path, _read_runs(path) | {run_id: record})
    path = directory / f"{new.entry.name}.json"
    rows = pa.Table.from_pandas(new.queries[QUERIES.names], schema=QUERIES, preserve_index=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows.replace_schema_metadata(None), path.with_suffix(".queries.parquet"))
    write_json(path, new.entry.content())


def _place(directory: Path, model: str, reference: str) -> tuple[Path, str]:
    """The file that holds the record of a run, and its id in it."""
    file, _, run_id = reference.partition("#")
    return directory / model / f"{file}.json", run_id


def _read_runs(path: Path) -> dict[str, Any]:
    return _read_current(path).get("runs", {}) if path.is_file() else {}


def _write_runs(path: Path, runs: dict[str, Any]) -> None:
    write_json(path, {"schema": SCHEMA, "runs": dict(sorted(runs.items()))})


def drop_unused_records(directory: Path, model: str) -> None:
    """Remove the records of runs that no entry of the model refers to."""
    entries = map(read_entry, entry_files(directory, model))
    used = {run["run"] for entry in entries for run in entry.runs}
    for path in sorted(directory.glob(f"{model}/run-*.json")):
        runs = _read_runs(path)
        kept = {run: record for run, record in runs.items() if f"{path.stem}#{run}" in used}
        if not kept:
            path.unlink()
        elif len(kept) < len(runs):
            _write_runs(path, kept)


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
    """The first file that differs from the index, and what to do; None if all are the same.

    Entries that came in by git or by copying are not in the index yet, and `dvc repro tables`
    looks at the index alone.
    """
    index = directory / INDEX
    try:
        written = read_mapping(index)["sha256"] if index.is_file() else {}
    except (InputError, KeyError):
        return f"{index}: not a ledger's index; run `ettin-retrieval index`"
    present = index_of(directory)
    for name in sorted(written.keys() | present.keys()):
        if written.get(name) != present.get(name):
            what = "changed since the index was written"
            if name not in written:
                what = "not in the index"
            elif name not in present:
                what = "in the index, but missing"
            return (
                f"{directory / name}: {what} ({index}); restore the file with git, or, if it "
                "belongs there, run `ettin-retrieval index` and `dvc repro tables`"
            )
    return None
