"""Same inputs, same bytes: threads and instruction set pinned before torch is imported."""

from __future__ import annotations

import hashlib
import os
import random
import sys
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

THREADS = 2
"""One thread or two sum in another order and give other weights: strict mode fixes the number."""

ALWAYS = {
    # Of a text's tokens none depends on another text: threads change no byte. Nothing here forks
    # after tokenising, which is what the tokenizers' own default is careful about.
    "TOKENIZERS_PARALLELISM": "true",
    # How long a thread that waits for another spins before it sleeps. Long spinning made training
    # of the embedded default several times slower wherever another process wanted a core; none
    # at all costs it a fifth where nobody does.
    "GOMP_SPINCOUNT": "1000",
}
"""Strict or not; what the user's environment says goes before it."""

_STRICT = {
    "OMP_NUM_THREADS": str(THREADS),
    "MKL_NUM_THREADS": str(THREADS),
    "OPENBLAS_NUM_THREADS": str(THREADS),
    # AVX2 is what every x86-64 server of the last ten years has; wider vectors round otherwise.
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_CBWR": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
    "FAISS_OPT_LEVEL": "avx2",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
}


def pin_arithmetic(strict: bool) -> None:
    """Fix what decides the order of floating-point sums; call before torch is imported.

    Raises
    ------
    RuntimeError
        torch, faiss or numpy's linear algebra are loaded already: too late to pin them.
    """
    for name, value in ALWAYS.items():
        os.environ.setdefault(name, value)
    if not strict:
        return
    if "torch" in sys.modules or "faiss" in sys.modules:
        raise RuntimeError("pin_arithmetic must be called before torch or faiss is imported")
    os.environ.update(_STRICT)


def pinning_costs(strict: bool, track: str, precision: str) -> list[str]:
    """What strict mode costs a run on this machine: one line each, none on a GPU.

    A GPU computes under it as it would without, and tokenising has threads of its own. Of the
    embedded track nothing is told: what it runs is small, and there to be the same everywhere.

    Parameters
    ----------
    track, precision
        The encoder's track, and the precision of what is to run.
    """
    import torch

    if not strict or torch.accelerator.is_available():
        return []
    told = []
    if precision == "bf16":
        told.append(
            "strict: AVX2, to which it pins a CPU, has no bf16 arithmetic, and emulating it is far "
            "slower than fp32; take -S strict=false or fp32"
        )
    cores, wide = usable_cores(), wider_vectors()
    if track != "embedded" and (cores > THREADS or wide):
        told.append(
            f"strict: pinned to {THREADS} threads and AVX2, below what this machine has ({cores} "
            f"cores{', ' + wide if wide else ''}), for the same bytes on every CPU; "
            "-S strict=false uses it all"
        )
    return told


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def wider_vectors() -> str | None:
    """The widest vectors the processor has beyond AVX2; None where none are known."""
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text(encoding="utf-8").split() if cpuinfo.is_file() else []
    return next((name for name in ("amx_bf16", "avx512_bf16", "avx512f") if name in flags), None)


def computed_by(libraries: Iterable[str], sources: Iterable[Path]) -> dict[str, Any]:
    """What besides its inputs decides the last digits of a number: part of every cache's key.

    Parameters
    ----------
    libraries
        Distributions whose release may change it.
    sources
        Files of the code that computes it.
    """
    import torch

    accelerator = torch.accelerator.current_accelerator()
    return {
        "code": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sources},
        "libraries": {library: version(library) for library in libraries},
        "pinned": {name: os.environ.get(name) for name in _STRICT},
        "threads": torch.get_num_threads(),
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "device": "cpu" if accelerator is None else accelerator.type,
    }


def seed_everything(seed: int, strict: bool) -> None:
    """Seed the global generators of random, numpy and torch, which libraries draw from."""
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    if strict:
        torch.set_num_threads(THREADS)
        torch.use_deterministic_algorithms(True, warn_only=True)
        # Filling fresh memory only shows who reads what was never written; it took a tenth of
        # the training time of small models.
        deterministic: Any = torch.utils.deterministic  # its attributes have no types
        deterministic.fill_uninitialized_memory = False
