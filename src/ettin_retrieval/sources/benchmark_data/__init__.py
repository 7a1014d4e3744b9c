"""The tasks to evaluate on as RetrievalDatasets, one directory per task."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from ettin_retrieval.data.dataset import RetrievalDataset
from ettin_retrieval.data.judgments import flaws
from ettin_retrieval.data.storage import write_dataset
from ettin_retrieval.pipeline import Paths
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.runtime.files import replacing
from ettin_retrieval.settings.schema import Settings
from ettin_retrieval.settings.sections import BenchmarkSource
from ettin_retrieval.tasks import (
    SUBSAMPLED,
    TASKS_KEY,
    ignores_own_id,
    mteb_names,
    task_of_directory,
)

logger = logging.getLogger("ettin_retrieval")

SUBSAMPLING_SEED = 42
"""Not the training seed: encoders trained with different seeds are compared on one corpus."""


def run(settings: Settings, paths: Paths) -> str:
    """Write the tasks of the configured benchmark."""
    return write_benchmark(settings, paths["benchmark"])


def write_benchmark(settings: Settings, output: Path) -> str:
    """Write one directory per task, and say what was written, for the log."""
    summary = []
    with replacing(output) as directory:
        for full_name, full in load_tasks(settings):
            for flaw in flaws(full):
                logger.warning("%s: %s", full_name, flaw)
            name, dataset = subsampled(full_name, full, settings.data.max_corpus_size)
            write_dataset(with_own_ids(name, dataset), directory / name)
            summary.append(f"{name}: {len(dataset.queries):,} queries over {len(dataset.corpus):,}")
    return ", ".join(summary)


def load_tasks(settings: Settings) -> Iterable[tuple[str, RetrievalDataset]]:
    """Name and data of each task to evaluate on; see `tasks_of_source`."""
    return tasks_of_source(
        settings.benchmark_source,
        settings.evaluation.tasks,
        Path(settings.local.benchmark),
        strict=settings.data.strict_judgments,
    )


def tasks_of_source(
    source: BenchmarkSource,
    wanted: list[str] | str,
    directory: Path,
    *,
    strict: bool = False,
    key: str = TASKS_KEY,
) -> Iterable[tuple[str, RetrievalDataset]]:
    """Name and data of each task, one at a time: only one is in memory.

    Parameters
    ----------
    wanted
        Names, or a tier; of the sources `tiny` and `beir`, a tier takes all tasks.
    directory
        `local.benchmark`, for the source `beir`.
    strict
        Refuse flawed judgments (`RetrievalDataset.validate`).
    key
        The setting that `wanted` is from, for messages.

    Raises
    ------
    InputError
        The source does not have a task.
    """
    if source == "mteb":
        from ettin_retrieval.sources.benchmark_data import mteb

        return mteb.load(mteb_names(wanted), strict=strict, key=key)
    if source == "tiny":
        from ettin_retrieval.sources import tiny

        tasks = tiny.benchmark()
        return [(name, tasks[name]) for name in _selected(tasks, wanted, "the tiny benchmark", key)]
    from ettin_retrieval.sources import beir

    found: dict[str, tuple[Path, str]] = {}
    for collection in beir.collections(directory, "local.benchmark"):
        name, split = task_of_directory(collection)
        if name in found:
            raise InputError(
                f"local.benchmark: {found[name][0]} and {collection} are both the task {name}; "
                "remove one of the two"
            )
        found[name] = collection, split
    names = _selected(found, wanted, str(directory), key)
    return ((name, beir.load(*found[name], strict=strict)) for name in names)


def _selected(available: Iterable[str], wanted: list[str] | str, where: str, key: str) -> list[str]:
    """Names of the wanted tasks in order; a tier takes all."""
    known = sorted(available)
    if isinstance(wanted, str):
        return known
    for name in wanted:
        if name not in known:
            raise InputError(
                f"params.yaml: {key}: {name!r} is not in {where}; there are {', '.join(known)}"
            )
    return sorted(wanted)


def with_own_ids(name: str, dataset: RetrievalDataset) -> RetrievalDataset:
    """The dataset, with a note and a line in the log if queries have ids of passages.

    The note says whether a query's hit on the passage of its own id is scored: in mteb's tasks as
    in mteb, in other collections like any other hit.
    """
    shared = int(dataset.queries["id"].isin(dataset.corpus["id"]).sum())
    if not shared:
        return dataset
    ignored = ignores_own_id(name)
    logger.warning(
        "%s: queries with the id of a passage: %s of %s; a query's hit on that passage %s",
        name, f"{shared:,}", f"{len(dataset.queries):,}",
        "is left out, as in mteb's task" if ignored else
        "counts like any other, as in mteb, which leaves it out only for tasks of its own such as "
        "ArguAna (a directory of that name)",
    )  # fmt: skip
    return dataset.with_notes(
        queries_with_id_of_a_passage=shared, hit_on_own_id="left out" if ignored else "scored"
    )


def subsampled(
    name: str, dataset: RetrievalDataset, max_corpus_size: int | None
) -> tuple[str, RetrievalDataset]:
    """Name and data of a task whose corpus is cut to `max_corpus_size` passages, for a first look.

    All judged passages are kept, even if there are more, and a seeded sample of the others. A
    corpus that is small enough stays as it is, under its own name. Search is easier in a smaller
    corpus, so a cut task has another name: it is never compared with the full task or averaged
    with others.
    """
    if max_corpus_size is None or len(dataset.corpus) <= max_corpus_size:
        return name, dataset
    keep = dataset.corpus["id"].isin(dataset.qrels["corpus_id"]).to_numpy(copy=True)
    others = np.flatnonzero(~keep)
    wanted = max(0, max_corpus_size - int(keep.sum()))
    keep[np.random.default_rng(SUBSAMPLING_SEED).choice(others, size=wanted, replace=False)] = True
    corpus = dataset.corpus[keep].reset_index(drop=True)
    cut = replace(dataset, corpus=corpus).with_notes(
        subsampled_from=len(dataset.corpus), subsampling_seed=SUBSAMPLING_SEED
    )
    return f"{name}{SUBSAMPLED}{max_corpus_size}", cut
