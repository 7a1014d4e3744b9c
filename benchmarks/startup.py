"""How long the command line takes to answer `--help`."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from statistics import median
from typing import Any

from benchmarks.contest import ROOT
from benchmarks.record import Figure, Section

SIZES: dict[str, Any] = {}
REPETITIONS = 9
COMMANDS = {
    "ettin-retrieval --help": ["-m", "ettin_retrieval.cli", "--help"],
    "python alone": ["-c", "pass"],
}


def measure(sizes: dict[str, Any], repetitions: int) -> Section:
    """Start the command line and, in turn, Python with nothing to do."""
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in COMMANDS}
    for _ in range(repetitions):
        for name, arguments in COMMANDS.items():
            runs[name].append({"seconds": seconds_of(arguments)})
    name = next(iter(COMMANDS))
    value = median(run["seconds"] for run in runs[name])
    return Section(
        "startup",
        "Start of the command line",
        sizes,
        runs,
        figures=[Figure(name, value, "s", at_most=0.5)],
    )


def seconds_of(arguments: list[str]) -> float:
    """Wall-clock seconds of Python with these arguments."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, check=True, capture_output=True
    )
    return time.perf_counter() - start
