"""Same inputs, same bytes: threads and instruction set pinned before torch is imported."""

from __future__ import annotations

import os
import random
import sys
from typing import Any

THREADS = 2
"""One thread or two sum in another order and give other weights: strict mode fixes the number."""

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
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # How long a thread that waits for another spins before it sleeps. Long spinning made training
    # of the embedded default several times slower wherever another process wanted a core; none
    # at all costs it a fifth where nobody does.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    if not strict:
        return
    if "torch" in sys.modules or "faiss" in sys.modules:
        raise RuntimeError("pin_arithmetic must be called before torch or faiss is imported")
    os.environ.update(_STRICT)


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
