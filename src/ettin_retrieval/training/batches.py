"""Batches: their rows, shuffled anew each epoch and shared by the ranks, and their features.

Batches depend on the seed and the epoch alone, so a resumed run and a run on several ranks see
those of an uninterrupted run on one. Every epoch has each row once, and as many batches as others.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from torch.utils.data import Sampler

from ettin_retrieval.encoders.tokenise import Role, Texts, task_of, tokenise
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.training.examples import Known, TextNumbers, TrainingRows

logger = logging.getLogger("ettin_retrieval")

ALONE = 0.01
"""Share of rows alone in their batch from which on the log says so."""

PACKED_AT_ONCE = 16_384
"""Rows turned into Python lists at a time while they are packed: caps memory."""


class Share(NamedTuple):
    """The rows of a batch that one rank trains on."""

    rows: list[int]  # at least one, because every rank must call the encoder
    counted: int  # how many of them count: 0 if the row is another rank's
    batch_size: int
    divided: bool  # False if every rank has the whole batch
    left_out: Sequence[tuple[int, int]] = ()  # see `known_positives`; by row of the share


class SharedBatches(Sampler[Share]):
    """One rank's share of every batch, in an order drawn from seed + epoch.

    Parameters
    ----------
    texts
        Of shape (rows, columns): the number of each row's texts, equal for texts that are the same
        after normalisation.
    contrastive
        The rows of a batch are each other's negatives. So a batch has no text twice: where texts
        repeat often, an epoch takes more batches than its rows would fill, and the largest are
        halved in one that takes fewer than others. And a batch that does not divide, such as the
        last one, goes whole to every rank; other shares differ by a row.
    known
        Passages that are relevant to a row's query: in contrastive batches none is its negative.

    >>> texts = np.arange(7)[:, None]
    >>> one, *two = (
    ...     SharedBatches(texts, 4, seed=0, epochs=1, contrastive=False, rank=rank, world_size=size)
    ...     for rank, size in [(0, 1), (0, 2), (1, 2)]
    ... )
    >>> [share.rows for share in one]
    [[4, 0, 5, 3], [2, 6, 1]]
    >>> [[share.rows for share in of_rank] for of_rank in two]
    [[[4, 0], [2, 6]], [[5, 3], [1]]]
    """

    def __init__(
        self,
        texts: TextNumbers,
        batch_size: int,
        seed: int,
        epochs: int,
        contrastive: bool,
        rank: int = 0,
        world_size: int = 1,
        known: Known | None = None,
    ) -> None:
        self.texts, self.known = texts, known or {}
        self.seed, self.epoch = seed, 0
        self.contrastive = contrastive
        self.rank, self.world_size = rank, world_size
        self._pack = lru_cache(maxsize=1)(partial(pack, texts, batch_size, contrastive))
        # The first epoch last: it is the one that stays in the cache.
        self.batches = max(len(self._pack(seed + epoch)[1]) for epoch in reversed(range(epochs)))
        self.batch_sampler = self  # where transformers looks for `set_epoch`

    def __len__(self) -> int:
        return self.batches

    def check_contrast(self) -> None:
        """Where the rows of a batch are all the negatives there are: a row alone teaches nothing.

        Raises InputError if every row of the first epoch is alone, and warns if many are.
        """
        rows, sizes = self._pack(self.seed)
        alone = halved(sizes, self.batches).count(1)
        if alone == len(rows):
            raise InputError(
                "negatives.num_negatives: 0 leaves only the passages of other rows of a batch, and "
                f"each of the {alone:,} rows is alone in its batch, because it shares its query or "
                "passage with all others; set 1 or more"
            )
        if self.rank == 0 and alone > ALONE * len(rows):
            logger.warning(
                "finetuning: %s of %s rows are alone in their batch, because they share their "
                "query or passage with many others, and without negatives teach nothing; set "
                "negatives.num_negatives to 1 or more",
                f"{alone:,}",
                f"{len(rows):,}",
            )

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, which decides the order."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Share]:
        rows, sizes = self._pack(self.seed + self.epoch)
        start = 0
        for size in halved(sizes, self.batches):
            yield self._share(rows[start : start + size].tolist())
            start += size

    def contrasts(self) -> tuple[int, int]:
        """Pairs of a query and a negative in the first epoch, and how many of them are left out."""
        rows, sizes = self._pack(self.seed)
        pairs = left_out = start = 0
        for size in halved(sizes, self.batches):
            pairs += size * (size * (self.texts.shape[1] - 1) - 1)
            left_out += len(known_positives(self.texts[rows[start : start + size]], self.known))
            start += size
        return pairs, left_out

    def _share(self, batch: list[int]) -> Share:
        size, left = divmod(len(batch), self.world_size)
        known = known_positives(self.texts[batch], self.known) if self.contrastive else []
        if left and self.contrastive:
            return Share(batch, len(batch), len(batch), divided=False, left_out=known)
        start = self.rank * size + min(self.rank, left)
        rows = batch[start : start + size + (self.rank < left)]
        ours = [(row - start, column) for row, column in known if 0 <= row - start < len(rows)]
        return Share(rows or batch[:1], len(rows), len(batch), divided=True, left_out=ours)

    def weights(self, shares: list[Share]) -> list[float]:
        """Factors of one rank's losses in an optimizer step, which is their mean over all ranks.

        Where the step is a mean over rows, a smaller share weighs less, so the gradient does not
        depend on how rows are divided. Contrastive batches weigh the same whatever their size.
        """
        if self.contrastive:
            return [1.0] * len(shares)
        rows = sum(share.batch_size for share in shares)
        return [share.counted * (len(shares) * self.world_size) / rows for share in shares]


def pack(
    texts: TextNumbers, batch_size: int, distinct: bool, seed: int
) -> tuple[TextNumbers, list[int]]:
    """All rows in random order, batch by batch, and the size of each batch."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(texts), generator=generator, dtype=torch.int32).numpy()
    if distinct:
        batch = first_fit(texts, order, batch_size)
    else:
        batch = np.arange(len(texts), dtype=np.int32) // batch_size
    return order[np.argsort(batch, kind="stable")], np.bincount(batch).tolist()


def first_fit(texts: TextNumbers, order: TextNumbers, batch_size: int) -> TextNumbers:
    """The batch of every row, in the given order: the first with room and none of its texts.

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


def known_positives(texts: TextNumbers, known: Known) -> list[tuple[int, int]]:
    """Where a batch has passages that are relevant to a query, beside its own positive.

    Parameters
    ----------
    texts
        Of shape (rows, columns), the rows of the batch.

    Returns
    -------
    Rows of queries and numbers of passages, which are counted as the loss has them: the positives
    of all rows, then the first negatives of all rows, and so on.

    >>> batch = np.array([[0, 10, 11], [1, 20, 21], [2, 30, 31]])
    >>> known_positives(batch, {0: frozenset({10, 20, 31, 99}), 2: frozenset({11, 30})})
    [(0, 1), (0, 5), (2, 3)]
    """
    asked = [
        (row, known[query]) for row, query in enumerate(texts[:, 0].tolist()) if query in known
    ]
    if not asked:
        return []
    columns: dict[int, list[int]] = {}  # several where a row has a text twice
    for column, text in enumerate(texts[:, 1:].T.ravel().tolist()):
        columns.setdefault(text, []).append(column)
    present = set(columns)
    return sorted(
        (row, column)
        for row, of_query in asked
        for text in of_query & present
        for column in columns[text]
        if column != row
    )


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


class TrainingFeatures:
    """The training set for torch's DataLoader, which fetches a batch at a time.

    Texts are tokenised once, before training, as `model.preprocess` would for every batch anew.
    """

    def __init__(self, model: SentenceTransformer, rows: TrainingRows) -> None:
        self.rows = rows
        self.tokens: dict[Role, Texts] = {}
        places = []
        columns: dict[Role, slice] = {"query": slice(1), "passage": slice(1, None)}
        for role, of_role in columns.items():
            distinct, place = np.unique(rows.numbers[:, of_role], return_inverse=True)
            self.tokens[role] = tokenise(model, [rows.texts[number] for number in distinct], role)
            places.append(place)
        self.places = np.hstack(places)

    def __len__(self) -> int:
        return len(self.places)

    def __getitems__(self, share: Share) -> dict[str, Any]:
        """Features and labels, named as sentence-transformers' losses read them, and the share."""
        batch: dict[str, Any] = {}
        for column, places in enumerate(self.places[share.rows].T):
            role: Role = "passage" if column else "query"
            features = {**self.tokens[role].features(places), "task": task_of(role)}
            batch |= {f"{role}_{column}_{name}": feature for name, feature in features.items()}
        if self.rows.labels is not None:
            batch["label"] = torch.from_numpy(self.rows.labels[share.rows])
        elif share.left_out:  # for the contrastive loss, which has no labels of its own
            batch["label"] = torch.tensor(share.left_out)
        query_ids = [self.rows.query_ids[row] for row in share.rows]
        return {**batch, "query_ids": query_ids, "share": share}
