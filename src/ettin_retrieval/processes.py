"""The processes of one run: one, or several under `torchrun` or `accelerate launch`."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from accelerate import PartialState

PATIENCE = timedelta(days=2)
"""How long a process waits for the others: shards of a large corpus take hours."""


def this_process() -> PartialState:
    """Rank and number of processes; joins them to a group at the first call.

    Accelerators speak by their own backend, processors by gloo, which accelerate takes only
    where it is told that there is nothing else.
    """
    import torch
    from accelerate import PartialState

    return PartialState(cpu=not torch.accelerator.is_available(), timeout=PATIENCE)
