"""The machine: cores, vector instructions, GPU, and what strict mode leaves unused of them."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

from ettin_retrieval.runtime.determinism import THREADS

CPUINFO = Path("/proc/cpuinfo")


def strict_mode_warnings(strict: bool, track: str, precision: str) -> list[str]:
    """Lines on how strict mode slows down an encoder of a track in a precision.

    On a GPU it costs nothing measurable. The track `tiny` exists to be the same everywhere, so
    unused cores are not reported for it.
    """
    import torch

    if not strict or torch.accelerator.is_available():
        return []
    lines = []
    if precision == "bf16":
        lines.append(
            "strict: bf16 is emulated under AVX2, to which strict mode pins the CPU, and far "
            "slower than fp32; use fp32 or -S strict=false"
        )
    cores, wide = usable_cores(), wider_vectors()
    if track != "tiny" and (cores > THREADS or wide):
        lines.append(
            f"strict: pinned to {THREADS} threads and AVX2 for the same bytes on every CPU; this "
            f"machine has {cores} cores{' and ' + wide if wide else ''}, which -S strict=false uses"
        )
    return lines


def usable_cores() -> int:
    """Cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def wider_vectors() -> str | None:
    """The widest vector extension beyond AVX2; None where none is known."""
    flags = CPUINFO.read_text(encoding="utf-8").split() if CPUINFO.is_file() else []
    return next((name for name in ("amx_bf16", "avx512_bf16", "avx512f") if name in flags), None)


def device_type() -> str:
    """Type of the device that checkpoints are loaded to: `cuda` or `cpu`."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def hardware() -> dict[str, Any]:
    """Processor, cores, memory and GPU of this machine."""
    import torch

    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(pages / 2**30),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "gpus": torch.cuda.device_count(),
        "system": platform.system(),
    }


def _processor() -> str:
    lines = CPUINFO.read_text(encoding="utf-8").splitlines() if CPUINFO.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return next(iter(names), platform.processor() or platform.machine())
