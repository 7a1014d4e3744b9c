"""Contenders in processes of their own."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from benchmarks import harness
from benchmarks.harness import Inputs, Job, Run, bf16_is_emulated, contest, peak_gflops, timed

from ettin_retrieval.runtime.determinism import DEFAULTS

prepared: list[Inputs] = []


def remembers(inputs: Inputs) -> Job:
    """Reports what its process has prepared and how it was started, and logs that it runs."""
    prepared.append(inputs)
    ballast = bytearray(inputs["mib"] * 2**20)

    def job() -> Run:
        scratch = bytearray(50 * 2**20)
        with open(inputs["log"], "a", encoding="utf-8") as log:
            print(os.getpid() % 10**5, file=log)
        return {
            "process": os.getpid() % 10**5,  # a run keeps five digits
            "prepared": len(prepared),
            "size": len(ballast) / 2**20,
            "scratch": len(scratch),
            "environment": float(DEFAULTS.items() <= os.environ.items()),
            "threads": float(os.environ["OMP_NUM_THREADS"]),
        }

    return job


def fails(inputs: Inputs) -> Job:
    raise KeyError("nothing to run")


def test_contenders_take_turns_in_processes_of_their_own(tmp_path: Path) -> None:
    inputs = {"mib": 100, "log": str(tmp_path / "log")}
    runs = contest({"a": remembers, "b": remembers}, inputs, 2, warm_up={"mib": 1})
    assert [len(done) for done in runs.values()] == [2, 2]
    processes = {name: {run["process"] for run in done} for name, done in runs.items()}
    assert all(len(ids) == 1 for ids in processes.values())
    assert len({os.getpid() % 10**5} | processes["a"] | processes["b"]) == 3
    for run in (*runs["a"], *runs["b"]):
        # The first run, on other inputs, does not count.
        assert (run["prepared"], run["size"]) == (2, 100)
        assert run["environment"] == 1 and run["threads"] == os.cpu_count()
        # Memory of the work is on top of what was prepared.
        assert run["peak_mib"] > 150 and 45 < run["work_mib"] < 75
        assert run["seconds"] > 0
    (a,), (b,) = processes.values()
    # Warm-up, a round, and one in reverse order.
    logged = (tmp_path / "log").read_text(encoding="utf-8").split()
    assert list(map(float, logged)) == [a, b, a, b, b, a]


def test_a_contender_that_fails_says_why() -> None:
    with pytest.raises(KeyError, match="nothing to run"):
        contest({"a": fails}, {}, 1)


def test_a_contender_may_report_a_time_of_its_own() -> None:
    harness._prepare(lambda _: lambda: {"seconds": 123456.7, "pairs": 3}, {})
    run = harness._run()
    # Five digits: the rest is noise.
    assert (run["seconds"], run["pairs"]) == (123460.0, 3.0)
    assert run["processor_seconds"] < 60


def test_time_is_measured_by_the_clock_and_by_the_processor() -> None:
    with timed() as run:
        time.sleep(0.2)
    assert run["seconds"] >= 0.2 > run["processor_seconds"]


def test_the_peak_is_of_the_precision() -> None:
    assert peak_gflops("fp32", size=64) > 0
    assert peak_gflops("bf16", size=64) > 0


@pytest.mark.parametrize(("bf16", "emulated"), [(90.0, False), (1.0, True)])
def test_bf16_at_less_than_a_quarter_of_fp32_is_emulated(
    bf16: float, emulated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    speeds = {"fp32": 100.0, "bf16": bf16}
    monkeypatch.setattr(harness, "peak_gflops", lambda precision, size: speeds[precision])
    assert bool(bf16_is_emulated()) == emulated
