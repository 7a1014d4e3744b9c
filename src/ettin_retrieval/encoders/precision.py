"""Precision of a forward pass, and whether the hardware has it."""

from __future__ import annotations

import logging
import os
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import TYPE_CHECKING

from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.settings.sections import Precision

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

logger = logging.getLogger("ettin_retrieval")


def autocast(model: SentenceTransformer, precision: Precision) -> AbstractContextManager[object]:
    """Mixed precision for a forward pass; the parameters stay in fp32."""
    import torch

    if precision == "fp32":
        return nullcontext()
    check_precision(precision, model.device.type, "evaluation.precision")
    dtype = torch.bfloat16 if precision == "bf16" else torch.float16
    return torch.autocast(model.device.type, dtype=dtype)


def has_bf16(device: str) -> bool:
    """Whether a type of device computes in bf16 itself, as this process may use it."""
    import torch

    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device == "cpu" and _native_on_cpu() and not _pinned()


def _native_on_cpu() -> bool:
    import torch

    return bool(torch.cpu.get_capabilities().get("avx512_bf16", True))  # unknown on other CPUs


def _pinned() -> bool:
    return os.environ.get("ONEDNN_MAX_CPU_ISA") == "AVX2"


@cache  # warns once
def check_precision(precision: Precision, device: str, key: str) -> None:
    """Refuse a precision that the hardware does not have, and warn where a CPU emulates it.

    Parameters
    ----------
    device
        `cpu` or `cuda`.
    key
        The setting, for messages.

    Raises
    ------
    InputError
        fp16 on a CPU, or bf16 on a GPU that would emulate it, slower than fp32.
    """
    if precision == "fp16" and device == "cpu":
        raise InputError(f"params.yaml: {key}: fp16 needs a GPU; use fp32 or bf16 on a CPU")
    if precision != "bf16":
        return
    if device == "cuda" and not has_bf16(device):
        raise InputError(f"params.yaml: {key}: this GPU has no bf16; use fp16 or fp32")
    if device == "cpu" and not has_bf16(device):
        pinned = "in strict mode, which pins older instructions"
        why = pinned if _native_on_cpu() else "without avx512_bf16"
        logger.warning(
            "params.yaml: %s: bf16 is emulated on a CPU %s, tens of times slower than fp32",
            key,
            why,
        )
