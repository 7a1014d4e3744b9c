"""What a machine can do at best: the product of two square matrices."""

from __future__ import annotations

import time

SIZE = 2048
"""Rows and columns: large enough that only the arithmetic counts."""

PROBE_SIZE = 256
"""The same, where a product may be so slow that a large one would take minutes."""


def peak_gflops_per_second(precision: str, device: str = "cpu", size: int = SIZE) -> float:
    """Best of three products of square matrices, after one that does not count."""
    import torch

    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    one = torch.randn(size, size, generator=torch.Generator().manual_seed(1)).to(device, dtype)
    other = one.T.contiguous()
    best = float("inf")
    for attempt in range(4):
        start = time.perf_counter()
        one @ other
        if device != "cpu":
            torch.cuda.synchronize()
        if attempt:
            best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best / 1e9


def bf16_is_emulated() -> str | None:
    """Why bf16 is not worth timing on this processor; None where it is.

    Without bf16 instructions PyTorch multiplies element by element, a hundred times slower
    than in fp32: a benchmark would take hours to say so.
    """
    fp32, bf16 = (peak_gflops_per_second(p, size=PROBE_SIZE) for p in ("fp32", "bf16"))
    if bf16 > fp32 / 4:
        return None
    return (
        "this processor has no bf16 arithmetic: a product of matrices of "
        f"{PROBE_SIZE} x {PROBE_SIZE} runs at {bf16:.1f} GFLOP/s, in fp32 at {fp32:.1f}"
    )
