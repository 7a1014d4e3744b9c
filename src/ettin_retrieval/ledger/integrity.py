"""Whether the ledger agrees with its index, with itself and with dvc.lock.

`ettin-retrieval verify` checks this before it compares scores with recorded ones.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from ruamel.yaml import YAML

from ettin_retrieval.ledger.entry import Measurement, arm_name
from ettin_retrieval.ledger.provenance import LOCK, outputs_behind, outputs_digest
from ettin_retrieval.ledger.store import (
    QUERY_METRICS,
    index_problem,
    read_entry,
    read_ledger,
    read_measurement,
)
from ettin_retrieval.tasks import CQADUPSTACK, cqadupstack_parts

TOLERANCE = 1e-6
"""Largest distance between a mean and its queries' scores: the order of a sum rounds it."""


def problems(results: Path, root: Path = Path()) -> list[str]:
    """Every contradiction between the ledger, its index and dvc.lock, one line each.

    Parameters
    ----------
    results
        The ledger's directory.
    root
        Where dvc.yaml and dvc.lock are.
    """
    index = index_problem(results)
    found = [] if index is None else [index]
    for entry in read_ledger(results):
        found += mean_problems(results, read_measurement(results, entry.name))
    return found + lock_problems(results, root)


def mean_problems(results: Path, measurement: Measurement) -> list[str]:
    """Scores of an entry that are not the means of its per-query scores."""
    entry, means = measurement.entry, _means(measurement.queries)
    where = results / f"{entry.name}.json"
    found = []
    for key, score in entry.scores.items():
        task, _, metric = key.rpartition(".")
        if not task or metric not in QUERY_METRICS:
            continue
        mean = means[metric].get(task)
        if mean is None:
            found.append(f"{where}: {key}: {where.stem}.queries.parquet has no query of it")
        elif abs(mean - score) > TOLERANCE:
            found.append(
                f"{where}: {key} is {score:.6f}, but the mean over its queries is {mean:.6f}"
            )
    return found


def _means(queries: pd.DataFrame) -> pd.DataFrame:
    """Mean over the queries of each task, and over the parts of CQADupstackRetrieval."""
    means = queries.groupby("task")[list(QUERY_METRICS)].mean()
    if parts := cqadupstack_parts(means.index):
        means.loc[CQADUPSTACK] = means.loc[parts].mean()
    return means


def lock_problems(results: Path, root: Path = Path()) -> list[str]:
    """Entries that dvc.lock records as its last, but that were made from other outputs.

    An entry holds a digest of the outputs upstream of it. Anyone can compute it again from a
    committed dvc.lock.
    """
    if not (root / LOCK).is_file():
        return [f"{root / LOCK}: no such file; restore it with git"]
    stages = YAML(typ="safe").load((root / LOCK).read_text(encoding="utf-8"))["stages"]
    if "results" not in stages:
        return []
    made = stages["results"]["params"]["params.yaml"]
    found = []
    for checkpoint, recipe in (("base", None), ("finetuned", made["recipe"])):
        path = results / f"{made['model']}/{arm_name(checkpoint, recipe)}-seed{made['seed']}.json"
        if not path.is_file():
            found.append(f"{path}: missing, although {LOCK} records it; run `dvc repro`")
            continue
        digest = outputs_digest(outputs_behind(checkpoint, root))
        if digest not in [run["outputs_sha256"] for run in read_entry(path).runs]:
            found.append(
                f"{path}: made from other data or weights than {LOCK} records; run `dvc repro`, "
                "or restore both from one commit"
            )
    return found
