"""The stage runner: the costs it records, the warning of strict mode."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from ettin_retrieval.pipeline import costs_of, record_cost, warn_of_strict_mode
from ettin_retrieval.runtime import device
from ettin_retrieval.settings.load import load_settings
from tests.workspace import ROOT


def test_costs_are_those_of_the_run_s_own_outputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings(ROOT / "params.yaml")
    monkeypatch.chdir(tmp_path)
    for output, change in (
        ("models/base", {}),
        ("data/scores/base", {}),
        ("data/negatives", {"recipe": "paper"}),
        ("data/training", {"model": "1b"}),
        ("data/benchmark", {"seed": 7}),
        ("tables", {}),
    ):
        record_cost(Path(output), 1.25, settings.model_copy(update=change))
    upstream = ["models/base", "data/scores/base", "data/negatives", "data/training"]
    costs = costs_of([*upstream, "data/benchmark"], settings)
    assert sorted(costs) == ["data/scores/base", "models/base"]
    assert costs["models/base"]["seconds"] == 1.2
    assert costs["models/base"]["peak_memory_mib"] > 0
    assert json.loads((tmp_path / "data/costs.json").read_text())["tables"]["model"] == "tiny"


def test_a_stage_warns_once_however_many_ranks(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    monkeypatch.setattr(device, "usable_cores", lambda: 64)
    settings = load_settings(ROOT / "params.yaml").with_changes({"model": "1b"})
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        warn_of_strict_mode(settings, "fp32")
    assert [record.message.split(":")[0] for record in caplog.records] == ["strict"]
