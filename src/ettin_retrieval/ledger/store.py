"""TODO: ledger.store."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ettin_retrieval.ledger.entry import Entry
from ettin_retrieval.ledger.merging import (
    Difference,
    Measurement,
    numeric_differences,
    origin_differences,
    told,
    united,
)
from ettin_retrieval.ledger.provenance import is_committed
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.runtime.files import sha256_file, write_json

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
    """Read one JSON of the ledger.

    Raises
    ------
    InputError
        The file is not a ledger entry, a fine-tuned checkpoint's names no recipe, or its name is
        not that of its key.
    """
    try:
        entry = Entry(**json.loads(path.read_text(encoding="utf-8")))
    except (json.JSONDecodeError, TypeError) as error:
        raise InputError(f"{path}: not a ledger entry ({error}); restore it with git") from None
    if entry.checkpoint == "finetuned" and entry.recipe is None:
        raise InputError(
            f"{path}: names no recipe, as a fine-tuned checkpoint's entry must; run its experiment "
            "again"
        )
    if f"{path.parent.name}/{path.stem}" != entry.name:
        raise InputError(f"{path}: holds {entry.name}; a file is named after its key")
    return entry


def read_ledger(directory: Path) -> list[Entry]:
    """All entries, in order of model, arm and seed."""
    entries = [read_entry(path) for path in directory.glob("*/*.json")]
    return sorted(entries, key=lambda entry: entry.key)


def read_queries(directory: Path, entry: Entry) -> pd.DataFrame:
    """Per-query scores of an entry: columns task, query_id, ndcg_at_10, mrr_at_10."""
    path = directory / f"{entry.name}.queries.parquet"
    if not path.is_file():
        raise InputError(f"{path}: no such file; it belongs to {entry.name}.json")
    return pq.read_table(path, schema=QUERIES).to_pandas()


def index_of(directory: Path) -> dict[str, str]:
    """sha256 of each file of the ledger, by its path below the directory."""
    files = sorted([*directory.glob("*/*.json"), *directory.glob("*/*.queries.parquet")])
    return {path.relative_to(directory).as_posix(): sha256_file(path) for path in files}


def write_index(directory: Path) -> Path:
    """Write `ledger.json`: the hash of each file of the ledger.

    The stage `tables` depends on this one file instead of the directory. An edge from the stage
    that writes entries would make `dvc repro tables` train and evaluate in a fresh clone.
    """
    index = directory / INDEX
    write_json(index, index_of(directory))
    return index


def index_problem(directory: Path) -> str | None:
    """Say in which file the ledger is not what its index says, and what to do; None if in none.

    Rows that came in by git or by copying are not in it yet, and `dvc repro tables` looks at the
    index alone.
    """
    index = directory / INDEX
    written = json.loads(index.read_text(encoding="utf-8")) if index.is_file() else {}
    there = index_of(directory)
    for name in sorted(written.keys() | there.keys()):
        if written.get(name) == there.get(name):
            continue
        what = "changed since the index was written"
        if name not in written:
            what = "not in the index"
        elif name not in there:
            what = "in the index, but not there"
        return (
            f"{directory / name}: {what} ({index}); restore the file with git, or, if it belongs "
            "there, run `python -m ettin_retrieval.results` and `dvc repro tables`"
        )
    return None


def write_entry(directory: Path, entry: Entry, queries: pd.DataFrame) -> str:
    """Add a measurement to the ledger.

    One of the same checkpoint that agrees over the tasks which both scored fills the entry
    further; one that says nothing new changes no byte. Any other takes the entry's place, as
    the pipeline's outputs follow its parameters, and a line of the log says of what, why, and
    where that is still to be had.

    Returns
    -------
    What was done, in a word or two.
    """
    path = directory / f"{entry.name}.json"
    rows = path.with_suffix(".queries.parquet")
    new, done = Measurement(entry, queries), "written"
    if path.is_file() and rows.is_file():
        there = read_entry(path)
        old = Measurement(there, read_queries(directory, there))
        differences = origin_differences(old.entry, entry) or numeric_differences(old, new)
        if differences:
            done = "replaced"
            _tell_replaced(path, differences[0])
        else:
            new = united(old, new)
            if new is old:
                return "unchanged"
            added = len(new.entry.tasks) - len(old.entry.tasks)
            done = f"{added} tasks added" if added else "provenance renewed"
    write_json(path, asdict(new.entry))
    table = pa.Table.from_pandas(new.queries[QUERIES.names], schema=QUERIES, preserve_index=False)
    pq.write_table(table.replace_schema_metadata(None), rows)
    return done


def _tell_replaced(path: Path, difference: Difference) -> None:
    where = f"`git show HEAD:{path}` has the earlier one"
    if not is_committed(path):
        where = "the earlier one was not committed and is gone"
    logger.warning("%s replaced: %s; %s", path, told(difference), where)


def main(arguments: list[str] | None = None) -> int:
    """Entry point of `python -m ettin_retrieval.results`: write the ledger's index."""
    parser = argparse.ArgumentParser(
        prog="python -m ettin_retrieval.results",
        description="Write the ledger's index, after rows came in by git or by copying.",
    )
    parser.add_argument("--results", type=Path, default=Path("results"), metavar="PATH")
    given = parser.parse_args(arguments)
    print(f"{write_index(given.results)}: {len(read_ledger(given.results))} entries")
    return 0


if __name__ == "__main__":
    sys.exit(main())
