"""How long the command line takes to answer `--help`."""

from __future__ import annotations

import subprocess
import sys
import time

from benchmarks.harness import ROOT, Inputs, Runs
from benchmarks.record import Figure, Section

INPUTS: Inputs = {}
COMMANDS = {
    "ettin-retrieval --help": ["-m", "ettin_retrieval.cli", "--help"],
    "python alone": ["-c", ""],
}


def measure(inputs: Inputs = INPUTS, repetitions: int = 9) -> Section:
    """Start the command line and Python alone, in turn."""
    runs: Runs = {name: [] for name in COMMANDS}
    for _ in range(repetitions):
        for name, arguments in COMMANDS.items():
            start = time.perf_counter()
            command = [sys.executable, *arguments]
            subprocess.run(command, cwd=ROOT / "src", check=True, stdout=subprocess.DEVNULL)
            runs[name].append({"seconds": time.perf_counter() - start})
    name, *_ = COMMANDS
    figure = Figure(name, [run["seconds"] for run in runs[name]], 0.5, "s")
    return Section("Start of the command line", inputs, [figure], runs)
