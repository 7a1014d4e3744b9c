"""How long the command line takes to answer `--help`, and `dvc repro` in a fresh clone."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.harness import ROOT, Run, Runs
from benchmarks.record import Figure, Section, ratios
from ettin_retrieval.runtime.files import read_json

HELP = "ettin-retrieval --help"
COMMANDS = {HELP: ["-m", "ettin_retrieval.cli", "--help"], "python alone": ["-c", ""]}
COLD, IDLE, CHANGED = "from nothing", "nothing to do", "another learning rate"


def measure_startup(repetitions: int = 9) -> Section:
    """Start the command line and Python alone, in turn."""
    runs: Runs = {name: [] for name in COMMANDS}
    for _ in range(repetitions):
        for name, arguments in COMMANDS.items():
            start = time.perf_counter()
            command = [sys.executable, *arguments]
            subprocess.run(command, cwd=ROOT / "src", check=True, stdout=subprocess.DEVNULL)
            runs[name].append({"seconds": time.perf_counter() - start})
    figure = Figure(HELP, [run["seconds"] for run in runs[HELP]], 0.5, "s")
    return Section("Start of the command line", {}, [figure], runs)


def measure() -> Section:
    """`dvc repro` three times in a clone of the last commit."""
    with TemporaryDirectory() as directory:
        clone = Path(directory) / "clone"
        subprocess.run(["git", "clone", "-q", ROOT, clone], check=True)
        runs: Runs = {COLD: [repro(clone)], IDLE: [repro(clone)]}
        costs = read_json(clone / "data/costs.json")
        params = (clone / "params.yaml").read_text(encoding="utf-8")
        changed = params.replace("learning_rate: auto", "learning_rate: 1.0e-3")
        (clone / "params.yaml").write_text(changed, encoding="utf-8")
        runs[CHANGED] = [repro(clone)]
    figures = [
        Figure(f"{name}, against {COLD}", ratios(runs, name, COLD)) for name in (IDLE, CHANGED)
    ]
    figures += [
        Figure(f"peak memory of what wrote {output}", [cost["peak_memory_mib"]], unit="MiB")
        for output, cost in sorted(costs.items())
    ]
    notes = ["`dvc repro` in a clone of the last commit, strict, DVC's own time included."]
    return Section("Pipeline", {"model": "tiny"}, figures, runs, notes)


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
