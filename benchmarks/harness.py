"""Run contenders in turn, each in its own process; measure what the machine can do at best."""

from __future__ import annotations

import gc
import os
import resource
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from ettin_retrieval.runtime.determinism import DEFAULTS

ROOT = Path(__file__).resolve().parents[1]

Inputs = dict[str, Any]  # sizes and data, the same for every contender
Run = dict[str, float]  # seconds, processor_seconds, peak_mib, work_mib and a contender's own
Runs = dict[str, list[Run]]  # by contender
Job = Callable[[], Run]  # does the work; may report other seconds, where not all of them count
Contender = Callable[[Inputs], Job]  # prepares a job; a function of a module, for another process


def contest(
    contenders: Mapping[str, Contender],
    inputs: Inputs,
    repetitions: int,
    warm_up: Inputs | None = None,
) -> Runs:
    """Run the contenders in turn on the same inputs; an idle one sleeps.

    Every second repetition runs in reverse order, so that a machine that changes its speed favours
    none of them. `warm_up` holds the inputs that differ in a first run, which does not count: it
    imports what is imported late.
    """
    runs: Runs = {name: [] for name in contenders}
    with ExitStack() as stack:
        processes = {
            name: stack.enter_context(ProcessPoolExecutor(1, get_context("spawn"), _begin))
            for name in contenders
        }
        for name, contender in contenders.items():
            if warm_up is not None:
                processes[name].submit(_prepare, contender, inputs | warm_up).result()
                processes[name].submit(_run).result()
            processes[name].submit(_prepare, contender, inputs).result()
        for repetition in range(repetitions):
            for name in list(contenders)[:: -1 if repetition % 2 else 1]:
                runs[name].append(processes[name].submit(_run).result())
    return runs


@contextmanager
def timed() -> Iterator[Run]:
    """Wall-clock seconds of a block, and processor seconds of all threads."""
    run: Run = {}
    start, processor = time.perf_counter(), time.process_time()
    yield run
    run["seconds"] = time.perf_counter() - start
    run["processor_seconds"] = time.process_time() - processor


def _begin() -> None:
    """The stages' environment, but with all cores; nothing is downloaded or printed."""
    os.environ.update(DEFAULTS)
    os.environ.update(OMP_NUM_THREADS=str(os.cpu_count()), HF_HUB_OFFLINE="1", TQDM_DISABLE="1")
    warnings.filterwarnings("ignore")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


_prepared: list[tuple[Job, float]] = []  # the job, and resident memory once it was ready, in MiB


def _prepare(contender: Contender, inputs: Inputs) -> None:
    _prepared.clear()
    gc.collect()
    job = contender(inputs)
    gc.collect()
    if sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forgets the peak
    _prepared.append((job, _memory_mib("VmRSS")))


def _run() -> Run:
    ((job, resting),) = _prepared
    with timed() as run:
        found = job()
    peak = _memory_mib("VmHWM")
    run |= found | {"peak_mib": peak, "work_mib": max(0.0, peak - resting)}
    return {name: float(f"{value:.5g}") for name, value in run.items()}


def _memory_mib(field: str) -> float:
    """`VmRSS`, resident now, or `VmHWM`, its peak; the peak of the process outside Linux."""
    if sys.platform != "linux":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # bytes on macOS
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition(f"{field}:")[2].split()[0]) / 1024


def peak_gflops(precision: str, device: str = "cpu", size: int | None = None) -> float:
    """GFLOP/s of the best of three products of square matrices, large enough to fill the device."""
    import torch

    size = size or (2048 if device == "cpu" else 8192)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    one = torch.randn(size, size, generator=torch.Generator().manual_seed(1)).to(device, dtype)
    seconds = []
    for _ in range(4):  # the first does not count
        start = time.perf_counter()
        one @ one
        if device != "cpu":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / min(seconds[1:]) / 1e9


def bf16_is_emulated() -> str:
    """Why bf16, up to a hundred times slower when emulated, is not worth timing; empty if it is."""
    fp32, bf16 = (peak_gflops(precision, size=256) for precision in ("fp32", "bf16"))
    if bf16 > fp32 / 4:
        return ""
    return f"No bf16 arithmetic in this processor: {bf16:.1f} GFLOP/s, in fp32 {fp32:.1f}."
