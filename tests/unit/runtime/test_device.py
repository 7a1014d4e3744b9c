"""What strict mode leaves unused of a machine."""

from __future__ import annotations

import pytest
import torch

from ettin_retrieval.runtime import device
from ettin_retrieval.runtime.device import strict_mode_warnings


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with more than strict mode uses, and without a GPU."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    monkeypatch.setattr(device, "usable_cores", lambda: 64)
    monkeypatch.setattr(device, "wider_vectors", lambda: "avx512f")


def test_a_full_size_run_learns_what_strict_mode_leaves_unused(large: None) -> None:
    (line,) = strict_mode_warnings(True, "paper", "fp32")
    assert "2 threads and AVX2" in line and "64 cores and avx512f" in line
    assert "-S strict=false" in line
    assert strict_mode_warnings(False, "paper", "fp32") == []
    assert strict_mode_warnings(True, "tiny", "fp32") == []


def test_bf16_is_emulated_in_strict_mode(large: None) -> None:
    (line,) = strict_mode_warnings(True, "tiny", "bf16")
    assert "bf16 is emulated under AVX2" in line
    assert len(strict_mode_warnings(True, "local", "bf16")) == 2


def test_a_gpu_loses_nothing(large: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    assert strict_mode_warnings(True, "paper", "bf16") == []


def test_a_small_machine_loses_nothing(large: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "usable_cores", lambda: 2)
    monkeypatch.setattr(device, "wider_vectors", lambda: None)
    assert strict_mode_warnings(True, "paper", "fp32") == []
