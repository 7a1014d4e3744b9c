"""The stage runner."""

from __future__ import annotations

import pytest
import torch

from ettin_retrieval.pipeline import warn_of_strict_mode
from ettin_retrieval.runtime import device
from ettin_retrieval.settings.load import load_settings
from tests.workspace import ROOT


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
