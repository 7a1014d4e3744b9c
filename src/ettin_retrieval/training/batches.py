"""Which rows make a batch: shuffled anew each epoch, without duplicate texts, shared by processes.

The order depends on the seed and the epoch alone, so that a resumed run and a run of several
processes see the batches of an undisturbed run of one process. Every row is in one batch of each
epoch, and every epoch has the same number of batches.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import BatchSampler, Sampler

from ettin_retrieval.training.examples import Numbers, TrainingRows

PACKED_AT_ONCE = 16_384
"""Rows whose numbers are Python's while they are packed: bounds memory."""


class ShuffledBatches(Sampler[list[int]]):
    """Batches of rows in an order of their own for each epoch, drawn from seed + epoch."""

    def __init__(self, rows: int, batch_size: int, seed: int) -> None:
        self.rows = rows
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order = torch.randperm(self.rows, generator=generator)
        for part in torch.split(order, self.batch_size):
            yield part.tolist()

    def __len__(self) -> int:
        return -(-self.rows // self.batch_size)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, which decides the order."""
        self.epoch = epoch


class DistinctTextBatches(Sampler[list[int]]):
    """The same, with no text twice in a batch.

    Rows are taken in the epoch's order, each into the first batch that has room and none of its
    texts. Where texts repeat often, more batches are needed than rows would fill, and not equally
    many in every epoch; the largest of an epoch with fewer are then halved.

    Parameters
    ----------
    texts
        Of shape (rows, columns): the number of each row's texts, equal for equal texts.
    epochs
        How many there will be.
    """

    def __init__(self, texts: Numbers, batch_size: int, seed: int, epochs: int) -> None:
        self.texts = texts
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0
        self._packed: tuple[int, Numbers, list[int]] | None = None
        # The first epoch last: it is the one that stays.
        self.batches = max(len(self._pack(epoch)[1]) for epoch in reversed(range(epochs)))

    def __iter__(self) -> Iterator[list[int]]:
        rows, sizes = self._pack(self.epoch)
        start = 0
        for size in halved(sizes, self.batches):
            yield rows[start : start + size].tolist()
            start += size

    def __len__(self) -> int:
        return self.batches

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, which decides the order."""
        self.epoch = epoch

    def _pack(self, epoch: int) -> tuple[Numbers, list[int]]:
        """Rows batch by batch, and how many each batch has."""
        if self._packed is None or self._packed[0] != epoch:
            generator = torch.Generator().manual_seed(self.seed + epoch)
            rows = len(self.texts)
            order = torch.randperm(rows, generator=generator, dtype=torch.int32).numpy()
            batch = first_fit(self.texts, order, self.batch_size)
            packed = order[np.argsort(batch, kind="stable")]
            self._packed = epoch, packed, np.bincount(batch).tolist()
        return self._packed[1:]


def first_fit(texts: Numbers, order: Numbers, batch_size: int) -> Numbers:
    """The batch of every row, in the given order of rows.

    >>> texts = np.array([[1, 2], [1, 3], [4, 5], [6, 2]])
    >>> first_fit(texts, np.arange(4), batch_size=2).tolist()
    [0, 1, 0, 1]
    """
    batch_of = np.empty(len(order), dtype=np.int32)
    # Batches with room: their numbers in rising order, their texts, and how many rows they have.
    unfilled: list[int] = []
    held: dict[int, set[int]] = {}
    counts: dict[int, int] = {}
    made = 0
    for start in range(0, len(order), PACKED_AT_ONCE):
        part = texts[order[start : start + PACKED_AT_ONCE]].tolist()
        for place, row in enumerate(part, start):
            batch = next((b for b in unfilled if held[b].isdisjoint(row)), made)
            if batch == made:
                unfilled.append(batch)
                held[batch], counts[batch] = set(), 0
                made += 1
            batch_of[place] = batch
            held[batch].update(row)
            counts[batch] += 1
            if counts[batch] == batch_size:
                unfilled.remove(batch)
                del held[batch], counts[batch]
    return batch_of


def halved(sizes: list[int], wanted: int) -> list[int]:
    """Sizes of so many batches, by halving the largest, the last of them first.

    >>> halved([4, 4, 1], 5)
    [2, 2, 2, 2, 1]
    """
    sizes = list(sizes)
    while len(sizes) < wanted:
        largest = max(sizes)
        at = len(sizes) - 1 - sizes[::-1].index(largest)
        sizes[at : at + 1] = [largest - largest // 2, largest // 2]
    return sizes


class ShareOfBatches(BatchSampler):
    """The part of every batch that one of several processes trains on.

    Parameters
    ----------
    batch_sampler
        Gives the whole batches, the same in every process.
    rank, processes
        This process, counted from 0, and how many there are.
    undivided
        Give a batch that does not divide, such as the last of an epoch, whole to every process,
        because its rows need each other. Otherwise shares differ by a row, and a process that is
        left without any has the first row of the batch, which does not count.

    Attributes
    ----------
    shared
        Whether the batch given last is a share, and the others are with other processes.
    counted, whole
        Rows of the batch given last that count, and rows of the whole batch.

    >>> whole = BatchSampler(range(7), batch_size=4, drop_last=False)
    >>> list(ShareOfBatches(whole, 0, 2)), list(ShareOfBatches(whole, 1, 2))
    ([[0, 1], [4, 5]], [[2, 3], [6]])
    >>> list(ShareOfBatches(whole, 1, 2, undivided=True))
    [[2, 3], [4, 5, 6]]
    """

    def __init__(
        self,
        batch_sampler: BatchSampler | ShuffledBatches | DistinctTextBatches,
        rank: int,
        processes: int,
        undivided: bool = False,
    ) -> None:
        self.batch_sampler = batch_sampler
        self.rank = rank
        self.processes = processes
        self.undivided = undivided
        self.shared = True
        self.counted = self.whole = 0

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self.batch_sampler:
            self.whole = len(batch)
            size, left = divmod(len(batch), self.processes)
            self.shared = not (left and self.undivided)
            if not self.shared:
                self.counted = len(batch)
                yield batch
                continue
            start = self.rank * size + min(self.rank, left)
            share = batch[start : start + size + (self.rank < left)]
            self.counted = len(share)
            yield share or batch[:1]

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def set_epoch(self, epoch: int) -> None:
        """Pass on the epoch, which decides the order."""
        if not isinstance(self.batch_sampler, BatchSampler):
            self.batch_sampler.set_epoch(epoch)


def batch_sampler(
    rows: TrainingRows,
    objective: str,
    batch_size: int,
    seed: int,
    epochs: int,
    rank: int = 0,
    processes: int = 1,
) -> ShareOfBatches:
    """Batches for an objective.

    Parameters
    ----------
    batch_size
        Rows of a whole batch, over all processes.

    Contrastive batches hold no text twice, or it would be its own negative; one that does not
    divide stays whole, because its rows are each other's negatives.
    """
    if objective == "contrastive":
        whole = DistinctTextBatches(rows.texts, batch_size, seed, epochs)
        return ShareOfBatches(whole, rank, processes, undivided=True)
    return ShareOfBatches(ShuffledBatches(len(rows), batch_size, seed), rank, processes)
