"""Entries of the ledger: what a checkpoint scored, and which runs measured it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from ettin_retrieval.runtime.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

Lengths = tuple[int | None, int | None]
"""Tokens at which queries and passages are cut; None where that is not known, or nothing is."""

MENTIONED = 0.01
"""A share of cut texts above this is said beside the score."""

SCHEMA = 2
"""Version of the ledger's files. `ettin-retrieval migrate` converts earlier ones."""


@dataclass(frozen=True)
class Entry:
    """Scores of one checkpoint.

    Attributes
    ----------
    model, checkpoint, recipe, seed
        The key: `150m`, `base` or `finetuned`, `guide` or `paper`, 42. The recipe is None where
        none was followed: for base checkpoints, BM25 and the arms of a study.
    scores
        Flat metrics, fractions: averages of complete benchmarks, then `SciFact.ndcg_at_10`, ...
    tasks
        Task to split, number of queries and passages, data source and revision, and as `cut` how
        many queries and passages are longer than the encoder reads, and their mean lengths in its
        tokens: `{"queries": [cut, all], "passages": [cut, all], "mean_tokens": {"queries": 8.1,
        "passages": 301.5}}`.
    weights
        The record of the checkpoint: fingerprint, parameters, pooling, lengths, origin.
    precision
        Of the forward passes that were scored.
    runs
        The runs that measured the tasks: `run` (file and id of the record, such as
        `run-guide-seed42#0a1b2c3d4e5f`), `outputs_sha256` (what the pipeline made on the way to
        the scores) and `tasks`.
    """

    model: str
    checkpoint: str
    seed: int
    recipe: str | None = field(default=None, kw_only=True)
    scores: dict[str, float]
    tasks: dict[str, dict[str, Any]]
    weights: dict[str, Any] = field(default_factory=dict)
    precision: str | None = None
    runs: list[dict[str, Any]] = field(default_factory=list)

    @property
    def arm(self) -> str:
        """The checkpoint, with the recipe that trained it."""
        return arm_name(self.checkpoint, self.recipe)

    @property
    def name(self) -> str:
        """Path below the ledger's directory, without suffix."""
        return f"{self.model}/{self.arm}-seed{self.seed}"

    @property
    def lengths(self) -> Lengths:
        """Where the evaluation cut queries and passages: part of what its scores are scores of."""
        return self.weights.get("max_query_length"), self.weights.get("max_passage_length")

    def content(self) -> dict[str, Any]:
        """The entry as JSON."""
        return {"schema": SCHEMA} | {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def of(cls, content: dict[str, Any], where: str) -> Entry:
        """An entry from its JSON, if it has every key; `where` is the file, for messages."""
        try:
            entry = cls(**{key: value for key, value in content.items() if key != "schema"})
        except TypeError as error:
            raise InputError(
                f"{where}: not a ledger entry ({error}); restore it with git"
            ) from None
        if entry.checkpoint == "finetuned" and entry.recipe is None:
            raise InputError(f"{where}: a fine-tuned checkpoint without recipe; run it again")
        return entry


@dataclass(frozen=True)
class Measurement:
    """An entry, its per-query scores, and the records of the runs that it refers to."""

    entry: Entry
    queries: pd.DataFrame  # columns task, query_id, ndcg_at_10, mrr_at_10
    records: dict[str, dict[str, Any]] = field(default_factory=dict)  # by `Entry.runs`' `run`


def in_words(lengths: Lengths) -> str:
    """Where texts were cut.

    >>> in_words((64, 512)), in_words((None, None))
    ('64 and 512 tokens', 'unknown lengths')
    """
    return "unknown lengths" if None in lengths else f"{lengths[0]} and {lengths[1]} tokens"


def data_of(task: dict[str, Any]) -> dict[str, Any]:
    """The record of a task without what depends on the encoder.

    >>> data_of({"split": "test", "cut": {"queries": [1, 9], "passages": [0, 9]}})
    {'split': 'test'}
    """
    return {key: value for key, value in task.items() if key != "cut"}


def arm_name(checkpoint: str, recipe: str | None) -> str:
    """A checkpoint's name among all of one model.

    >>> arm_name("base", None), arm_name("finetuned", "guide")
    ('base', 'finetuned-guide')
    """
    return checkpoint if recipe is None else f"{checkpoint}-{recipe}"
