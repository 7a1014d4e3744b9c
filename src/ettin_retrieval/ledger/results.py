"""Stage results: what base and fine-tuned scored, and what made them, in the ledger."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from ettin_retrieval.ledger.entry import Entry, Measurement
from ettin_retrieval.ledger.provenance import (
    outputs_behind,
    outputs_digest,
    run_record,
    run_reference,
)
from ettin_retrieval.ledger.store import write_index, write_measurement
from ettin_retrieval.pipeline import Paths, costs_of, run_stage
from ettin_retrieval.runtime.files import read_json
from ettin_retrieval.settings.rates import rate_record
from ettin_retrieval.settings.schema import Settings
from ettin_retrieval.tasks import not_held_out

logger = logging.getLogger("ettin_retrieval")


def run(settings: Settings, paths: Paths) -> str:
    """Write an entry per checkpoint; an entry that already says the same stays as it is."""
    outputs = {checkpoint: outputs_behind(checkpoint) for checkpoint in ("base", "finetuned")}
    weights = {name: read_json(paths["models"] / name / "checkpoint.json") for name in outputs}
    record = run_record(
        settings.resolved(),
        read_json(paths["training"] / "train" / "manifest.json"),
        costs_of({path for made in outputs.values() for path in made}, settings),
    )
    record["learning_rate"] = rate_record(record["settings"], weights["base"]["fingerprint"])
    tasks = task_records(paths["benchmark"])
    if missing := not_decontaminated(tasks, record["training_data"]):
        record["not_held_out"] = missing
        logger.warning(
            "not decontaminated against %s: not among the tasks of data.heldout",
            ", ".join(missing),
        )
    reference = run_reference(settings.recipe, settings.seed, record)
    summary = []
    for checkpoint, made in outputs.items():
        entry = Entry(
            model=settings.model,
            checkpoint=checkpoint,
            recipe=settings.recipe if checkpoint == "finetuned" else None,
            seed=settings.seed,
            scores=read_json(paths["metrics"] / f"{checkpoint}.json"),
            tasks=with_cut(tasks, paths["scores"] / checkpoint),
            weights=weights[checkpoint],
            precision=settings.evaluation.precision,
            runs=[{"run": reference, "outputs_sha256": outputs_digest(made), "tasks": list(tasks)}],
        )
        queries = _queries(paths["scores"] / checkpoint, tasks)
        done = write_measurement(paths["results"], Measurement(entry, queries, {reference: record}))
        summary.append(f"{entry.name} {done}")
    write_index(paths["results"])
    return ", ".join(summary)


def not_decontaminated(tasks: Iterable[str], training: dict[str, Any]) -> list[str]:
    """The scored tasks whose queries the training set, of this manifest, may have."""
    return not_held_out(tasks, training["notes"].get("heldout_tasks", []))


def _queries(scores: Path, tasks: Iterable[str]) -> pd.DataFrame:
    frames = [
        pd.read_parquet(scores / f"{task}.queries.parquet").assign(task=task) for task in tasks
    ]
    return pd.concat(frames, ignore_index=True)


def with_cut(tasks: dict[str, dict[str, Any]], scores: Path) -> dict[str, dict[str, Any]]:
    """The records of tasks with what a checkpoint's evaluation had to cut."""
    cut = {task: read_json(scores / f"{task}.cut.json") for task in tasks}
    return {task: record | {"cut": cut[task]} for task, record in tasks.items()}


def task_records(benchmark: Path) -> dict[str, dict[str, Any]]:
    """What an entry says of each task, from the manifests of a benchmark directory."""
    manifests = {path.parent.name: read_json(path) for path in benchmark.glob("*/manifest.json")}
    return {task: task_record(manifest) for task, manifest in sorted(manifests.items())}


def task_record(manifest: dict[str, Any]) -> dict[str, Any]:
    """What an entry says of a task, from the manifest of its data."""
    record = {
        "split": manifest["split"],
        "queries": manifest["counts"]["queries_with_positive"],
        "passages": manifest["counts"]["corpus"],
        "source": manifest["source"],
        "revision": manifest["revision"],
    }
    notes = {name: manifest["notes"].get(name) for name in ("subsampled_from", "hit_on_own_id")}
    return record | {name: note for name, note in notes.items() if note}


if __name__ == "__main__":
    run_stage(
        "results",
        run,
        reads=["metrics", "scores", "models", "benchmark", "training"],
        writes=["results"],
    )
