"""The plan as a table."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from ettin_retrieval.planning import report
from ettin_retrieval.planning.flops import Encoder
from ettin_retrieval.planning.report import duration, plan, render
from ettin_retrieval.planning.speed import Speed
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.settings.load import load_settings
from ettin_retrieval.settings.schema import Settings
from ettin_retrieval.sources import tiny

# What takes longest is made once for all tests.
ENCODERS: dict[tuple[int, bool], Encoder] = {}
BENCHMARK = cache(tiny.benchmark)


@pytest.fixture(autouse=True)
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is pinned and measured; in this process it is too late to pin."""
    made: list[Any] = []

    def counted(config: Any, recompute: bool) -> Encoder:
        return ENCODERS.setdefault((config.hidden_size, recompute), Encoder(config, recompute))

    def measure(_: object, precisions: set[str]) -> Speed:
        made.append(precisions)
        rates = dict.fromkeys(precisions, 1e12)
        return Speed(rates, rates, tokenised=1e9)

    monkeypatch.setattr(report, "pin_arithmetic", made.append)
    monkeypatch.setattr(report, "measure", measure)
    monkeypatch.setattr(report, "Encoder", counted)
    monkeypatch.setattr(tiny, "benchmark", BENCHMARK)
    return made


def settings(**changes: Any) -> Settings:
    return load_settings().with_changes(changes)


def test_every_stage_has_a_row() -> None:
    printed = render(plan(settings(model="17m"), "A100", ["SciFact", "NFCorpus"]))
    title, _, header, *rows = printed.split("\n")
    assert title == "17m: 16.8 million parameters, 7 layers, width 256; 2 tasks, 8,816 passages"
    columns = "texts tokens TFLOP disk memory precision here on A100 SXM 80 GB"
    assert header.split() == columns.split()
    assert [row.split()[0] for row in rows[:9]] == [
        "training_data",
        "benchmark_data",
        "heldout",
        "base_encoder",
        "negatives",
        "finetuning",
        "evaluate@base",
        "evaluate@finetuned",
        "in",
    ]
    assert rows[3].split() == ["base_encoder", "201.6", "MB"]
    assert rows[5].split()[:4] == ["finetuning", "2,222,802", "190.7", "M"]


def test_the_sum_is_that_of_the_stages() -> None:
    made = plan(settings(), "H100", "auto")
    last = next(line for line in render(made).split("\n") if line.startswith("in all"))
    here = duration(sum(map(made.here.hours, made.stages)))
    there = duration(sum(map(made.there.hours, made.stages)))
    assert last.endswith(there) and here in last


def test_the_notes_name_what_is_assumed() -> None:
    printed = render(plan(settings(), "H100", "auto"))
    assert "here: GFLOP/s measured now on 3 layers of this width: 1,000 encoding" in printed
    assert "assumed, not measured" in printed
    assert "needs more memory" not in printed


def test_this_machine_is_measured_as_the_stages_use_it(calls: list[Any]) -> None:
    for strict in (True, False):
        printed = render(plan(settings(strict=strict), "H100", "auto"))
        assert ("strict pins 2 threads" in printed) == strict
    assert calls == [True, {"fp32"}, False, {"fp32"}]


def test_only_precisions_of_the_stages_are_measured(calls: list[Any]) -> None:
    plan(settings(), "H100", "auto")
    assert calls[-1] == {"fp32"}
    precisions = {"finetuning.precision": "bf16", "evaluation.precision": "bf16"}
    plan(settings(**precisions), "H100", "auto")
    assert calls[-1] == {"bf16", "fp32"}, "the development set is chosen in fp32"


def test_an_unknown_gpu_is_reported_before_anything_is_counted(calls: list[Any]) -> None:
    with pytest.raises(InputError, match="--gpu: unknown GPU 'abacus'; there are H200, H100"):
        plan(settings(), "abacus", "auto")
    assert calls == []
