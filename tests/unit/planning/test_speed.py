"""Speed of GPUs and of this machine."""

from __future__ import annotations

import pytest

from ettin_retrieval.planning.speed import GPUS, Speed
from ettin_retrieval.planning.stages import Stage


def test_hours_are_those_of_encoding_and_training() -> None:
    machine = Speed({"fp32": 1e9, "bf16": 2e9}, {"fp32": 5e8, "bf16": 1e9}, tokenised=1e9)
    stage = Stage("x", encoding=3600e9, training=3600e9, precision="fp32")
    assert machine.hours(stage) == 1 + 2
    assert machine.hours(stage._replace(precision="bf16")) == 0.5 + 1
    assert machine.hours(Stage("x", texts=10, disk=10.0)) == 0


def test_tokenising_counts_if_it_takes_longer_than_encoding() -> None:
    stage = Stage("x", tokens=3600e3, encoding=3600e9, precision="fp32")
    assert Speed({"fp32": 1e9}, {"fp32": 1e9}, tokenised=1e6).hours(stage) == 1.0
    assert Speed({"fp32": 1e9}, {"fp32": 1e9}, tokenised=1e2).hours(stage) == 10.0


def test_wide_encoders_come_nearer_to_a_gpus_peak() -> None:
    for gpu in GPUS.values():
        narrow, wide = gpu.speed(256, 1.0).encoding, gpu.speed(1792, 1.0).encoding
        assert narrow["bf16"] < wide["bf16"] < 0.6e12 * gpu.bf16
        assert narrow["fp32"] < wide["fp32"] < 0.75e12 * gpu.fp32
        assert wide["bf16"] == wide["fp16"] > wide["fp32"]


def test_an_h100_by_hand() -> None:
    rates = GPUS["H100"].speed(512, tokenised=7.0)
    assert rates.encoding["fp32"] == pytest.approx(0.75 * 67e12 / (1 + 24 * 20 / 512))
    assert rates.encoding["bf16"] == pytest.approx(0.6 * 989e12 / (1 + 16 * 989 / 3.35 / 512))
    assert rates.training == rates.encoding and rates.tokenised == 7.0
