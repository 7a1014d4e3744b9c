"""Every repository that this project reads, under its real id."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ettin_retrieval.sources.training_data.msmarco import REPOSITORY as MS_MARCO
from ettin_retrieval.sources.training_data.msmarco import TRIPLETS
from ettin_retrieval.tasks import BENCHMARK_TASKS, expand, mteb_task
from tests.hub.datasets import Qrels, Row, msmarco_files, retrieval_files, triplet_files
from tests.hub.encoders import encoder_files
from tests.hub.rows import msmarco_rows, retrieval_rows, triplet_rows
from tests.hub.server import LoopbackHub

SIZES = ("17m", "32m", "68m", "150m", "400m", "1b")

WITH_EMPTY_PASSAGES = ("FiQA2018", "TRECCOVID")
"""As published: by mteb's statistics, the shortest passage of both has no characters."""


def populate(
    hub: LoopbackHub, tasks: Iterable[str] = BENCHMARK_TASKS, rows: int = 24
) -> dict[str, str]:
    """Serve the Ettin encoders, both recipes' training data and mteb tasks; id to commit.

    `rows` is the size of each training split.
    """
    commits = {}
    for seed, size in enumerate(SIZES):
        repo_id = f"jhu-clsp/ettin-encoder-{size}"
        commits[repo_id] = hub.add("model", repo_id, encoder_files(seed))
    configs = {
        config: {
            "train": msmarco_rows(rows, seed, unanswered_every=every),
            "validation": msmarco_rows(rows // 2, seed + 1, unanswered_every=every),
        }
        for config, seed, every in (("v1.1", 0, 12), ("v2.1", 10, 3))
    }
    commits[MS_MARCO] = hub.add("dataset", MS_MARCO, msmarco_files(configs))
    commits[TRIPLETS] = hub.add("dataset", TRIPLETS, triplet_files(triplet_rows(rows)))
    for seed, task in enumerate(expand(tasks)):
        corpus, queries, judged = retrieval_rows(6, 10, seed)
        if task in WITH_EMPTY_PASSAGES:
            corpus["empty"] = {"title": "", "text": ""}
        if task == "TRECCOVID":
            judged["q0"]["empty"] = 1
        if task == "ArguAna":
            judged["q0"]["missing"] = 1
        judged_splits = ("train", "dev", "test") if task == "MSMARCO" else ("test",)
        commits |= add_mteb_task(hub, task, corpus, queries, dict.fromkeys(judged_splits, judged))
    return commits


def add_mteb_task(
    hub: LoopbackHub, task: str, corpus: Mapping[str, Row], queries: Mapping[str, str], qrels: Qrels
) -> dict[str, str]:
    """Serve a task as the dataset and the revision that mteb pins; returns the two."""
    pinned = mteb_task(task).metadata.dataset
    files = retrieval_files(corpus, queries, qrels)
    return {pinned["path"]: hub.add("dataset", pinned["path"], files, pinned["revision"])}
