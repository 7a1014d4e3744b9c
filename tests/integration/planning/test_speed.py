"""The speed of this machine."""

from __future__ import annotations

import pytest

from ettin_retrieval.planning import speed
from ettin_retrieval.planning.flops import ETTIN_SHAPES, Encoder, modernbert_config
from ettin_retrieval.planning.speed import measure


def test_this_machine_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "PROBE_SECONDS", 0.01)
    rates = measure(Encoder(modernbert_config(ETTIN_SHAPES["17m"])), {"fp32"})
    assert rates.encoding.keys() == rates.training.keys() == {"fp32"}
    assert rates.encoding["fp32"] > 1e6 and rates.training["fp32"] > 1e6
    assert 1e3 < rates.tokenised < 1e9
