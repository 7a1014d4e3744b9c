"""Batches that fit the memory: computed whole, or in pieces with the same outcome."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from ettin_retrieval.runtime.distributed import process_state
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.runtime.files import write_json
from ettin_retrieval.settings.schema import Settings

PLAN = "plan.json"
"""Beside the checkpoints: rows at a time, where memory did not suffice for more."""

OUT_OF_MEMORY = (
    "out of memory",
    "can't allocate memory",
    # CUBLAS_STATUS_ALLOC_FAILED, CUDNN_STATUS_ALLOC_FAILED and their kind
    "status_alloc_failed",
    # CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED
    "allocation_failed",
)
"""What errors of torch and its libraries say when memory runs out, in lower case."""


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
        Rows that are embedded at a time; a divisor of `batch_size`.
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
        process = process_state()
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
            piece=batch_size if wanted == "auto" else divisor(batch_size, wanted),
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
            There is no smaller piece, or the search is off.
        """
        if not self.may_shrink or self.piece == 1:
            several = (
                f" on process {self.rank} of {self.processes}, which cannot look for a smaller "
                "piece together, as one process does under mini_batch_size auto"
            )
            raise InputError(
                f"finetuning: out of memory with {self.piece} rows at a time"
                f"{several if self.processes > 1 else ''}; set a smaller "
                "finetuning.mini_batch_size, finetuning.gradient_checkpointing true, or shorter "
                "texts (encoders.*.max_passage_length)"
            )
        return replace(self, piece=divisor(self.batch_size, self.piece // 2))

    def as_kept(self, work: Path) -> BatchPlan:
        """The plan that an earlier run of the same configuration came to, or else this one."""
        path = work / PLAN
        if not self.may_shrink or not path.is_file():
            return self
        piece: int = json.loads(path.read_text(encoding="utf-8"))["piece"]
        return replace(self, piece=piece)

    def keep(self, work: Path) -> None:
        """Let `as_kept` find this plan."""
        write_json(work / PLAN, {"piece": self.piece})

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
    >>> is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"))
    True
    """
    # torch.OutOfMemoryError is a RuntimeError and has these words too.
    told = str(error).lower()
    return any(words in told for words in OUT_OF_MEMORY)


@contextmanager
def scoring_fits(batch_size: int) -> Iterator[None]:
    """Tell memory that runs out while scoring from memory that runs out while training.

    Smaller pieces of a training batch would not help.

    Raises
    ------
    InputError
        Memory ran out.
    """
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise InputError(
            "finetuning: out of memory while the development set was scored; set a smaller "
            f"encoding.batch_size than {batch_size}"
        ) from None


def divisor(batch: int, at_most: int) -> int:
    """The largest divisor of a batch up to a bound.

    A divisor, so that all pieces have the same size.

    >>> divisor(32, 16), divisor(12, 5), divisor(7, 3)
    (16, 4, 1)
    """
    return next(size for size in range(min(batch, at_most), 0, -1) if batch % size == 0)


def release_memory() -> None:
    """Give back the memory of objects that are gone."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
