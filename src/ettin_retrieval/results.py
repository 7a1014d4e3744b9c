"""The results ledger: one small JSON, and per-query scores, per model, arm and seed.

    results/MODEL/ARM-seedSEED.json              scores, tasks, provenance
    results/MODEL/ARM-seedSEED.queries.parquet   task, query_id, ndcg_at_10, mrr_at_10
    results/ledger.json                          sha256 of each of those files

An arm is a checkpoint and the recipe that trained it: `base`, `finetuned-guide`,
`finetuned-paper`. Tables, plots and verdicts are made from the ledger alone. Scores are fractions.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ettin_retrieval.errors import InputError
from ettin_retrieval.records import sha256_file, write_json

AVERAGE = "mteb_avg_ndcg_at_10"
"""Flat key of the mean nDCG@10; there only when every task of the benchmark was scored."""

AVERAGE_ENG_V2 = "mteb_eng_v2_avg_ndcg_at_10"
"""Flat key of the mean nDCG@10 over the retrieval tasks of MTEB(eng, v2), which the Ettin paper
reports; there only when all ten were scored."""

CQADUPSTACK = "CQADupstackRetrieval"
"""A task of the guide's whose score is the mean over `CQADUPSTACK_PARTS` tasks."""

CQADUPSTACK_PARTS = 12

QUERIES = pa.schema(
    [
        ("task", pa.string()),
        ("query_id", pa.string()),
        ("ndcg_at_10", pa.float64()),
        ("mrr_at_10", pa.float64()),
    ]
)


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


def cqadupstack_parts(names: Iterable[str]) -> list[str]:
    """The twelve tasks that CQADupstackRetrieval is the mean of, in order; none if one is missing.

    >>> cqadupstack_parts(["CQADupstackTexRetrieval", "SciFact"])
    []
    """
    parts = sorted(
        name
        for name in set(names) - {CQADUPSTACK}
        if name.startswith("CQADupstack") and name.endswith("Retrieval")
    )
    return parts if len(parts) == CQADUPSTACK_PARTS else []


def read_entry(path: Path) -> Entry:
    """Read one JSON of the ledger.

    Raises
    ------
    InputError
        The file is not a ledger entry, a fine-tuned checkpoint's names no recipe, or its name is
        not that of its key.
    """
    try:
        entry = Entry(**json.loads(path.read_text(encoding="utf-8")))
    except (json.JSONDecodeError, TypeError) as error:
        raise InputError(f"{path}: not a ledger entry ({error}); restore it with git") from None
    if entry.checkpoint == "finetuned" and entry.recipe is None:
        raise InputError(
            f"{path}: names no recipe, as a fine-tuned checkpoint's entry must; run its experiment "
            "again"
        )
    if f"{path.parent.name}/{path.stem}" != entry.name:
        raise InputError(f"{path}: holds {entry.name}; a file is named after its key")
    return entry


def read_ledger(directory: Path) -> list[Entry]:
    """All entries, in order of model, arm and seed."""
    entries = [read_entry(path) for path in directory.glob("*/*.json")]
    return sorted(entries, key=lambda entry: entry.key)


def read_queries(directory: Path, entry: Entry) -> pd.DataFrame:
    """Per-query scores of an entry: columns task, query_id, ndcg_at_10, mrr_at_10."""
    path = directory / f"{entry.name}.queries.parquet"
    if not path.is_file():
        raise InputError(f"{path}: no such file; it belongs to {entry.name}.json")
    return pq.read_table(path, schema=QUERIES).to_pandas()


def write_index(directory: Path) -> Path:
    """Write `ledger.json`: the hash of each file of the ledger.

    The stage `tables` depends on this one file instead of the directory. An edge from the stage
    that writes entries would make `dvc repro tables` train and evaluate in a fresh clone.
    """
    files = sorted([*directory.glob("*/*.json"), *directory.glob("*/*.queries.parquet")])
    index = directory / "ledger.json"
    write_json(index, {p.relative_to(directory).as_posix(): sha256_file(p) for p in files})
    return index


def write_entry(directory: Path, entry: Entry, queries: pd.DataFrame) -> bool:
    """Write an entry and its per-query scores, unless the ledger has the same numbers already.

    An entry with the same scores is left as it is, so that its provenance goes on telling who
    measured it first, and repeating a run changes no byte.

    Returns
    -------
    Whether anything was written.
    """
    path = directory / f"{entry.name}.json"
    table = pa.Table.from_pandas(queries[QUERIES.names], schema=QUERIES, preserve_index=False)
    table = table.replace_schema_metadata(None)
    queries_path = directory / f"{entry.name}.queries.parquet"
    if path.is_file() and queries_path.is_file():
        old = read_entry(path)
        if (
            old.scores == entry.scores
            and old.tasks == entry.tasks
            and (pq.read_table(queries_path).equals(table))
        ):
            return False
    write_json(path, asdict(entry))
    pq.write_table(table, queries_path)
    return True
