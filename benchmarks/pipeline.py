"""The pipeline in a fresh clone: from nothing, with nothing to do, with one changed setting."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.contest import ROOT, Runs
from benchmarks.record import Figure, Ratio, Section, speed

SIZES = {"model": "tiny"}
REPETITIONS = 1
COLD, IDLE, CHANGED = "from nothing", "nothing to do", "another learning rate"


def measure(sizes: dict[str, Any], repetitions: int) -> Section:
    """Run `dvc repro` three times in a clone of the last commit."""
    runs: Runs = {COLD: [], IDLE: [], CHANGED: []}
    for _ in range(repetitions):
        with tempfile.TemporaryDirectory(prefix="benchmark-pipeline-") as directory:
            clone = Path(directory) / "clone"
            _git("clone", "--quiet", str(ROOT), str(clone))
            select(clone, sizes["model"])
            runs[COLD].append({"seconds": repro(clone)})
            runs[IDLE].append({"seconds": repro(clone)})
            stages = costs(clone)
            halve_learning_rate(clone)
            runs[CHANGED].append({"seconds": repro(clone)})
    return Section(
        "pipeline",
        "Pipeline",
        sizes,
        runs,
        [
            Ratio("nothing to do, against from nothing", speed(runs, IDLE, COLD)),
            Ratio("another learning rate, against from nothing", speed(runs, CHANGED, COLD)),
        ],
        [
            Figure(f"peak memory of what wrote {output}", float(cost["peak_memory_mib"]), "MiB")
            for output, cost in sorted(stages.items())
        ],
        notes=["`dvc repro` in a clone of the last commit, strict, DVC's own time included."],
    )


def select(clone: Path, model: str) -> None:
    """Set the model in the clone's params.yaml."""
    _rewrite(clone, "model: tiny ", f"model: {model} ")


def halve_learning_rate(clone: Path) -> None:
    """Set half of the embedded encoder's own learning rate."""
    _rewrite(clone, "learning_rate: auto", "learning_rate: 1.0e-3")


def repro(clone: Path) -> float:
    """Seconds of a `dvc repro`."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(clone / "src")}
    # Without bytecode files every stage would compile all it imports anew.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "repro"],
        cwd=clone,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"dvc repro failed: {(done.stdout + done.stderr)[-2000:]}")
    return time.perf_counter() - start


def costs(clone: Path) -> dict[str, Any]:
    """Output to seconds and peak memory, as the stages noted them."""
    noted: dict[str, Any] = json.loads((clone / "data/costs.json").read_text(encoding="utf-8"))
    return noted


def _rewrite(clone: Path, before: str, after: str) -> None:
    path = clone / "params.yaml"
    text = path.read_text(encoding="utf-8")
    if before not in text:
        raise RuntimeError(f"params.yaml: there is no {before!r} to change")
    path.write_text(text.replace(before, after, 1), encoding="utf-8")


def _git(*arguments: str) -> None:
    subprocess.run(["git", *arguments], check=True, capture_output=True)
