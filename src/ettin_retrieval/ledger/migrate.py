"""Earlier versions of the ledger's files, converted to the present schema."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ettin_retrieval.ledger.entry import Entry, Measurement
from ettin_retrieval.ledger.provenance import run_reference
from ettin_retrieval.ledger.store import (
    entry_files,
    read_mapping,
    read_queries,
    write_files,
    write_index,
)
from ettin_retrieval.runtime.files import sha256_json

RENAMED = {"identity": "fingerprint", "synthetic": "tiny", "embedded": "tiny"}
"""Keys and values in the provenance of schema 1 that have another name now."""


def migrate(ledger: Path) -> list[Path]:
    """Convert every entry of schema 1, which repeated the record of a run in each of its entries.

    The index of a ledger without such entries is left as it is.

    Returns
    -------
    Files of the converted entries.

    Raises
    ------
    InputError
        A file is not a ledger entry, or lacks its per-query scores; nothing was converted.
    """
    outdated = [path for path in entry_files(ledger) if read_mapping(path).get("schema", 1) == 1]
    converted = [_converted(ledger, path) for path in outdated]
    shared = _shared_runs(converted)
    for each in converted:
        records = {
            old: shared[each.entry.model, _facts(old, record)]
            for old, record in each.records.items()
        }
        runs = [run | {"run": records[run["run"]][0]} for run in each.entry.runs]
        entry = replace(each.entry, runs=runs)
        write_files(ledger, Measurement(entry, each.queries, dict(records.values())))
    if outdated:
        write_index(ledger)
    return outdated


def _converted(ledger: Path, path: Path) -> Measurement:
    content = read_mapping(path)
    provenance = _renamed(content.pop("provenance", {}))
    entry = Entry.of(content, str(path))
    weights, precision = provenance.pop("checkpoint", {}), provenance.pop("precision", None)
    further = provenance.pop("further_runs", [])
    later = {task for run in further for task in run["tasks"]}
    first = provenance | {"tasks": [task for task in entry.tasks if task not in later]}
    runs, records = [], {}
    for run in [first, *further]:
        tasks, digest = run.pop("tasks"), run.pop("outputs_sha256", None)
        record = {key: run[key] for key in run if key not in {"checkpoint", "precision"}}
        # The recipe of a run of the pipeline; the arm of a study or of BM25.
        recipe = record.get("settings", {}).get("recipe")
        name = recipe if recipe and entry.checkpoint in {"base", "finetuned"} else entry.arm
        reference = run_reference(name, entry.seed, record)
        runs.append({"run": reference, "outputs_sha256": digest, "tasks": tasks})
        records[reference] = record
    tasks = {task: _renamed(record) for task, record in entry.tasks.items()}
    entry = replace(entry, tasks=tasks, weights=weights, precision=precision, runs=runs)
    return Measurement(entry, read_queries(ledger, entry), records)


def _renamed(content: Any) -> Any:
    if isinstance(content, dict):
        return {RENAMED.get(key, key): _renamed(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_renamed(value) for value in content]
    return RENAMED.get(content, content) if isinstance(content, str) else content


def _shared_runs(
    measurements: list[Measurement],
) -> dict[tuple[str, str], tuple[str, dict[str, Any]]]:
    """Model and facts of a run to its reference and its one record.

    That of the run that also fine-tuned has the training data; the costs of all are brought
    together in it.
    """
    records = [(m.entry.model, *item) for m in measurements for item in m.records.items()]
    shared: dict[tuple[str, str], tuple[str, dict[str, Any]]] = {}
    for model, reference, record in sorted(
        records, key=lambda r: r[2].get("training_data") is None
    ):
        _, kept = shared.setdefault((model, _facts(reference, record)), (reference, record))
        kept["costs"] = kept.get("costs", {}) | record.get("costs", {})
    return shared


def _facts(reference: str, record: dict[str, Any]) -> str:
    """What two records of one run have in common."""
    facts = {k: v for k, v in record.items() if k not in {"training_data", "costs"}}
    return reference.partition("#")[0] + sha256_json(facts)
