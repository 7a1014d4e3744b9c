"""The pipeline in a fresh clone: from nothing, with nothing to do, with one setting changed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.harness import ROOT, Inputs, Run, Runs
from benchmarks.record import Figure, Section, ratios
from ettin_retrieval.runtime.files import read_json

INPUTS: Inputs = {"model": "tiny"}
COLD, IDLE, CHANGED = "from nothing", "nothing to do", "another learning rate"


def measure(inputs: Inputs = INPUTS, repetitions: int = 1) -> Section:
    """`dvc repro` three times in a clone of the last commit."""
    runs: Runs = {COLD: [], IDLE: [], CHANGED: []}
    for _ in range(repetitions):
        with TemporaryDirectory() as directory:
            clone = Path(directory) / "clone"
            subprocess.run(["git", "clone", "-q", ROOT, clone], check=True)
            runs[COLD].append(repro(clone))
            runs[IDLE].append(repro(clone))
            costs = read_json(clone / "data/costs.json")
            params = (clone / "params.yaml").read_text(encoding="utf-8")
            changed = params.replace("learning_rate: auto", "learning_rate: 1.0e-3")
            (clone / "params.yaml").write_text(changed, encoding="utf-8")
            runs[CHANGED].append(repro(clone))
    figures = [
        Figure("nothing to do, against from nothing", ratios(runs, IDLE, COLD)),
        Figure("another learning rate, against from nothing", ratios(runs, CHANGED, COLD)),
    ] + [
        Figure(f"peak memory of what wrote {output}", [cost["peak_memory_mib"]], unit="MiB")
        for output, cost in sorted(costs.items())
    ]
    notes = ["`dvc repro` in a clone of the last commit, strict, DVC's own time included."]
    return Section("Pipeline", inputs, figures, runs, notes)


def repro(clone: Path) -> Run:
    """Seconds of a `dvc repro`."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(clone / "src")}
    # Without bytecode files every stage would compile all that it imports.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    start = time.perf_counter()
    command = [sys.executable, "-m", "dvc", "repro", "-q"]
    subprocess.run(command, cwd=clone, env=environment, check=True)
    return {"seconds": time.perf_counter() - start}
