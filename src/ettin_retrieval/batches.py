"""Which rows make a batch: shuffled anew each epoch, without duplicate texts, shared by processes.

The order depends on the seed and the epoch alone, so that a resumed run and a run of several
processes see the batches of an undisturbed run of one process.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from datasets import Dataset
from sentence_transformers.base.sampler import DefaultBatchSampler, NoDuplicatesBatchSampler
from torch.utils.data import BatchSampler, RandomSampler


class ShuffledBatchSampler(DefaultBatchSampler):
    """Batches of rows in an order of their own for each epoch, drawn from seed + epoch."""

    def __init__(self, dataset: Dataset, *, generator: torch.Generator, **options: Any) -> None:
        rows = RandomSampler(dataset, generator=generator)
        super().__init__(rows, generator=generator, **options)
        self.order = generator

    def __iter__(self) -> Iterator[list[int]]:
        self.order.manual_seed(self.seed + self.epoch)
        yield from super().__iter__()


class ShareOfBatches(BatchSampler):
    """The part of every batch that one of several processes trains on.

    All shares of a batch have the same size, as gathered losses and averaged gradients need. A
    batch that does not divide, such as the last of an epoch, is either given whole to every
    process, or what is left of it is dropped (with fewer rows than processes, rows repeat).

    Parameters
    ----------
    batch_sampler
        Gives the whole batches, the same in every process.
    rank, processes
        This process, counted from 0, and how many there are.
    undivided
        Give batches that do not divide whole.

    Attributes
    ----------
    shared
        Whether the batch given last is a share, and the others are with other processes.

    >>> whole = BatchSampler(range(7), batch_size=4, drop_last=False)
    >>> list(ShareOfBatches(whole, 0, 2)), list(ShareOfBatches(whole, 1, 2))
    ([[0, 1], [4]], [[2, 3], [5]])
    >>> list(ShareOfBatches(whole, 1, 2, undivided=True))
    [[2, 3], [4, 5, 6]]
    """

    def __init__(
        self, batch_sampler: Any, rank: int, processes: int, undivided: bool = False
    ) -> None:
        self.batch_sampler = batch_sampler
        self.rank = rank
        self.processes = processes
        self.undivided = undivided
        self.shared = True

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self.batch_sampler:
            size, left = divmod(len(batch), self.processes)
            self.shared = not (left and self.undivided)
            if not self.shared:
                yield batch
                continue
            size = max(1, size)
            start = self.rank * size
            yield [batch[i % len(batch)] for i in range(start, start + size)]

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def set_epoch(self, epoch: int) -> None:
        """Pass on the epoch, which decides the order."""
        self.batch_sampler.set_epoch(epoch)


def batch_sampler(
    rows: Dataset, objective: str, batch_size: int, seed: int, rank: int = 0, processes: int = 1
) -> ShareOfBatches:
    """Batches for an objective.

    Parameters
    ----------
    batch_size
        Rows of a whole batch, over all processes.

    Contrastive batches hold no text twice, or it would be its own negative; one that does not
    divide stays whole, because its rows are each other's negatives.
    """
    contrastive = objective == "contrastive"
    kind = NoDuplicatesBatchSampler if contrastive else ShuffledBatchSampler
    whole = kind(
        rows,
        batch_size=batch_size,
        drop_last=False,
        valid_label_columns=["label"],
        generator=torch.Generator(),
        seed=seed,
    )
    return ShareOfBatches(whole, rank, processes, undivided=contrastive)
