"""TODO: reports.tables.layout."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ettin_retrieval.ledger.entry import Entry
from ettin_retrieval.reports.documents import points, signed
from ettin_retrieval.reports.measure import Measured, measure
from ettin_retrieval.reports.references import Expected, References
from ettin_retrieval.reports.tables.guide_notes import NOT_RUN, SIZES

NONE = "--"
"""A cell that stands for nothing: no expected value, no interval."""

BM25 = "bm25"
"""The lexical baseline's name in the ledger (`ettin_retrieval.evaluation.bm25` writes it)."""


def not_run(measured: Measured) -> str:
    """The cell of a score that is not there.

    >>> not_run(Measured(None, reason="3 of 15 tasks"))
    'not run (3 of 15 tasks)'
    """
    return f"{NOT_RUN} ({measured.reason})" if measured.reason else NOT_RUN


def model_order(model: str) -> tuple[int, str]:
    """Key to sort models by: size, then name."""
    return (SIZES.index(model) if model in SIZES else len(SIZES), model)


def models_in_order(names: Iterable[str]) -> list[str]:
    return sorted(set(names), key=model_order)


@dataclass(frozen=True)
class Ledger:
    """What every table reads: entries, per-query scores and references."""

    directory: Path
    entries: list[Entry]
    references: References

    def measured(self, expected: Expected) -> Measured:
        """The ledger's score for an expected one."""
        return measure(self.entries, expected, self.references.benchmarks)


def counted(seeds: int) -> str:
    return f"{seeds} seed{'' if seeds == 1 else 's'}"


def seeds_text(score: Measured) -> str:
    """How many seeds a mean is over, where that is not plainly one.

    >>> seeds_text(Measured(0.5, seeds=3)), seeds_text(Measured(0.5, seeds=1, partial=1))
    (', 3 seeds', ', 1 of 2 seeds')
    """
    if score.partial:
        return f", {score.seeds} of {counted(score.seeds + score.partial)}"
    return f", {counted(score.seeds)}" if score.seeds > 1 else ""


def mean_text(score: Measured) -> str:
    if score.value is None:
        return not_run(score)
    if score.deviation is None:
        return points(score.value)
    return f"{points(score.value)} ± {points(score.deviation)}"


def difference_text(base: Measured, tuned: Measured) -> str:
    if base.value is None or tuned.value is None:
        return NONE
    return signed(tuned.value - base.value)
