"""A killed run goes on from its last whole checkpoint, and only from one of its own.

The trainer's checkpoints lie beside the DVC outputs, in one directory for each configuration:
`models/finetuned.work/KEY/checkpoint-STEP`. A checkpoint counts once `complete.json` is in it,
which is written last, under another name first. A directory that is done with gets a name that
nobody reads before it is removed, so that a kill in the middle of that leaves nothing half there.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ettin_retrieval.runtime.determinism import arithmetic
from ettin_retrieval.runtime.files import code_digest, write_json
from ettin_retrieval.settings.schema import Settings
from ettin_retrieval.training.examples import Example

COMPLETE = "complete.json"

REMOVED = ".removed"
"""Ends the name of what is being removed."""

KEPT_DAYS = 14
"""How long checkpoints of an unfinished run stay beside those of another configuration."""


@dataclass(frozen=True)
class Progress:
    """What a checkpoint must hold beside the trainer's own files.

    Attributes
    ----------
    pending_loss
        Sum of the losses since the curve's last point, which belong to its next one.
    last_logged
        Step of the curve's last point.
    finished
        Training ends at this checkpoint: all steps are done, or it stopped early.
    """

    pending_loss: float
    last_logged: int
    finished: bool


def configuration_key(
    settings: Settings,
    base_fingerprint: str,
    train: list[Example],
    dev: str,
    processes: int,
    device: str,
) -> str:
    """Digest of all that decides the weights: two runs with one key may share checkpoints.

    Parameters
    ----------
    base_fingerprint
        Of the checkpoint that training starts from.
    dev
        Content of the development set's manifest, which has the hashes of its files.
    processes
        How many devices the batches are shared by.
    device
        Their type, such as `cpu`.
    """
    decisive = {
        "seed": settings.seed,
        "strict": settings.strict,
        "finetuning": settings.finetuning.model_dump(),
        "learning_rate": settings.learning_rate,
        "batch_size": settings.batch_size,
        "epochs": settings.epochs,
        "negatives": settings.negatives.num_negatives,
        "base": base_fingerprint,
        "dev": dev,
        "processes": processes,
        "device": device,
        "code": code_digest("training", "encoders"),
        "arithmetic": arithmetic(),
    }
    digest = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode())
    for one in train:
        row = [one.query, one.positive, one.negatives, one.query_id, one.scores]
        digest.update(json.dumps(row).encode() + b"\n")
    return digest.hexdigest()[:32]


def work_directory(root: Path, key: str) -> Path:
    """The directory of a configuration's checkpoints.

    Those of other configurations stay: one may go back to them. They are removed once nothing was
    written there for `KEPT_DAYS`.
    """
    directory = root / key
    directory.mkdir(parents=True, exist_ok=True)
    for other in root.iterdir():
        if other.name.endswith(REMOVED):
            shutil.rmtree(other)
        # A directory's own time is that of its last checkpoint.
        elif other != directory and time.time() - other.stat().st_mtime > KEPT_DAYS * 86_400:
            remove_work(other)
    return directory


def remove_work(directory: Path) -> None:
    """Remove a configuration's directory, and the one that it is in when that is then empty."""
    _remove(directory)
    if not any(directory.parent.iterdir()):
        directory.parent.rmdir()


def mark_complete(checkpoint: Path, progress: Progress) -> None:
    """Write the mark that makes a checkpoint count."""
    partial = checkpoint / f"{COMPLETE}.partial"
    write_json(partial, asdict(progress))
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(checkpoint / COMPLETE)


def read_progress(checkpoint: Path) -> Progress:
    """What `mark_complete` wrote."""
    return Progress(**json.loads((checkpoint / COMPLETE).read_text(encoding="utf-8")))


def last_complete(work: Path) -> Path | None:
    """The checkpoint to go on from, or None to start at the beginning.

    A checkpoint whose best predecessor is gone cannot tell which weights to end with, so it does
    not count either.
    """
    whole = [path for path in _checkpoints(work) if (path / COMPLETE).is_file()]
    for path in sorted(whole, key=_step, reverse=True):
        best = _trainer_state(path)["best_global_step"]
        # None before the first development evaluation.
        if best is None or (work / f"checkpoint-{best}" / COMPLETE).is_file():
            return path
    return None


def discard_incomplete(work: Path) -> None:
    """Remove what a kill left half written or half removed."""
    for path in work.glob(f"*{REMOVED}"):
        shutil.rmtree(path)
    for path in _checkpoints(work):
        if not (path / COMPLETE).is_file():
            _remove(path)


def keep_only(work: Path, steps: set[int]) -> None:
    """Remove all checkpoints but those of the given steps."""
    for path in _checkpoints(work):
        if _step(path) not in steps:
            _remove(path)


def _remove(directory: Path) -> None:
    removed = directory.with_name(directory.name + REMOVED)
    directory.replace(removed)
    shutil.rmtree(removed)


def _checkpoints(work: Path) -> list[Path]:
    return [path for path in work.glob("checkpoint-*") if not path.name.endswith(REMOVED)]


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("checkpoint-"))


def _trainer_state(checkpoint: Path) -> dict[str, Any]:
    state: dict[str, Any] = json.loads(
        (checkpoint / "trainer_state.json").read_text(encoding="utf-8")
    )
    return state
