"""The costs of stages, kept on the machine that ran them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ettin_retrieval.pipeline import costs_of, record_cost
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
