"""Earlier versions of the ledger's files, converted to the present schema."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from ettin_retrieval.ledger.entry import SCHEMA, Entry, Measurement
from ettin_retrieval.ledger.provenance import run_reference
from ettin_retrieval.ledger.store import QUERIES, write_index, write_measurement
from ettin_retrieval.runtime.files import read_json, sha256_json

RENAMED = {"identity": "fingerprint", "synthetic": "tiny", "embedded": "tiny"}
"""Keys and values of schema 1 that have another name now."""


def migrate(directory: Path) -> list[str]:
    """Convert every entry of schema 1, and write the index.

    Schema 1 repeated the record of a run in each of its entries.

    Returns
    -------
    Names of the converted entries.
    """
    paths = [
        path
        for path in sorted(directory.glob("*/*.json"))
        if not path.name.startswith("run-") and read_json(path).get("schema", 1) != SCHEMA
    ]
    converted = [_converted(path) for path in paths]
    for path in paths:
        path.unlink()
    for measurement in _with_shared_runs(converted):
        write_measurement(directory, measurement)
    write_index(directory)
    return [measurement.entry.name for measurement in converted]


def _renamed(content: Any) -> Any:
    if isinstance(content, dict):
        return {RENAMED.get(key, key): _renamed(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_renamed(value) for value in content]
    return RENAMED.get(content, content) if isinstance(content, str) else content


def _converted(path: Path) -> Measurement:
    content = _renamed(read_json(path))
    queries = pq.read_table(path.with_suffix(".queries.parquet"), schema=QUERIES).to_pandas()
    provenance = content.pop("provenance")
    entry = Entry(
        **content,
        weights=provenance.get("checkpoint", {}),
        precision=provenance.get("precision"),
    )
    first = {key: value for key, value in provenance.items() if key != "further_runs"}
    further = provenance.get("further_runs", [])
    later = {task for run in further for task in run["tasks"]}
    first["tasks"] = [task for task in entry.tasks if task not in later]
    records = {}
    for run in [first, *further]:
        tasks, digest = run.pop("tasks"), run.pop("outputs_sha256", None)
        record = {k: v for k, v in run.items() if k not in {"checkpoint", "precision"}}
        recipe = run.get("settings", {}).get("recipe")
        trained_or_base = entry.checkpoint in {"base", "finetuned"} and recipe is not None
        name = recipe if trained_or_base else entry.arm
        reference = run_reference(name, entry.seed, record)
        entry.runs.append({"run": reference, "outputs_sha256": digest, "tasks": tasks})
        records[reference] = record
    return Measurement(entry, queries, records)


def _with_shared_runs(measurements: list[Measurement]) -> list[Measurement]:
    """Base entries refer to the run that also fine-tuned, whose record has the training data."""
    trained = {
        (m.entry.model, _facts(reference, record)): (reference, record)
        for m in measurements
        for reference, record in m.records.items()
        if record.get("training_data") is not None
    }
    shared = []
    for m in measurements:
        found = {
            old: trained.get((m.entry.model, _facts(old, record)), (old, record))
            for old, record in m.records.items()
        }
        runs = [run | {"run": found[run["run"]][0]} for run in m.entry.runs]
        shared.append(replace(m, entry=replace(m.entry, runs=runs), records=dict(found.values())))
    return shared


def _facts(reference: str, record: dict[str, Any]) -> str:
    """What two records of one run have in common."""
    facts = {k: v for k, v in record.items() if k not in {"training_data", "costs"}}
    return reference.partition("#")[0] + sha256_json(facts)
