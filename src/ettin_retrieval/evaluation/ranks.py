"""The processes that `torchrun` starts share an evaluation: one rank each, the first one writes."""

from __future__ import annotations

import os
from typing import Any

from ettin_retrieval.processes import this_process


def rank_and_ranks() -> tuple[int, int]:
    """Which of how many processes this is; (0, 1) outside `torchrun`."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return 0, 1
    state = this_process()
    return state.process_index, state.num_processes


def gathered(value: Any) -> list[Any]:
    """Every rank's value, in order of rank, on every rank."""
    if rank_and_ranks()[1] == 1:
        return [value]
    from accelerate.utils import gather_object

    values: list[Any] = gather_object([value])
    return values
