"""Whether the ledger is what it says it is: its index, its means, and what dvc.lock recorded.

`ettin-retrieval verify` asks this before it compares scores with recorded ones.
"""

from __future__ import annotations

from pathlib import Path

from ruamel.yaml import YAML

from ettin_retrieval.ledger.entry import CQADUPSTACK, Entry
from ettin_retrieval.ledger.merging import digests
from ettin_retrieval.ledger.provenance import LOCK, outputs_behind, outputs_digest
from ettin_retrieval.ledger.store import index_problem, read_entry, read_ledger, read_queries
from ettin_retrieval.tasks import cqadupstack_parts

METRICS = ("ndcg_at_10", "mrr_at_10")
"""The metrics that the ledger has of every query."""

TOLERANCE = 1e-6
"""How far a mean may be from its queries' scores: sums are rounded in some order."""


def problems(results: Path, root: Path = Path()) -> list[str]:
    """Every way in which the ledger contradicts its index, itself or dvc.lock, a line each.

    Parameters
    ----------
    results
        The ledger's directory.
    root
        Where dvc.yaml and dvc.lock are.
    """
    index = index_problem(results)
    told = [] if index is None else [index]
    for entry in read_ledger(results):
        told += mean_problems(results, entry)
    return told + lock_problems(results, root)


def mean_problems(results: Path, entry: Entry) -> list[str]:
    """Scores of an entry that are not the means of its per-query scores."""
    told = []
    for metric in METRICS:
        means = _means(results, entry, metric)
        for key in [key for key in entry.scores if key.endswith(f".{metric}")]:
            mean, where = means.get(key.rpartition(".")[0]), results / entry.name
            if mean is None:
                told.append(f"{where}.json: {key}: no query of it in {where.name}.queries.parquet")
            elif abs(mean - entry.scores[key]) > TOLERANCE:
                told.append(
                    f"{where}.json: {key} is {entry.scores[key]:.6f}, but the mean over its "
                    f"queries is {mean:.6f}"
                )
    return told


def _means(results: Path, entry: Entry, metric: str) -> dict[str, float]:
    """Mean over the queries of each task, and over the parts of CQADupstackRetrieval."""
    by_task = read_queries(results, entry).groupby("task")[metric]
    means = {str(task): float(scores.mean()) for task, scores in by_task}
    parts = cqadupstack_parts(means)
    return means | ({CQADUPSTACK: sum(means[p] for p in parts) / len(parts)} if parts else {})


def lock_problems(results: Path, root: Path = Path()) -> list[str]:
    """Entries that dvc.lock says were made last, and that were made from other outputs.

    Each entry holds a digest of what the pipeline made on the way to its scores; from a committed
    dvc.lock anyone can compute it again.
    """
    if not (root / LOCK).is_file():
        return [f"{root / LOCK}: no such file; restore it with git"]
    stages = YAML(typ="safe").load((root / LOCK).read_text(encoding="utf-8"))["stages"]
    if "results" not in stages:
        return []
    made = stages["results"]["params"]["params.yaml"]
    told = []
    for checkpoint, recipe in (("base", None), ("finetuned", made["recipe"])):
        name = Entry(
            made["model"], checkpoint, made["seed"], recipe=recipe, scores={}, tasks={}
        ).name
        path = results / f"{name}.json"
        if not path.is_file():
            told.append(f"{path}: missing, though {LOCK} says that it was made; run `dvc repro`")
        elif outputs_digest(outputs_behind(checkpoint, root)) not in digests(read_entry(path)):
            told.append(
                f"{path}: made from other data or weights than {LOCK} records; run `dvc repro`, "
                "or restore both from one commit"
            )
    return told
