"""Rank, world size and all-gather: one process, or several under `torchrun`."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from accelerate import PartialState

TIMEOUT = timedelta(days=2)
"""How long a rank waits for the others: shards of a large corpus take hours."""


def process_state() -> PartialState:
    """accelerate's state of this process; the first call joins the process group.

    Uses the accelerator's own backend, or gloo on a machine without one.
    """
    import torch
    from accelerate import PartialState

    return PartialState(cpu=not torch.accelerator.is_available(), timeout=TIMEOUT)


def rank_and_world_size() -> tuple[int, int]:
    """Rank of this process and number of ranks; (0, 1) outside `torchrun`."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return 0, 1
    state = process_state()
    return state.process_index, state.num_processes


def all_gather(value: Any) -> list[Any]:
    """The value of every rank, in order of rank, on every rank."""
    if rank_and_world_size()[1] == 1:
        return [value]
    from accelerate.utils import gather_object

    values: list[Any] = gather_object([value])
    return values


def is_first_rank() -> bool:
    """Whether this is the rank that writes and logs."""
    return int(os.environ.get("RANK", "0")) == 0
