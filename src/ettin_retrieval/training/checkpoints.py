"""Resume an interrupted run from its last complete checkpoint with the same configuration.

The trainer's checkpoints lie beside the DVC outputs, in one directory per configuration:
`models/finetuned.work/KEY/checkpoint-STEP`. A checkpoint is complete once it has `complete.json`,
which is written last, and atomically. A directory is renamed before it is removed, so a kill in
between leaves no checkpoint that looks complete.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from ettin_retrieval.runtime.determinism import arithmetic
from ettin_retrieval.runtime.files import code_digest, read_json, sha256_json, write_json
from ettin_retrieval.settings.schema import Settings
from ettin_retrieval.training.conditions import training_precision
from ettin_retrieval.training.examples import Example

COMPLETE = "complete.json"
REMOVED = ".removed"  # ends the name of a directory that is being removed
KEPT_DAYS = 14  # how long another configuration's checkpoints stay


@dataclass(frozen=True)
class Progress:
    """What a resumed run needs beside the trainer's own files."""

    pending_loss: float  # sum of the losses since the curve's last point
    last_logged: int  # step of the curve's last point
    finished: bool  # training ends here, after all steps or early


def configuration_key(
    settings: Settings,
    base_fingerprint: str,
    examples: list[Example],
    dev: str,
    world_size: int,
    device: str,
) -> str:
    """Digest of everything that decides the weights: only runs with one key share checkpoints.

    Parameters
    ----------
    base_fingerprint
        Of the checkpoint that training starts from.
    dev
        Content of the development set's manifest, which has the hashes of its files.
    """
    decisive = {
        "seed": settings.seed,
        "strict": settings.strict,
        "finetuning": settings.finetuning.model_dump(),
        "lengths": settings.training_lengths,
        "precision": training_precision(settings, device),
        "learning_rate": settings.learning_rate,
        "batch_size": settings.batch_size,
        "epochs": settings.epochs,
        "negatives": settings.negatives.num_negatives,
        "base": base_fingerprint,
        "dev": dev,
        "world_size": world_size,
        "device": device,
        "code": code_digest("training", "encoders"),
        "arithmetic": arithmetic(),
    }
    digest = hashlib.sha256(sha256_json(decisive).encode())
    for one in examples:
        row = [one.query, one.positive, one.negatives, one.query_id, one.scores, one.relevant]
        digest.update(json.dumps(row).encode() + b"\n")
    return digest.hexdigest()[:32]


def work_directory(root: Path, key: str) -> Path:
    """The directory of a configuration's checkpoints; those of others stay for `KEPT_DAYS`."""
    directory = root / key
    directory.mkdir(parents=True, exist_ok=True)
    for other in root.iterdir():
        if other.name.endswith(REMOVED):
            shutil.rmtree(other)
        elif other != directory and time.time() - other.stat().st_mtime > KEPT_DAYS * 86_400:
            remove_work(other)
    return directory


def remove_work(directory: Path) -> None:
    """Remove a configuration's directory, and its parent if that is then empty."""
    _remove(directory)
    if not any(directory.parent.iterdir()):
        directory.parent.rmdir()


def mark_complete(checkpoint: Path, progress: Progress) -> None:
    """Write `complete.json`, whole or not at all."""
    partial = checkpoint / f"{COMPLETE}.partial"
    write_json(partial, asdict(progress))
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(checkpoint / COMPLETE)


def read_progress(checkpoint: Path) -> Progress:
    """What `mark_complete` wrote."""
    return Progress(**read_json(checkpoint / COMPLETE))


def last_complete(work: Path) -> Path | None:
    """The checkpoint to resume from, or None to start at the beginning.

    A checkpoint without the best one before it does not count: the best weights are lost.
    """
    for path in reversed(_checkpoints(work)):
        if (path / COMPLETE).is_file():
            best = read_json(path / "trainer_state.json")["best_global_step"]
            # None before the first development evaluation, and where the last one is kept.
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
    """In order of their steps, without those that end in `REMOVED`."""
    return sorted(work.glob("checkpoint-*[0-9]"), key=_step)


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("checkpoint-"))
