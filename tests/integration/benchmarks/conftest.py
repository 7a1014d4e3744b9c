"""Contenders in this process: the same calls, without the seconds that a new process takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
import torch
from benchmarks import encoding, finetuning, harness, memory, mining, search
from benchmarks.harness import Contender, Inputs, Runs


def in_this_process(
    contenders: Mapping[str, Contender],
    inputs: Inputs,
    repetitions: int,
    warm_up: Inputs | None = None,
) -> Runs:
    """In place of `contest`."""
    runs = {}
    for name, contender in contenders.items():
        harness._prepare(contender, inputs)
        runs[name] = [harness._run() for _ in range(repetitions)]
    return runs


@pytest.fixture(autouse=True)
def contests_in_this_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(encoding.SCIFACT, raising=False)
    for module in (encoding, finetuning, memory, mining, search):
        monkeypatch.setattr(module, "contest", in_this_process)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # miniatures gain nothing from more, and lose on a busy machine
    yield
    torch.set_num_threads(threads)
    harness._prepared.clear()
