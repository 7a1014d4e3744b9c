"""One contender in a process of its own: prepares once, then runs its job each time it is asked.

    python -m benchmarks.worker benchmarks.search:ours

reads messages from standard input, one JSON object a line: `{"inputs": {...}}` prepares,
`{"run": true}` runs. Every message is answered by one line of JSON.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import resource
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

Job = Callable[[], dict[str, Any]]
"""Does the work once; returns `seconds` and whatever else it found out."""

Prepare = Callable[[dict[str, Any]], Job]
"""Takes the inputs of a benchmark and gets everything ready that is not to be timed."""

MACHINE_SIZE = 1024
"""Of the matrices whose product shows how fast the machine is before and after a run: a hundredth
of a second, and little memory."""

STATUS = Path("/proc/self/status")


def main() -> None:
    """Answer messages until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # What libraries print must not get between the answers.
    os.dup2(2, 1)
    warnings.filterwarnings("ignore")
    module, name = sys.argv[1].split(":")
    prepare: Prepare = getattr(importlib.import_module(module), name)
    job: Job | None = None
    for line in sys.stdin:
        message = json.loads(line)
        if "inputs" in message:
            job = None
            gc.collect()
            job = prepare(message["inputs"])
            # Loads what the peak is measured with, which is no contender's memory.
            machine_gflops_per_second()
            gc.collect()
            forget_peak()
            answer: dict[str, Any] = {"resting_mib": resident_mib()}
        elif job is None:
            raise RuntimeError("a worker is asked to run before it has inputs")
        else:
            before = machine_gflops_per_second()
            answer = job() | {"peak_mib": peak_mib()}
            answer["machine_gflops_per_second"] = [before, machine_gflops_per_second()]
        print(json.dumps(answer), file=answers, flush=True)


def machine_gflops_per_second() -> float:
    """What the machine can do now: it tells a run that was disturbed from one that was not."""
    from benchmarks.peak import peak_gflops_per_second

    return peak_gflops_per_second("fp32", size=MACHINE_SIZE)


def forget_peak() -> None:
    """Start the record of peak memory anew, where the system can do that (Linux)."""
    reset = Path("/proc/self/clear_refs")
    if reset.is_file():
        reset.write_text("5", encoding="ascii")


def resident_mib() -> float:
    """Resident memory now, in MiB."""
    return _status("VmRSS") or _largest_ever_mib()


def peak_mib() -> float:
    """Largest resident memory since `forget_peak`, in MiB."""
    return _status("VmHWM") or _largest_ever_mib()


def _status(key: str) -> float | None:
    if not STATUS.is_file():
        return None
    for line in STATUS.read_text(encoding="utf-8").splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) / 1024
    return None


def _largest_ever_mib() -> float:
    # Kilobytes, but bytes on macOS.
    unit = 1024 if sys.platform != "darwin" else 1
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


if __name__ == "__main__":
    main()
