"""What made a result: commit, data, weights, settings, versions, hardware, precision, costs."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from ettin_retrieval.runtime.device import hardware

LIBRARIES = (
    "accelerate", "datasets", "dvc", "mteb", "numpy", "pytrec_eval-terrier",
    "sentence-transformers", "tokenizers", "torch", "transformers",
)  # fmt: skip

PIPELINE, LOCK = Path("dvc.yaml"), Path("dvc.lock")

WRITTEN = (
    "dvc.lock", "metrics", "plots", "results", "tables", "studies/dvc.lock", "studies/*/tables",
)  # fmt: skip
"""Tracked files that the pipelines themselves write: that they differ says nothing of a result."""

SETTINGS = "params.yaml"
"""Its values are recorded as settings, so that a change of it leaves nothing untold."""


def outputs_behind(checkpoint: str, root: Path = Path()) -> dict[str, str]:
    """Outputs that a checkpoint's scores were made from, the scores included, with DVC's hashes.

    All that dvc.lock records for the stages upstream of the entry: those that lead to what the
    stage `results` reads under the checkpoint's name. The checked settings are none of them.

    Parameters
    ----------
    checkpoint
        `base` or `finetuned`.
    root
        Where dvc.yaml and dvc.lock are.

    Returns
    -------
    Output path to md5; empty without a pipeline.
    """
    if not (root / LOCK).is_file():
        return {}
    yaml = YAML(typ="safe")
    reads = yaml.load((root / PIPELINE).read_text(encoding="utf-8"))["stages"]["results"]["deps"]
    stages = yaml.load((root / LOCK).read_text(encoding="utf-8"))["stages"]
    made_by = {out["path"]: name for name, stage in stages.items() for out in stage.get("outs", [])}
    waiting = [path for path in reads if Path(path).stem == checkpoint]
    found: set[str] = set()
    while waiting:
        name = made_by.get(waiting.pop())
        if name is not None and name not in found:
            found.add(name)
            waiting += [dep["path"] for dep in stages[name].get("deps", [])]
    return {out["path"]: out["md5"] for name in sorted(found) for out in stages[name]["outs"]}


def outputs_digest(outputs: dict[str, str]) -> str | None:
    """sha256 over the canonical JSON of output path to md5; None where there are no outputs.

    >>> outputs_digest({"b": "2", "a": "1"}) == outputs_digest({"a": "1", "b": "2"})
    True
    """
    if not outputs:
        return None
    canonical = json.dumps(outputs, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def provenance(
    checkpoint: dict[str, Any],
    training: dict[str, Any] | None,
    settings: dict[str, Any],
    outputs: dict[str, str] | None = None,
    costs: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The record that a ledger entry opens with.

    Parameters
    ----------
    checkpoint
        Content of checkpoint.json.
    training
        Manifest of the training set; None of what was not trained here.
    settings
        Settings in force, as in metrics/settings.json.
    outputs
        What the pipeline made on the way to the scores, as `outputs_behind` gives it.
    costs
        What that took.
    """
    changed = changed_files()
    return {
        "commit": _git("rev-parse", "HEAD"),
        "dirty": None if changed is None else bool(set(changed) - {SETTINGS}),
        "changed_files": changed,
        "outputs_sha256": outputs_digest(outputs or {}),
        "checkpoint": checkpoint,
        "training_data": training,
        "settings": settings,
        "precision": settings.get("evaluation", {}).get("precision"),
        "versions": {"python": platform.python_version()}
        | {library: version(library) for library in LIBRARIES},
        "hardware": hardware(),
        "costs": costs or {},
    }


def changed_files() -> list[str] | None:
    """Tracked files that differ from the commit, less those that the pipelines write.

    None outside a repository.
    """
    exclude = [f":(top,exclude,glob){path}" for path in WRITTEN]
    exclude += [f":(top,exclude,glob){path}/**" for path in WRITTEN]
    told = _git("diff", "--name-only", "-z", "HEAD", "--", ":(top)", *exclude)
    return None if told is None else sorted(filter(None, told.split("\0")))


def is_committed(path: Path) -> bool:
    """Whether the current commit has a file with these bytes."""
    there = _git("rev-parse", f"HEAD:./{path.name}", directory=path.parent)
    return there is not None and there == _git("hash-object", path.name, directory=path.parent)


def _git(*arguments: str, directory: Path = Path()) -> str | None:
    """Answer of git, or None outside a repository."""
    done = subprocess.run(
        ["git", *arguments], cwd=directory, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else None
