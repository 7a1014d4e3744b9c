"""Whether the ledger agrees with its index, with itself and with dvc.lock.

`ettin-retrieval verify` checks this before it compares scores with recorded ones.
"""

from __future__ import annotations

from pathlib import Path

from ruamel.yaml import YAML

from ettin_retrieval.ledger.entry import Entry, arm_name
from ettin_retrieval.ledger.provenance import LOCK, outputs_behind, outputs_digest
from ettin_retrieval.ledger.store import (
    index_problem,
    read_entry,
    read_ledger,
    read_measurement,
    read_queries,
)
from ettin_retrieval.tasks import CQADUPSTACK, cqadupstack_parts

METRICS = ("ndcg_at_10", "mrr_at_10")
"""The metrics that the ledger has per query."""

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
        read_measurement(results, entry.name)
        found += mean_problems(results, entry)
    return found + lock_problems(results, root)


def mean_problems(results: Path, entry: Entry) -> list[str]:
    """Scores of an entry that are not the means of its per-query scores."""
    found = []
    for metric in METRICS:
        means = _means(results, entry, metric)
        for key in [key for key in entry.scores if key.endswith(f".{metric}")]:
            mean, where = means.get(key.rpartition(".")[0]), results / entry.name
            if mean is None:
                found.append(
                    f"{where}.json: {key}: {where.name}.queries.parquet has no query of it"
                )
            elif abs(mean - entry.scores[key]) > TOLERANCE:
                found.append(
                    f"{where}.json: {key} is {entry.scores[key]:.6f}, but the mean over its "
                    f"queries is {mean:.6f}"
                )
    return found


def _means(results: Path, entry: Entry, metric: str) -> dict[str, float]:
    """Mean over the queries of each task, and over the parts of CQADupstackRetrieval."""
    by_task = read_queries(results, entry).groupby("task")[metric]
    means = {str(task): float(scores.mean()) for task, scores in by_task}
    parts = cqadupstack_parts(means)
    return means | ({CQADUPSTACK: sum(means[p] for p in parts) / len(parts)} if parts else {})


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
