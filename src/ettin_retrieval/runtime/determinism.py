"""Same inputs, same bytes: threads and instruction set are pinned before torch is imported."""

from __future__ import annotations

import os
import random
import sys
from importlib.metadata import version
from typing import Any

THREADS = 2
"""Threads in strict mode: another number sums in another order and gives other weights."""

LIBRARIES = (
    "accelerate", "mteb", "numpy", "pytrec_eval-terrier", "sentence-transformers", "tokenizers",
    "torch", "transformers",
)  # fmt: skip
"""Libraries whose release may change a weight, an embedding or a score."""

DEFAULTS = {
    # Tokenising a text does not depend on the others, so threads change no byte, and nothing here
    # forks after tokenising, which is what the library warns about.
    "TOKENIZERS_PARALLELISM": "true",
    # How long a waiting thread spins before it sleeps. With the default, training `tiny` is
    # several times slower whenever another process wants a core; without spinning it loses a
    # fifth on an idle machine.
    "GOMP_SPINCOUNT": "1000",
}
"""Set whether strict or not, unless the environment already sets them."""

STRICT = {
    "OMP_NUM_THREADS": str(THREADS),
    "MKL_NUM_THREADS": str(THREADS),
    "OPENBLAS_NUM_THREADS": str(THREADS),
    # Every x86-64 server of the last ten years has AVX2; wider vectors round differently.
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_CBWR": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
    "FAISS_OPT_LEVEL": "avx2",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
}
"""Set in strict mode, whatever the environment says."""


def pin_arithmetic(strict: bool) -> None:
    """Fix what decides the order of floating-point sums; call before torch is imported.

    Raises
    ------
    RuntimeError
        torch or faiss is already imported, which is too late.
    """
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    if not strict:
        return
    if "torch" in sys.modules or "faiss" in sys.modules:
        raise RuntimeError("pin_arithmetic must be called before torch or faiss is imported")
    os.environ.update(STRICT)


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
        # Filling fresh memory takes a tenth of the training time of small models, and only
        # reveals code that reads memory it never wrote.
        deterministic: Any = torch.utils.deterministic  # its attributes have no types
        deterministic.fill_uninitialized_memory = False


def arithmetic() -> dict[str, Any]:
    """What decides the last digits of a number besides its inputs and this project's code.

    Part of the key of every cache.
    """
    import torch

    accelerator = torch.accelerator.current_accelerator()
    return {
        "libraries": {library: version(library) for library in LIBRARIES},
        "pinned": {name: os.environ.get(name) for name in STRICT},
        "threads": torch.get_num_threads(),
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "device": "cpu" if accelerator is None else accelerator.type,
    }
