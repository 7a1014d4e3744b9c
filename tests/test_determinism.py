"""What every stage runs under, and what strict mode is said to cost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from benchmarks import contest

from ettin_retrieval.runtime import determinism
from ettin_retrieval.runtime.determinism import ALWAYS
from ettin_retrieval.runtime.device import pinning_costs

ROOT = Path(__file__).resolve().parents[1]

SHOWN = """
import os, sys
from ettin_retrieval.determinism import pin_arithmetic
pin_arithmetic(sys.argv[1] == "strict")
import torch
print(torch.get_num_threads(), os.environ["TOKENIZERS_PARALLELISM"], os.environ["GOMP_SPINCOUNT"])
"""


@pytest.mark.parametrize("mode", ["strict", "loose"])
def test_stages_tokenise_on_all_threads_whatever_is_pinned(mode: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ALWAYS}
    environment |= {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SHOWN, mode], env=environment, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    threads = determinism.THREADS if mode == "strict" else 1
    assert done.stdout.split() == [str(threads), "true", "1000"]
    assert ALWAYS.items() <= contest._environment().items()


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with more than strict mode uses, and no GPU."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    monkeypatch.setattr(determinism, "usable_cores", lambda: 64)
    monkeypatch.setattr(determinism, "wider_vectors", lambda: "avx512f")


def test_a_full_size_run_is_told_what_strict_mode_leaves_unused(large: None) -> None:
    (line,) = pinning_costs(True, "paper", "fp32")
    assert "2 threads and AVX2" in line and "64 cores, avx512f" in line
    assert "-S strict=false" in line
    assert pinning_costs(False, "paper", "fp32") == []
    assert pinning_costs(True, "embedded", "fp32") == []


def test_bf16_is_told_that_strict_mode_emulates_it(large: None) -> None:
    (line,) = pinning_costs(True, "embedded", "bf16")
    assert "no bf16 arithmetic" in line
    assert len(pinning_costs(True, "local", "bf16")) == 2


def test_a_gpu_or_a_small_machine_loses_nothing(
    large: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(torch.accelerator, "is_available", lambda: True)
        assert pinning_costs(True, "paper", "bf16") == []
    monkeypatch.setattr(determinism, "usable_cores", lambda: 2)
    monkeypatch.setattr(determinism, "wider_vectors", lambda: None)
    assert pinning_costs(True, "paper", "fp32") == []


def test_a_stage_warns_once_however_many_processes(
    large: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from ettin_retrieval.pipeline import warn_of_pinning
    from ettin_retrieval.settings.load import load_settings

    settings = load_settings(ROOT / "params.yaml").model_copy(update={"model": "1b"})
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        warn_of_pinning(settings, "fp32")
    assert [record.message.split(":")[0] for record in caplog.records] == ["strict"]
