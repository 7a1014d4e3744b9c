"""What made a result: commit, lock, weights, data, settings, versions, hardware, precision."""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ettin_retrieval.records import sha256_file, write_json

LIBRARIES = (
    "accelerate", "datasets", "dvc", "mteb", "numpy", "pytrec_eval-terrier",
    "sentence-transformers", "tokenizers", "torch", "transformers",
)  # fmt: skip

COSTS = Path("data/costs.json")
"""Seconds and peak memory of each stage's last run on this machine; neither in Git nor in DVC,
because they differ from run to run."""


def note_cost(output: Path, seconds: float) -> None:
    """Remember what making an output took."""
    costs = read_costs()
    # Kilobytes on Linux, bytes on macOS.
    unit = 1024 if sys.platform != "darwin" else 1
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    costs[str(output)] = {"seconds": round(seconds, 1), "peak_memory_mib": peak // 2**20}
    write_json(COSTS, costs)


def read_costs() -> dict[str, Any]:
    """Output to seconds and peak memory."""
    if not COSTS.is_file():
        return {}
    costs: dict[str, Any] = json.loads(COSTS.read_text(encoding="utf-8"))
    return costs


def provenance(
    checkpoint: dict[str, Any], training: dict[str, Any], settings: dict[str, Any]
) -> dict[str, Any]:
    """The record that a ledger entry opens with.

    Parameters
    ----------
    checkpoint
        Content of checkpoint.json.
    training
        Manifest of the training set.
    settings
        Settings in force, as in metrics/settings.json.
    """
    lock = Path("dvc.lock")
    return {
        "commit": _git("rev-parse", "HEAD"),
        "dirty": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "dvc_lock_sha256": sha256_file(lock) if lock.is_file() else None,
        "checkpoint": checkpoint,
        "training_data": training,
        "settings": settings,
        "precision": settings["evaluation"]["precision"],
        "versions": {"python": platform.python_version()}
        | {library: version(library) for library in LIBRARIES},
        "hardware": hardware(),
        "costs": read_costs(),
    }


def hardware() -> dict[str, Any]:
    """Processor, cores, memory and GPU of this machine."""
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(pages / 2**30),
        "gpu": gpu,
        "gpus": torch.cuda.device_count(),
        "system": platform.system(),
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _git(*arguments: str) -> str | None:
    """Answer of git, or None outside a repository."""
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None
