"""Batches that fit the memory: computed at once, or in mini-batches with the same result."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from accelerate.utils import release_memory
from sentence_transformers import SentenceTransformer
from transformers import TrainerState

from ettin_retrieval.runtime.distributed import process_state
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.runtime.files import read_json, write_json
from ettin_retrieval.settings.schema import Settings
from ettin_retrieval.training.checkpoints import last_complete

logger = logging.getLogger("ettin_retrieval")

PLAN = "plan.json"
"""Beside the checkpoints: the mini-batch size, where memory did not suffice for the batch."""

OUT_OF_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "status_alloc_failed",  # CUBLAS_STATUS_ALLOC_FAILED, CUDNN_STATUS_ALLOC_FAILED, ...
    "allocation_failed",  # CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED
)
"""Parts of torch's errors, in lower case. accelerate's `should_reduce_batch_size` does not know
those of cuBLAS and cuDNN, nor the driver's "CUDA error: out of memory"."""


@dataclass(frozen=True)
class BatchPlan:
    """How each rank computes its share of a batch.

    A contrastive batch stays one batch: the cached loss encodes it mini-batch by mini-batch. Other
    losses are means over rows, so gradients of mini-batches are accumulated.
    """

    contrastive: bool
    batch_size: int  # rows of a batch that one rank trains on
    mini_batch_size: int  # rows encoded at a time; a divisor of batch_size
    accumulation: int  # batches per optimizer step
    may_shrink: bool  # whether to try a smaller mini-batch when memory runs out
    rank: int
    world_size: int

    @classmethod
    def of(cls, settings: Settings, work: Path) -> BatchPlan:
        """The plan to begin with, or the one that an interrupted run saved in its directory.

        An InputError if the batch does not divide by the world size.
        """
        state = process_state()
        batch_size, remainder = divmod(settings.batch_size, state.num_processes)
        if remainder:
            raise InputError(
                f"finetuning.batch_size: {settings.batch_size} does not divide by "
                f"{state.num_processes} processes; take a multiple of {state.num_processes}"
            )
        wanted = settings.finetuning.mini_batch_size
        mini_batch_size = batch_size if wanted == "auto" else divisor(batch_size, wanted)
        may_shrink = wanted == "auto" and state.num_processes == 1
        if may_shrink and (work / PLAN).is_file():
            mini_batch_size = read_json(work / PLAN)["mini_batch_size"]
        return cls(
            contrastive=settings.finetuning.objective == "contrastive",
            batch_size=batch_size,
            mini_batch_size=mini_batch_size,
            accumulation=settings.finetuning.gradient_accumulation,
            may_shrink=may_shrink,
            rank=state.process_index,
            world_size=state.num_processes,
        )

    @property
    def rows_per_loss(self) -> int:
        """Rows of this rank per call of the loss."""
        return self.batch_size if self.contrastive else self.mini_batch_size

    @property
    def losses_per_step(self) -> int:
        """Calls of the loss per optimizer step."""
        return self.accumulation * (self.batch_size // self.rows_per_loss)

    def cached_mini_batch(self, shares: int = 1) -> int | None:
        """Mini-batch of the cached loss for some of a batch's shares; None for the plain loss."""
        too_many = self.mini_batch_size < self.batch_size * shares
        return self.mini_batch_size if self.contrastive and too_many else None

    def smaller(self) -> BatchPlan:
        """The same batch in smaller mini-batches; an InputError if there are none."""
        if self.may_shrink and self.mini_batch_size > 1:
            size = divisor(self.batch_size, self.mini_batch_size // 2)
            return replace(self, mini_batch_size=size)
        where = ""
        if self.world_size > 1:
            where = (
                f" on process {self.rank} of {self.world_size}, where mini_batch_size auto does "
                "not try smaller ones"
            )
        raise InputError(
            f"finetuning: out of memory with {self.mini_batch_size} rows at a time{where}; set a "
            "smaller finetuning.mini_batch_size, finetuning.gradient_checkpointing true, or "
            "a smaller finetuning.max_passage_length"
        )

    def __str__(self) -> str:
        cached = " (cached loss)" if self.cached_mini_batch() else ""
        return (
            f"{self.mini_batch_size} rows at a time in batches of {self.batch_size}{cached}, "
            f"accumulation {self.losses_per_step}"
        )


def shrinking_until_it_fits(
    train: Callable[[BatchPlan], TrainerState],
    plan: BatchPlan,
    model: SentenceTransformer,
    work: Path,
) -> TrainerState:
    """Train by a plan, and by a smaller one each time memory runs out, while there is one."""
    # Only a second attempt needs the weights of the start.
    start = {}
    if plan.may_shrink:
        start = {name: tensor.cpu().clone() for name, tensor in model.state_dict().items()}
    while True:
        try:
            return train(plan)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            plan = plan.smaller()
        # Here the error is gone, and with it the tensors that its traceback held.
        release_memory()
        model.load_state_dict(start)
        write_json(work / PLAN, {"mini_batch_size": plan.mini_batch_size})
        checkpoint = last_complete(work)
        how = "starting over" if checkpoint is None else f"resuming from {checkpoint.name}"
        logger.warning("finetuning: out of memory; %s with %s", how, plan)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an error of torch, on any device, says that memory ran out.

    >>> is_out_of_memory(RuntimeError("CUDA out of memory. Tried to allocate 20 MiB"))
    True
    """
    return any(words in str(error).lower() for words in OUT_OF_MEMORY)


def divisor(batch: int, at_most: int) -> int:
    """The largest divisor of a batch up to a bound, so that mini-batches have one size.

    >>> divisor(32, 16), divisor(12, 5), divisor(7, 3)
    (16, 4, 1)
    """
    return next(size for size in range(min(batch, at_most), 0, -1) if batch % size == 0)
