"""The results ledger: one small JSON, and per-query scores, per model, arm and seed.

    results/MODEL/ARM-seedSEED.json              scores, tasks, provenance
    results/MODEL/ARM-seedSEED.queries.parquet   task, query_id, ndcg_at_10, mrr_at_10
    results/ledger.json                          sha256 of each of those files

An arm is a checkpoint and the recipe that trained it: `base`, `finetuned-guide`,
`finetuned-paper`. Tables, plots and verdicts are made from the ledger alone. Scores are fractions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

CQADUPSTACK = "CQADupstackRetrieval"
"""A task of the guide's whose score is the mean over `CQADUPSTACK_PARTS` tasks."""

CQADUPSTACK_PARTS = 12


@dataclass(frozen=True)
class Entry:
    """One row of the ledger.

    Attributes
    ----------
    model, checkpoint, recipe, seed
        The key: `150m`, `base` or `finetuned`, `guide` or `paper`, 42. The recipe is None where
        none was followed: of the base checkpoint, of BM25 and of a study's arms.
    scores
        Flat metrics: `SciFact.ndcg_at_10`, ..., and `AVERAGE` or
        `AVERAGE_ENG_V2` where no task is missing.
    tasks
        Task name to its split, number of queries, data source and revision.
    provenance
        Commit, changed files, hash of what the pipeline made on the way, checkpoint record,
        training data, settings, library versions, hardware, precision and costs.
    """

    model: str
    checkpoint: str
    seed: int
    recipe: str | None = field(default=None, kw_only=True)
    scores: dict[str, float]
    tasks: dict[str, dict[str, Any]]
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def arm(self) -> str:
        """The checkpoint, with the recipe that trained it."""
        return arm_name(self.checkpoint, self.recipe)

    @property
    def key(self) -> tuple[str, str, int]:
        """model, arm, seed"""
        return (self.model, self.arm, self.seed)

    @property
    def name(self) -> str:
        """Path below the ledger's directory, without suffix."""
        return f"{self.model}/{self.arm}-seed{self.seed}"


def arm_name(checkpoint: str, recipe: str | None) -> str:
    """A checkpoint's name among all that one model has.

    >>> arm_name("base", None), arm_name("finetuned", "guide")
    ('base', 'finetuned-guide')
    """
    return checkpoint if recipe is None else f"{checkpoint}-{recipe}"
