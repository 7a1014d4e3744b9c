"""Which rows make a batch: shuffled anew each epoch, and shared by the ranks.

The order depends on the seed and the epoch alone, so a resumed run and a run on several ranks see
the batches of an uninterrupted run on one. Every epoch has each row once, and all epochs have the
same number of batches.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import BatchSampler, Sampler

from ettin_retrieval.training.examples import TextNumbers

PACKED_AT_ONCE = 16_384
"""Rows turned into Python lists at a time while they are packed: caps memory."""


class EpochBatches(Sampler[list[int]]):
    """Row numbers batch by batch, in an order drawn from seed + epoch.

    Parameters
    ----------
    texts
        Of shape (rows, columns): the number of each row's texts, equal for equal texts.
    epochs
        Number of epochs to come.
    distinct
        Put no text into a batch twice. Rows are taken in the epoch's order, each into the first
        batch that has room and none of its texts. Where texts repeat often, this takes more
        batches than rows would fill, and not the same number in every epoch: the largest batches
        of an epoch with fewer are halved.
    """

    def __init__(
        self, texts: TextNumbers, batch_size: int, seed: int, epochs: int, distinct: bool
    ) -> None:
        self.texts = texts
        self.batch_size = batch_size
        self.seed = seed
        self.distinct = distinct
        self.epoch = 0
        self._packed: tuple[int, TextNumbers, list[int]] | None = None
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

    def _pack(self, epoch: int) -> tuple[TextNumbers, list[int]]:
        """Rows batch by batch, and the size of each batch."""
        if self._packed is None or self._packed[0] != epoch:
            generator = torch.Generator().manual_seed(self.seed + epoch)
            rows = len(self.texts)
            order = torch.randperm(rows, generator=generator, dtype=torch.int32).numpy()
            if self.distinct:
                batch = first_fit(self.texts, order, self.batch_size)
            else:
                batch = np.arange(rows, dtype=np.int32) // self.batch_size
            packed = order[np.argsort(batch, kind="stable")]
            self._packed = epoch, packed, np.bincount(batch).tolist()
        return self._packed[1:]


def first_fit(texts: TextNumbers, order: TextNumbers, batch_size: int) -> TextNumbers:
    """The batch of every row, in the given order of rows.

    >>> texts = np.array([[1, 2], [1, 3], [4, 5], [6, 2]])
    >>> first_fit(texts, np.arange(4), batch_size=2).tolist()
    [0, 1, 0, 1]
    """
    batch_of = np.empty(len(order), dtype=np.int32)
    # Batches with room, in rising order: their texts, and their numbers of rows.
    unfilled: dict[int, set[int]] = {}
    sizes: dict[int, int] = {}
    opened = 0
    for start in range(0, len(order), PACKED_AT_ONCE):
        part = texts[order[start : start + PACKED_AT_ONCE]].tolist()
        for place, row in enumerate(part, start):
            batch = next((b for b, held in unfilled.items() if held.isdisjoint(row)), opened)
            if batch == opened:
                unfilled[batch], sizes[batch] = set(), 0
                opened += 1
            batch_of[place] = batch
            unfilled[batch].update(row)
            sizes[batch] += 1
            if sizes[batch] == batch_size:
                del unfilled[batch], sizes[batch]
    return batch_of


def halved(sizes: list[int], wanted: int) -> list[int]:
    """As many sizes as wanted, by halving the largest, the last of them first.

    >>> halved([4, 4, 1], 5)
    [2, 2, 2, 2, 1]
    """
    sizes = list(sizes)
    while len(sizes) < wanted:
        largest = max(sizes)
        at = len(sizes) - 1 - sizes[::-1].index(largest)
        sizes[at : at + 1] = [largest - largest // 2, largest // 2]
    return sizes


class Share(NamedTuple):
    """The rows of a batch that one rank trains on.

    Attributes
    ----------
    rows
        Row numbers; at least one, because every rank must call the encoder.
    counted
        How many of them count; 0 where the row is another rank's.
    batch_size
        Rows of the batch.
    divided
        False if every rank has the whole batch.
    """

    rows: list[int]
    counted: int
    batch_size: int
    divided: bool


class SharedBatches(Sampler[Share]):
    """One rank's share of every batch.

    Parameters
    ----------
    batch_sampler
        Yields whole batches, the same on every rank. transformers sets the epoch on this attribute.
    whole
        Give a batch that does not divide, such as the last of an epoch, whole to every rank,
        because its rows are each other's negatives. Otherwise shares differ by a row.

    >>> batches = BatchSampler(range(7), batch_size=4, drop_last=False)
    >>> [[share.rows for share in SharedBatches(batches, rank, 2)] for rank in (0, 1)]
    [[[0, 1], [4, 5]], [[2, 3], [6]]]
    >>> [share.rows for share in SharedBatches(batches, 1, 2, whole=True)]
    [[2, 3], [4, 5, 6]]
    """

    def __init__(
        self,
        batch_sampler: EpochBatches | BatchSampler,
        rank: int,
        world_size: int,
        whole: bool = False,
    ) -> None:
        self.batch_sampler = batch_sampler
        self.rank = rank
        self.world_size = world_size
        self.whole = whole

    def __iter__(self) -> Iterator[Share]:
        for batch in self.batch_sampler:
            size, left = divmod(len(batch), self.world_size)
            if left and self.whole:
                yield Share(batch, len(batch), len(batch), divided=False)
                continue
            start = self.rank * size + min(self.rank, left)
            rows = batch[start : start + size + (self.rank < left)]
            yield Share(rows or batch[:1], len(rows), len(batch), divided=True)

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def set_epoch(self, epoch: int) -> None:
        """Pass the epoch on."""
        if isinstance(self.batch_sampler, EpochBatches):
            self.batch_sampler.set_epoch(epoch)

    def weights(self, shares: list[Share]) -> list[float]:
        """Factors of this rank's losses in an optimizer step, which averages over all losses.

        Where the step should be a mean over rows, a smaller share weighs less, so the gradient
        does not depend on how the rows are divided. Contrastive batches weigh the same whatever
        their size.
        """
        if self.whole:
            return [1.0] * len(shares)
        rows = sum(share.batch_size for share in shares)
        return [share.counted * (len(shares) * self.world_size) / rows for share in shares]
