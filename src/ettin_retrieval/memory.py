"""Batches that fit the memory: computed whole, or in pieces with the same outcome."""

from __future__ import annotations

import gc
from dataclasses import dataclass, replace

from ettin_retrieval.errors import InputError
from ettin_retrieval.params import Settings
from ettin_retrieval.processes import this_process


@dataclass(frozen=True)
class BatchPlan:
    """How a batch is computed: whole, or in pieces that fit the memory.

    Attributes
    ----------
    objective
        A contrastive batch stays one batch: the cached loss embeds it piece by piece. Others are
        means over rows, and are added up over pieces.
    batch_size
        Rows of a batch that one process trains on.
    piece
        Rows that are embedded at a time.
    accumulation
        Batches that a step of the optimizer adds up, as configured.
    may_shrink
        Whether a smaller piece is tried when memory runs out.
    rank, processes
        This process, counted from 0, and how many share each batch.
    """

    objective: str
    batch_size: int
    piece: int
    accumulation: int
    may_shrink: bool
    rank: int
    processes: int

    @classmethod
    def of(cls, settings: Settings) -> BatchPlan:
        """The plan to begin with.

        Raises
        ------
        InputError
            The batch does not divide by the number of processes.
        """
        process = this_process()
        processes = process.num_processes
        batch_size, remainder = divmod(settings.batch_size, processes)
        if remainder:
            raise InputError(
                f"finetuning.batch_size: {settings.batch_size} does not divide by "
                f"{processes} processes; take a multiple of {processes}"
            )
        wanted = settings.finetuning.mini_batch_size
        return cls(
            objective=settings.finetuning.objective,
            batch_size=batch_size,
            piece=batch_size if wanted == "auto" else min(wanted, batch_size),
            accumulation=settings.finetuning.gradient_accumulation,
            may_shrink=wanted == "auto" and processes == 1,
            rank=process.process_index,
            processes=processes,
        )

    @property
    def forward_size(self) -> int:
        """Rows that the trainer hands to the loss at a time."""
        return self.batch_size if self.objective == "contrastive" else self.piece

    @property
    def mini_batch(self) -> int | None:
        """Rows that the cached contrastive loss embeds at a time; None for the plain loss."""
        cached = self.objective == "contrastive" and self.piece < self.batch_size
        return self.piece if cached else None

    @property
    def undivided_mini_batch(self) -> int | None:
        """The same for a batch that a process has whole: no more memory than for its share."""
        contrastive_share = self.objective == "contrastive" and self.processes > 1
        return self.piece if contrastive_share else self.mini_batch

    @property
    def steps_accumulated(self) -> int:
        """Calls of the loss that make a step of the optimizer."""
        return self.accumulation * (self.batch_size // self.forward_size)

    def smaller(self) -> BatchPlan:
        """The same batch in smaller pieces.

        Raises
        ------
        InputError
            There is no smaller piece, or the settings forbid the search.
        """
        piece = next_smaller(self.batch_size, self.piece) if self.may_shrink else None
        if piece is None:
            raise InputError(
                f"finetuning: out of memory with {self.piece} rows at a time; set a smaller "
                "finetuning.mini_batch_size, finetuning.gradient_checkpointing true, or shorter "
                "texts (encoders.*.max_passage_length)"
            )
        return replace(self, piece=piece)

    def __str__(self) -> str:
        return (
            f"{self.piece} rows at a time in batches of {self.batch_size}"
            + (" (cached loss)" if self.mini_batch else "")
            + f", {self.steps_accumulated} added up"
        )


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an error of torch says that memory ran out, on whatever device.

    >>> is_out_of_memory(RuntimeError("CUDA out of memory. Tried to allocate 20 MiB"))
    True
    """
    # torch.OutOfMemoryError is a RuntimeError and has these words too.
    return "out of memory" in str(error).lower() or "can't allocate memory" in str(error).lower()


def next_smaller(batch: int, piece: int) -> int | None:
    """The largest divisor of the batch that is at most half of the piece; None below 1.

    A divisor, so that all pieces have the same size and their mean is the batch's.

    >>> next_smaller(32, 32), next_smaller(12, 4), next_smaller(7, 7), next_smaller(8, 1)
    (16, 2, 1, None)
    """
    return next((size for size in range(piece // 2, 0, -1) if batch % size == 0), None)


def release_memory() -> None:
    """Give back the memory of objects that are gone."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
