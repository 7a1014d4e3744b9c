"""The trainer: diverging losses, resumption in mixed precision, and live curves."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from ettin_retrieval.encoders.precision import check_precision
from ettin_retrieval.runtime.errors import InputError, LossNotFiniteError
from ettin_retrieval.settings.load import load_settings
from ettin_retrieval.training import conditions
from ettin_retrieval.training.checkpoints import last_complete
from ettin_retrieval.training.conditions import training_precision
from ettin_retrieval.training.examples import Example
from ettin_retrieval.training.finetune import finetune
from tests.training_inputs import (
    ROOT,
    development,
    encoder,
    losses,
    settings,
    train_examples,
    trained,
)
from tests.unit.training.conftest import Calls, Change

ChangeLosses = Callable[[Change], Calls]


def nan_at(failing: int) -> Change:
    return lambda call, loss: loss * (math.nan if call == failing else 1)


def test_a_loss_that_is_not_finite_is_reported_with_step_and_queries(
    tmp_path: Path, change_losses: ChangeLosses
) -> None:
    change_losses(nan_at(3))
    with pytest.raises(InputError, match=r"loss is nan at step 3, batch of queries (q\d+(, )?){4}"):
        trained(tmp_path, settings())


def test_equal_queries_are_reported_by_their_own_ids(
    tmp_path: Path, change_losses: ChangeLosses
) -> None:
    twice = [Example("ash", f"ash {i}", [f"elm {i}"], query_id=f"id{i}") for i in range(2)]
    change_losses(nan_at(1))
    with pytest.raises(LossNotFiniteError, match=r"batch of queries id[01];"):
        trained(tmp_path, settings(), twice)


def test_other_errors_are_not_caught(tmp_path: Path, change_losses: ChangeLosses) -> None:
    def failing(call: int, loss: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("shapes do not match")

    change_losses(failing)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        trained(tmp_path, settings())


def test_training_in_bf16_resumes_and_leaves_an_encoder_in_fp32(
    tmp_path: Path,
    change_losses: ChangeLosses,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    given = settings(precision="bf16")
    check_precision.cache_clear()
    model, curve = trained(tmp_path / "whole", given)
    if "avx512_bf16" not in Path("/proc/cpuinfo").read_text():
        assert caplog.text.count("bf16 is emulated on a CPU without avx512_bf16") == 1
    assert not {"forward", "_original_forward"} & set(vars(model))
    assert model.encode(["ash and elm"]).dtype == np.float32
    plain = trained(tmp_path / "plain", settings())[1]
    assert losses(curve) == pytest.approx(losses(plain), abs=0.05)
    assert losses(curve) != losses(plain), "the arithmetic differs"

    change_losses(nan_at(8))
    with pytest.raises(InputError, match="loss is nan at step 8"):
        trained(tmp_path / "resumed", given)
    monkeypatch.undo()
    work = tmp_path / "resumed" / "work"
    assert last_complete(work) is not None
    again = encoder(tmp_path / "again", given)
    assert finetune(again, train_examples(), development(), given, work) == curve
    pairs = zip(model.state_dict().values(), again.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("failing", [2, 8, None])
def test_a_resumed_run_that_keeps_the_last_weights_ends_as_an_undisturbed_one(
    tmp_path: Path,
    change_losses: ChangeLosses,
    monkeypatch: pytest.MonkeyPatch,
    failing: int | None,
) -> None:
    """Before the first checkpoint, after one, and with all steps done but nothing written."""
    given = settings(keep="last", learning_rate=0.05)
    model, curve = trained(tmp_path / "whole", given)
    work = tmp_path / "resumed" / "work"
    if failing is None:
        trained(tmp_path / "resumed", given)
    else:
        change_losses(nan_at(failing))
        with pytest.raises(InputError, match=f"loss is nan at step {failing}"):
            trained(tmp_path / "resumed", given)
        monkeypatch.undo()
    found = last_complete(work)
    assert (found and found.name) == {2: None, 8: "checkpoint-5", None: "checkpoint-10"}[failing]
    again = encoder(tmp_path / "again", given)
    assert finetune(again, train_examples(), development(), given, work) == curve
    assert curve.best_step == 10
    pairs = zip(model.state_dict().values(), again.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize(
    ("recipe", "given", "native", "precision", "lines"),
    [
        ("paper", "auto", True, "bf16", 0),
        ("paper", "auto", False, "fp32", 1),
        # Who asks for it gets it, with `check_precision`'s warning.
        ("paper", "bf16", False, "bf16", 0),
        ("guide", "auto", True, "fp32", 0),
        ("guide", "bf16", True, "bf16", 0),
    ],
)
def test_precision_is_the_recipe_s_where_the_hardware_has_it(
    recipe: str,
    given: str,
    native: bool,
    precision: str,
    lines: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    changes = {"recipe": recipe, "finetuning.precision": given}
    chosen = load_settings(ROOT / "params.yaml").with_changes(changes)
    conditions._say_that_fp32_is_taken.cache_clear()
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": native})
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native)
    for device in ("cpu", "cuda"):
        for _ in range(2):
            assert training_precision(chosen, device) == precision
    assert len(caplog.messages) == 2 * lines, "one for each device"
    # Strict mode pins the CPU to instructions without bf16.
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    expected = "bf16" if given == "bf16" else "fp32"
    assert training_precision(chosen, "cpu") == expected


def test_what_the_hardware_trained_in_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    given = settings(precision="auto", epochs=1).with_changes({"recipe": "paper"})
    assert given.resolved()["finetuning"]["precision"] == "bf16", "what the recipe asks for"
    assert trained(tmp_path, given)[1].conditions["precision"] == "fp32", "what was possible"


def test_dvclive_has_the_curve_by_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A Git repository without commits, in which DVCLive finds no revision.
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    monkeypatch.chdir(tmp_path)
    _, curve = trained(tmp_path, settings())
    live = tmp_path / "work" / "live" / "plots" / "metrics"
    loss = pd.read_csv(live / "loss.tsv", sep="\t")
    assert list(zip(loss["step"], loss["loss"], strict=True)) == curve.loss
    dev = pd.read_csv(live / "dev_ndcg_at_10.tsv", sep="\t")
    assert list(zip(dev["step"], dev["dev_ndcg_at_10"], strict=True)) == curve.dev[1:]
