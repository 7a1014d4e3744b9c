"""Stage results: what base and fine-tuned scored, as two entries of the ledger."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from ettin_retrieval.ledger.entry import Entry
from ettin_retrieval.ledger.provenance import outputs_behind, provenance
from ettin_retrieval.ledger.store import write_entry, write_index
from ettin_retrieval.pipeline import Paths, costs_of, run_stage
from ettin_retrieval.settings.schema import Settings


def run(settings: Settings, paths: Paths) -> str:
    """Write an entry per checkpoint; entries that say the same already stay as they are."""
    tasks = {p.parent.name: _json(p) for p in sorted(paths["benchmark"].glob("*/manifest.json"))}
    told = []
    for checkpoint in ("base", "finetuned"):
        entry = Entry(
            model=settings.model,
            checkpoint=checkpoint,
            recipe=settings.recipe if checkpoint == "finetuned" else None,
            seed=settings.seed,
            scores=_json(paths["metrics"] / f"{checkpoint}.json"),
            tasks={name: task_record(manifest) for name, manifest in tasks.items()},
            provenance=_provenance(settings, paths, checkpoint),
        )
        frames = [
            pd.read_parquet(paths["scores"] / checkpoint / f"{name}.queries.parquet").assign(
                task=name
            )
            for name in tasks
        ]
        done = write_entry(paths["results"], entry, pd.concat(frames, ignore_index=True))
        told.append(f"{entry.name} {done}")
    write_index(paths["results"])
    return ", ".join(told)


def _provenance(settings: Settings, paths: Paths, checkpoint: str) -> dict[str, Any]:
    """What made a checkpoint's scores; a base encoder was trained on nothing, by no recipe."""
    outputs = outputs_behind(checkpoint)
    training = None
    if checkpoint == "finetuned":
        training = _json(paths["training"] / "train" / "manifest.json")
    return provenance(
        _json(paths["models"] / checkpoint / "checkpoint.json"),
        training,
        settings.resolved(),
        outputs,
        costs_of(outputs, settings),
    )


def task_record(manifest: dict[str, Any]) -> dict[str, Any]:
    """What an entry says of a task, from the manifest of its data."""
    subsampled = {k: v for k, v in manifest["notes"].items() if k == "subsampled_from"}
    return {
        "split": manifest["split"],
        "queries": manifest["counts"]["queries_with_positive"],
        "passages": manifest["counts"]["corpus"],
        "source": manifest["source"],
        "revision": manifest["revision"],
        **subsampled,
    }


def _json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


if __name__ == "__main__":
    run_stage(
        "results",
        run,
        reads=["metrics", "scores", "models", "benchmark", "training"],
        writes=["results"],
    )
