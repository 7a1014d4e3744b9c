"""One thread, and a hook between the trainer and its loss."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from ettin_retrieval.settings.schema import Settings
from ettin_retrieval.training import finetune
from ettin_retrieval.training.objectives import loss_for

Change = Callable[[int, torch.Tensor], torch.Tensor]
"""Takes the number of a call of the loss, from 1, and its value."""

Calls = list[tuple[int, int | None]]
"""Rows and mini-batch of every call of the loss."""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """On a busy machine, threads of so small an encoder mostly wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def change_losses(monkeypatch: pytest.MonkeyPatch) -> Callable[[Change], Calls]:
    """Change every loss on its way to the trainer; return the calls."""

    def hook(change: Change) -> Calls:
        calls: Calls = []

        def watched(
            model: Any, given: Settings, mini_batch: int | None = None, gather: bool = False
        ) -> torch.nn.Module:
            loss: Any = loss_for(model, given, mini_batch, gather)
            forward = loss.forward

            def changed(features: Any, labels: Any) -> torch.Tensor:
                calls.append((len(features[0]["input_ids"]), mini_batch))
                return change(len(calls), forward(features, labels))

            loss.forward = changed
            return loss

        monkeypatch.setattr(finetune, "loss_for", watched)
        return calls

    return hook
