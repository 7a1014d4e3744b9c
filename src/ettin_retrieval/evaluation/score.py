"""Scores of a checkpoint on the tasks of a benchmark directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mteb
import pandas as pd
import sklearn

from ettin_retrieval.data.dataset import RetrievalDataset
from ettin_retrieval.data.storage import StoredDataset, open_dataset
from ettin_retrieval.encoders.checkpoint import load_checkpoint, read_checkpoint
from ettin_retrieval.encoders.encode import EmbeddingCache, TextEncoder
from ettin_retrieval.evaluation.search import Cut, ExactSearch
from ettin_retrieval.evaluation.tasks import task_for
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.settings.schema import Settings
from ettin_retrieval.tasks import METRICS


@dataclass(frozen=True)
class TaskScores:
    """One task's result."""

    name: str
    per_query: pd.DataFrame  # columns query_id and `METRICS`
    run: dict[str, dict[str, float]]  # what was retrieved: query id to {passage id: score}
    result: Any  # mteb's TaskResult
    cut: Cut | None = None  # None for BM25, which reads whole texts

    @property
    def scores(self) -> dict[str, float]:
        """Means over the queries, fractions, which mteb rounds to five digits in its result."""
        return means(self.per_query)


def means(per_query: pd.DataFrame) -> dict[str, float]:
    """The mean of each of `METRICS` over the queries."""
    return {metric: float(per_query[metric].mean()) for metric in METRICS}


def score_checkpoint(checkpoint: Path, benchmark: Path, settings: Settings) -> list[TaskScores]:
    """Scores of a checkpoint on each task, in order of task.

    Raises
    ------
    InputError
        The directory has no task, or the checkpoint has changed since it was saved.
    """
    directories = task_directories(benchmark)
    search = load_search(checkpoint, settings)
    return [score_task(search, path.name, open_dataset(path)) for path in directories]


def task_directories(benchmark: Path) -> list[Path]:
    """The datasets of a benchmark, in order of task; an InputError if there are none."""
    found = sorted(path.parent for path in benchmark.glob("*/manifest.json"))
    if not found:
        raise InputError(f"{benchmark}: no task in it; run `dvc repro benchmark_data`")
    return found


def load_search(checkpoint: Path, settings: Settings) -> ExactSearch:
    """A checkpoint as a search model for mteb."""
    record = read_checkpoint(checkpoint)
    cache = EmbeddingCache(record["fingerprint"]) if settings.evaluation.cache_embeddings else None
    model, batch_size = load_checkpoint(checkpoint), settings.encoding.batch_size
    return ExactSearch(TextEncoder(model, batch_size, settings.evaluation.precision, cache), record)


def score_task(
    search: ExactSearch, name: str, dataset: RetrievalDataset | StoredDataset
) -> TaskScores:
    """mteb's evaluation of one task, named as mteb or the user names it.

    mteb reseeds the global random generators when it makes a task.
    """
    task = task_for(name, dataset)
    options: dict[str, Any] = {"cache": None, "show_progress_bar": False, "raise_error": True}
    # mteb has scikit-learn compute a hundred small areas under curves, and most of the time goes
    # into checks of the arguments.
    with sklearn.config_context(assume_finite=True, skip_parameter_validation=True):
        done = mteb.evaluate(search, [task], encode_kwargs={}, **options)
    cut = getattr(search, "cut", None)
    return TaskScores(name, task.per_query, task.run, done.task_results[0], cut)
