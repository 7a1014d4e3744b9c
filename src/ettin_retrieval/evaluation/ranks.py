"""The processes that `torchrun` starts share an evaluation: one rank each, the first one writes."""

from __future__ import annotations

import os
from typing import Any

from ettin_retrieval.encoding import Crew
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


def crew() -> Crew:
    """All ranks, for encoding that they share."""
    return Crew(*rank_and_ranks(), gathered)


def shares(shards: int, rank: int, ranks: int) -> tuple[list[int], list[int]]:
    """Numbers of the shards that a rank encodes alone, and of those that all encode together.

    Together they encode what whole rounds leave over: a corpus of one shard too is the work of
    all, and its batches are those that one process makes.

    >>> shares(5, 0, 2), shares(5, 1, 2), shares(1, 0, 4), shares(3, 0, 1)
    (([0, 2], [4]), ([1, 3], [4]), ([], [0]), ([0, 1, 2], []))
    """
    rounds = shards - shards % ranks
    return list(range(rank, rounds, ranks)), list(range(rounds, shards))
