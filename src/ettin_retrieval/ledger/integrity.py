"""Whether the ledger agrees with its index, with itself and with dvc.lock.

`ettin-retrieval verify` checks this before it compares scores with recorded ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ettin_retrieval.ledger.entry import Measurement, arm_name
from ettin_retrieval.ledger.provenance import LOCK, outputs_behind, outputs_digest, read_stages
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


def problems(results: Path, root: Path = Path()) -> Iterator[str]:
    """Every contradiction between the ledger, its index and the root's dvc.lock, one line each."""
    if index := index_problem(results):
        yield index
    for entry in read_ledger(results):
        yield from mean_problems(results, read_measurement(results, entry.name))
    yield from lock_problems(results, root)


def mean_problems(results: Path, measurement: Measurement) -> Iterator[str]:
    """Scores of an entry that are not the means of its per-query scores."""
    means = measurement.queries.groupby("task")[list(QUERY_METRICS)].mean()
    if parts := cqadupstack_parts(means.index):
        means.loc[CQADUPSTACK] = means.loc[parts].mean()
    where = results / f"{measurement.entry.name}.json"
    for key, score in measurement.entry.scores.items():
        task, _, metric = key.rpartition(".")
        if not task or metric not in QUERY_METRICS:
            continue
        mean = means[metric].get(task)
        if mean is None:
            yield f"{where}: {key}: {where.stem}.queries.parquet has no query of it"
        elif abs(mean - score) > TOLERANCE:
            yield f"{where}: {key} is {score:.6f}, but the mean over its queries is {mean:.6f}"


def lock_problems(results: Path, root: Path = Path()) -> Iterator[str]:
    """Entries that dvc.lock records as its last, but that were made from other outputs.

    An entry holds a digest of the outputs upstream of it, which anyone can compute again from a
    committed dvc.lock.
    """
    if not (root / LOCK).is_file():
        yield f"{root / LOCK}: no such file; restore it with git"
        return
    stages = read_stages(root / LOCK)
    if "results" not in stages:
        return
    made = stages["results"]["params"]["params.yaml"]
    for checkpoint, recipe in (("base", None), ("finetuned", made["recipe"])):
        path = results / f"{made['model']}/{arm_name(checkpoint, recipe)}-seed{made['seed']}.json"
        digest = outputs_digest(outputs_behind(checkpoint, root))
        if not path.is_file():
            yield f"{path}: missing, although {LOCK} records it; run `dvc repro`"
        elif digest not in [run["outputs_sha256"] for run in read_entry(path).runs]:
            yield (
                f"{path}: made from other data or weights than {LOCK} records; run `dvc repro`, "
                "or restore both from one commit"
            )
