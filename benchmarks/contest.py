"""Contenders in processes of their own, run in turn on the same inputs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from ettin_retrieval.runtime.determinism import ALWAYS

ROOT = Path(__file__).resolve().parents[1]

Runs = dict[str, list[dict[str, Any]]]
"""Contender to what each of its runs found: `seconds`, `above_mib`, `peak_mib`, and its own."""


AGAIN = 2
UNSTEADY = 0.15
"""How much faster the machine may be in one contender's run than in another's."""


def disturbed(found: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether the machine was not equally fast for all contenders of a repetition.

    >>> disturbed({"a": {"machine_gflops_per_second": [90, 99]}})
    False
    >>> disturbed({"a": {"machine_gflops_per_second": [90, 70]}})
    True
    """
    speeds = [speed for run in found.values() for speed in run["machine_gflops_per_second"]]
    return max(speeds) > (1 + UNSTEADY) * min(speeds)


def disturbance(runs: Runs) -> list[str]:
    """A note on runs of repetitions that were run again; none where all went well at once.

    >>> disturbance({"a": [{"attempts": 1, "steady": True}, {"attempts": 3, "steady": False}]})
    ["Run again, as the machine's own speed changed by over 15% meanwhile: 1 of 2 runs; 1 ..."]
    """
    every = [run for found in runs.values() for run in found if "attempts" in run]
    again = sum(run["attempts"] > 1 for run in every)
    left = sum(not run["steady"] for run in every)
    if not again:
        return []
    return [
        f"Run again, as the machine's own speed changed by over {UNSTEADY:.0%} meanwhile: "
        f"{again} of {len(every)} runs; {left} were no steadier the last time."
    ]


class Contest:
    """Starts a worker for each contender; they sleep while another one runs.

    Parameters
    ----------
    contenders
        Name to the `module:function` that prepares it (`benchmarks.worker.Prepare`).
    """

    def __init__(self, contenders: Mapping[str, str]) -> None:
        self.said = {name: tempfile.TemporaryFile() for name in contenders}  # noqa: SIM115
        self.workers = {
            name: subprocess.Popen(
                [sys.executable, "-m", "benchmarks.worker", where],
                cwd=ROOT,
                env=_environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.said[name],
                text=True,
            )
            for name, where in contenders.items()
        }
        self.resting: dict[str, float] = {}

    def __enter__(self) -> Contest:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for worker in self.workers.values():
            if error is not None:
                worker.kill()
            if worker.stdin is not None:
                worker.stdin.close()
            worker.wait()
            if worker.stdout is not None:
                worker.stdout.close()
        for file in self.said.values():
            file.close()

    def warm_up(self, inputs: dict[str, Any]) -> None:
        """One run on small inputs that does not count: it imports what is imported late."""
        self.prepare(inputs)
        self.run(1)

    def prepare(self, inputs: dict[str, Any]) -> None:
        """Give every contender the same inputs, and wait until all are ready."""
        for name in self.workers:
            self._send(name, {"inputs": inputs})
        for name in self.workers:
            self.resting[name] = self._answer(name)["resting_mib"]

    def run(self, repetitions: int) -> Runs:
        """Run the contenders in turn, every second time in reverse order.

        Reversing keeps a machine that slows down from favouring whoever is first. A repetition in
        which the machine's own speed changed too much is run again, `AGAIN` times at most; the
        last one counts.
        """
        runs: Runs = {name: [] for name in self.workers}
        for repetition in range(repetitions):
            order = list(self.workers) if repetition % 2 == 0 else list(self.workers)[::-1]
            for attempt in range(1, 2 + AGAIN):
                found = {name: self._run(name) for name in order}
                told = {"attempts": attempt, "steady": not disturbed(found)}
                if told["steady"]:
                    break
            for name in order:
                runs[name].append(found[name] | told)
        return runs

    def _run(self, name: str) -> dict[str, Any]:
        self._send(name, {"run": True})
        found = self._answer(name)
        return found | {"above_mib": max(0.0, found["peak_mib"] - self.resting[name])}

    def _send(self, name: str, message: dict[str, Any]) -> None:
        pipe = self.workers[name].stdin
        if pipe is not None and self.workers[name].poll() is None:
            try:
                pipe.write(json.dumps(message) + "\n")
                pipe.flush()
            except BrokenPipeError:
                pass  # the answer that does not come says why

    def _answer(self, name: str) -> dict[str, Any]:
        pipe = self.workers[name].stdout
        line = pipe.readline() if pipe is not None else ""
        if not line:
            self.said[name].seek(0)
            said = self.said[name].read().decode(errors="replace").strip().splitlines()
            raise RuntimeError(f"{name} ended without an answer: " + "\n".join(said[-15:]))
        answer: dict[str, Any] = json.loads(line)
        return answer


def _environment() -> dict[str, str]:
    """What every contender runs under: the stages' own, all cores, no network, no progress bars."""
    source = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    return (
        os.environ
        | ALWAYS
        | {
            "PYTHONPATH": source.rstrip(os.pathsep),
            "OMP_NUM_THREADS": str(os.cpu_count()),
            "HF_HUB_OFFLINE": "1",
            "TQDM_DISABLE": "1",
        }
    )
