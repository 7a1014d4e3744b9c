"""Mini-batches: the same losses in less memory, and errors that name the setting to change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.training import memory
from ettin_retrieval.training.finetune import Curve
from ettin_retrieval.training.memory import BatchPlan, is_out_of_memory
from ettin_retrieval.training.trainer import DevEvaluator
from tests.training_inputs import losses, settings, trained
from tests.unit.training.conftest import Calls, Change

ChangeLosses = Callable[[Change], Calls]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Curve]:
    """Curves of training on whole batches, by objective."""
    return {
        objective: trained(tmp_path_factory.mktemp(objective), settings(objective=objective))[1]
        for objective in ("contrastive", "triplet")
    }


def out_of_memory(*failing: int) -> Change:
    """Raise as torch does when memory runs out, at some calls."""

    def change(call: int, loss: torch.Tensor) -> torch.Tensor:
        if call in failing:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB")
        return loss

    return change


@pytest.mark.parametrize("objective", ["contrastive", "triplet"])
def test_mini_batches_have_the_losses_of_the_whole_batch(
    tmp_path: Path, whole: dict[str, Curve], objective: str
) -> None:
    curve = trained(tmp_path, settings(objective=objective, mini_batch_size=2))[1]
    assert losses(curve) == pytest.approx(losses(whole[objective]), abs=1e-5)
    assert [step for step, _ in curve.loss] == [step for step, _ in whole[objective].loss]


def test_out_of_memory_keeps_the_contrastive_batch(
    tmp_path: Path,
    whole: dict[str, Curve],
    change_losses: ChangeLosses,
    caplog: pytest.LogCaptureFixture,
) -> None:
    calls = change_losses(out_of_memory(1, 2))
    curve = trained(tmp_path, settings())[1]
    assert calls[:3] == [(4, None), (4, 2), (4, 1)]
    assert losses(curve) == pytest.approx(losses(whole["contrastive"]), abs=1e-5)
    assert [record.message for record in caplog.records if "out of memory" in record.message] == [
        f"finetuning: out of memory; starting over with {rows} rows at a time in batches of 4 "
        "(cached loss), accumulation 1"
        for rows in (2, 1)
    ]


def test_out_of_memory_halves_other_batches_and_doubles_accumulation(
    tmp_path: Path, whole: dict[str, Curve], change_losses: ChangeLosses
) -> None:
    calls = change_losses(out_of_memory(1))
    curve = trained(tmp_path, settings(objective="triplet"))[1]
    assert [rows for rows, _ in calls[:3]] == [4, 2, 2]
    assert losses(curve) == pytest.approx(losses(whole["triplet"]), abs=1e-5)


def test_late_out_of_memory_resumes_from_a_checkpoint_and_saves_the_plan(
    tmp_path: Path,
    whole: dict[str, Curve],
    change_losses: ChangeLosses,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # In the second epoch: a checkpoint follows the first one, at step 5.
    change_losses(out_of_memory(7))
    curve = trained(tmp_path, settings())[1]
    assert losses(curve) == pytest.approx(losses(whole["contrastive"]), abs=1e-5)
    assert "out of memory; resuming from checkpoint-5 with 2 rows at a time" in caplog.text
    restored = BatchPlan.of(settings(), tmp_path / "work")
    assert restored.mini_batch_size == 2, "a restart does not try the whole batch again"
    assert BatchPlan.of(settings(), tmp_path).mini_batch_size == 4


@pytest.mark.parametrize(("mini_batch", "rows"), [("auto", 1), (2, 2)])
def test_memory_that_never_suffices_is_an_input_error(
    tmp_path: Path, change_losses: ChangeLosses, mini_batch: object, rows: int
) -> None:
    change_losses(out_of_memory(*range(1, 9)))
    with pytest.raises(InputError, match=f"out of memory with {rows} rows at a time; set a sma"):
        trained(tmp_path, settings(mini_batch_size=mini_batch))


@pytest.mark.parametrize("call", [1, 3], ids=["before training", "while training"])
def test_out_of_memory_during_dev_evaluation_names_the_encoding_batch_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    calls: list[Any] = []
    embed = DevEvaluator.embed_inputs

    def failing(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        if len(calls) == call:
            raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate")
        return embed(*args, **kwargs)

    monkeypatch.setattr(DevEvaluator, "embed_inputs", failing)
    with pytest.raises(InputError, match=r"smaller encoding\.batch_size than 32"):
        trained(tmp_path, settings())


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("CUDA error: out of memory", True),
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", True),
        ("cuDNN error: CUDNN_STATUS_ALLOC_FAILED", True),
        ("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED", True),
        ("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes", True),
        ("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED", False),
    ],
)
def test_out_of_memory_is_recognised_by_the_message(message: str, expected: bool) -> None:
    assert is_out_of_memory(RuntimeError(message)) == expected


def test_ranks_share_a_batch_in_mini_batches_that_divide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = SimpleNamespace(num_processes=2, process_index=1)
    monkeypatch.setattr(memory, "process_state", lambda: two)
    plan = BatchPlan.of(settings(objective="triplet", batch_size=12, mini_batch_size=4), tmp_path)
    # Six rows a rank: four do not divide them, and would make the batch eight.
    assert (plan.mini_batch_size, plan.losses_per_step) == (3, 2)
    assert plan.rows_per_loss * plan.world_size * plan.losses_per_step == 12
    auto = BatchPlan.of(settings(batch_size=12), tmp_path)
    with pytest.raises(InputError, match=r"on process 1 of 2.*set a smaller finetuning.mini_b"):
        auto.smaller()
    with pytest.raises(InputError, match="batch_size: 9 does not divide by 2 processes"):
        BatchPlan.of(settings(batch_size=9), tmp_path)
    # A whole batch takes no more memory than a share.
    assert (auto.cached_mini_batch(), auto.cached_mini_batch(auto.world_size)) == (None, 6)
    triplets = BatchPlan.of(settings(objective="triplet", batch_size=12), tmp_path)
    assert triplets.cached_mini_batch(2) is None


def test_the_mini_batch_size_must_divide_the_batch_size() -> None:
    with pytest.raises(ValueError, match="batch size 4 is not a multiple of 3"):
        settings(mini_batch_size=3)
