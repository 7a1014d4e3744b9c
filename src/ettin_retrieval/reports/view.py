"""The one view of the ledger that all tables and plots are made from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ettin_retrieval.ledger.entry import Entry
from ettin_retrieval.ledger.store import read_ledger, read_queries
from ettin_retrieval.ledger.table import Key, Measured, measure, scores_table
from ettin_retrieval.reports.documents import points
from ettin_retrieval.reports.references import References, read_references

SIZES = ("tiny", "17m", "32m", "68m", "150m", "400m", "1b")
"""Models in order of size; all others follow, by name."""

BM25 = "bm25"
"""The lexical baseline's model name in the ledger."""

METRIC_NAMES = {
    "ndcg_at_10": "nDCG@10",
    "mrr_at_10": "MRR@10",
    "recall_at_100": "Recall@100",
    "map_at_100": "MAP@100",
}

NOT_RUN = "not run"


@dataclass(frozen=True)
class View:
    """Entries of a ledger, their scores as one table, and the expected scores.

    Attributes
    ----------
    scores
        As `ledger.table.scores_table` gives it.
    """

    directory: Path
    entries: list[Entry]
    scores: pd.DataFrame
    references: References

    @classmethod
    def read(cls, results: Path, expected: Path) -> View:
        """Read a ledger and a directory of expected scores."""
        entries, references = read_ledger(results), read_references(expected)
        return cls(results, entries, scores_table(entries, references.benchmarks), references)

    def measured(self, key: Key) -> Measured:
        """The ledger's score for a key."""
        return measure(self.scores, key)

    def queries(self, entry: Entry) -> pd.DataFrame:
        """Per-query scores of an entry."""
        return read_queries(self.directory, entry)

    def pairs(self) -> list[tuple[Entry, Entry]]:
        """Base and fine-tuned entry of each model, recipe and seed that has both, in order."""
        bases = {(e.model, e.seed): e for e in self.entries if e.checkpoint == "base"}
        tuned = [e for e in self.entries if e.checkpoint == "finetuned"]
        return [
            (bases[entry.model, entry.seed], entry)
            for entry in sorted(tuned, key=lambda e: (model_order(e.model), e.arm, e.seed))
            if (entry.model, entry.seed) in bases
        ]


def model_order(model: str) -> tuple[int, str]:
    """Key to sort models by: size, then name."""
    return (SIZES.index(model) if model in SIZES else len(SIZES), model)


def models_in_order(names: Iterable[str]) -> list[str]:
    """Distinct models, sorted by `model_order`."""
    return sorted(set(names), key=model_order)


def not_run(measured: Measured) -> str:
    """The cell of a missing score.

    >>> not_run(Measured(None, reason="3 of 15 tasks"))
    'not run (3 of 15 tasks)'
    """
    return f"{NOT_RUN} ({measured.reason})" if measured.reason else NOT_RUN


def mean_text(score: Measured) -> str:
    """A score in points, with its standard deviation over seeds if there are several.

    >>> mean_text(Measured(0.5, seeds=2, deviation=0.011)), mean_text(Measured(None))
    ('50.0 ± 1.1', 'not run')
    """
    if score.value is None:
        return not_run(score)
    if score.deviation is None:
        return points(score.value)
    return f"{points(score.value)} ± {points(score.deviation)}"


def counted(seeds: int) -> str:
    """A number of seeds in words.

    >>> counted(1), counted(3)
    ('1 seed', '3 seeds')
    """
    return f"{seeds} seed{'' if seeds == 1 else 's'}"
