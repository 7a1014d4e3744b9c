"""Random choices that are the same on every machine and in every Python version."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

VERSION = "1"
"""Version of the tiny world: changes whenever a byte of what is generated changes."""

T = TypeVar("T")


class Draw:
    """A sequence of random choices, seeded with the version and a name.

    Python guarantees the sequence of `random.Random.random`, but not that of `choice` and
    `sample`.
    """

    def __init__(self, *name: str) -> None:
        self._next = random.Random("/".join((VERSION, *name))).random

    def chance(self, share: float) -> bool:
        return self._next() < share

    def below(self, bound: int) -> int:
        """A whole number from 0 to bound - 1."""
        return int(self._next() * bound)

    def other(self, bound: int, than: int) -> int:
        """A number below the bound, but not this one."""
        return (than + 1 + self.below(bound - 1)) % bound

    def one(self, items: Sequence[T]) -> T:
        return items[self.below(len(items))]

    def several(self, items: Sequence[T], count: int) -> list[T]:
        """Different items in random order; all if there are fewer."""
        left = list(items)
        return [left.pop(self.below(len(left))) for _ in range(min(count, len(left)))]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        return self.several(items, len(items))
