"""What made a result: commit, data, weights, settings, versions, hardware, costs."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from ettin_retrieval.runtime.determinism import LIBRARIES
from ettin_retrieval.runtime.device import hardware
from ettin_retrieval.runtime.files import sha256_json

PIPELINE, LOCK = Path("dvc.yaml"), Path("dvc.lock")

VERSIONS = sorted({*LIBRARIES, "datasets", "dvc"})

WRITTEN = (
    "dvc.lock", "metrics", "plots", "results", "tables",
    "studies/dvc.lock", "studies/*/tables", "studies/*/results",
)  # fmt: skip
"""Tracked files that the pipelines write themselves: a change in them explains no result."""

SETTINGS = {"params.yaml", "encoders.yaml", "recipes.yaml"}
"""Their values are recorded, so a change in them leaves nothing unknown."""


def run_record(
    settings: dict[str, Any],
    training: dict[str, Any] | None = None,
    costs: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The record of a run, which its entries refer to.

    Parameters
    ----------
    settings
        Resolved settings.
    training
        Manifest of the training set.
    costs
        Output to seconds and peak memory.
    """
    changed = changed_files()
    return {
        "commit": _git("rev-parse", "HEAD"),
        "dirty": None if changed is None else bool(set(changed) - SETTINGS),
        "changed_files": changed,
        "training_data": training,
        "settings": settings,
        "versions": {"python": platform.python_version()}
        | {library: version(library) for library in VERSIONS},
        "hardware": hardware(),
        "costs": costs or {},
    }


def run_reference(name: str, seed: int, record: dict[str, Any]) -> str:
    """File and id of a record: the same run on the same machine has the same id.

    >>> run_reference("guide", 42, {"commit": "abc", "costs": {}})
    'run-guide-seed42#84b5e7535318'
    """
    content = {key: value for key, value in record.items() if key != "costs"}
    return f"run-{name}-seed{seed}#{sha256_json(content)[:12]}"


def outputs_behind(checkpoint: str, root: Path = Path()) -> dict[str, str]:
    """Outputs upstream of the entry of `base` or `finetuned`, its scores included.

    Returns
    -------
    Output path to md5, as dvc.lock records it; empty without a pipeline.
    """
    if not (root / LOCK).is_file():
        return {}
    reads = read_stages(root / PIPELINE)["results"]["deps"]
    stages = read_stages(root / LOCK)
    made_by = {out["path"]: name for name, stage in stages.items() for out in stage.get("outs", [])}
    waiting = [path for path in reads if Path(path).stem == checkpoint]
    found: set[str] = set()
    while waiting:
        name = made_by.get(waiting.pop())
        if name is not None and name not in found:
            found.add(name)
            waiting += [dep["path"] for dep in stages[name].get("deps", [])]
    return {out["path"]: out["md5"] for name in sorted(found) for out in stages[name]["outs"]}


def read_stages(path: Path) -> dict[str, Any]:
    """The stages of a dvc.yaml or dvc.lock."""
    stages: dict[str, Any] = YAML(typ="safe").load(path.read_text(encoding="utf-8"))["stages"]
    return stages


def outputs_digest(outputs: dict[str, str]) -> str | None:
    """sha256 over the canonical JSON of output path to md5; None for no outputs.

    >>> outputs_digest({"b": "2", "a": "1"}) == outputs_digest({"a": "1", "b": "2"})
    True
    """
    if not outputs:
        return None
    canonical = json.dumps(outputs, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def changed_files() -> list[str] | None:
    """Tracked files that differ from the commit, without those that the pipelines write."""
    exclude = [f":(top,exclude,glob){path}" for path in WRITTEN]
    exclude += [f":(top,exclude,glob){path}/**" for path in WRITTEN]
    listed = _git("diff", "--name-only", "-z", "HEAD", "--", ":(top)", *exclude)
    return None if listed is None else sorted(filter(None, listed.split("\0")))


def is_committed(path: Path) -> bool:
    """Whether the current commit holds a file with these bytes."""
    committed = _git("rev-parse", f"HEAD:./{path.name}", directory=path.parent)
    present = _git("hash-object", path.name, directory=path.parent)
    return committed is not None and committed == present


def _git(*arguments: str, directory: Path = Path()) -> str | None:
    """git's answer, or None outside a repository."""
    done = subprocess.run(
        ["git", *arguments], cwd=directory, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else None
