"""Score a checkpoint on every task of a benchmark directory."""

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
from ettin_retrieval.evaluation.search import ExactSearch
from ettin_retrieval.evaluation.tasks import task_for
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.settings.schema import Settings
from ettin_retrieval.tasks import METRICS


@dataclass(frozen=True)
class TaskScores:
    """One task's result.

    Attributes
    ----------
    scores
        Mean of each column of `per_query`, fractions: mteb's scores before it rounds them to
        five digits.
    per_query
        query_id and the metrics of `METRICS`.
    run
        query id to {passage id: score}, the passages that were retrieved.
    result
        mteb's own result object.
    """

    name: str
    split: str
    scores: dict[str, float]
    per_query: pd.DataFrame
    run: dict[str, dict[str, float]]
    result: Any


def score_task(
    search: ExactSearch, name: str, dataset: RetrievalDataset | StoredDataset
) -> TaskScores:
    """mteb's evaluation of one task, without any cache between checkpoints."""
    task = task_for(name, dataset)
    result = evaluated(search, task)
    split = dataset.origin.split
    return TaskScores(
        name=name,
        split=split,
        scores=means(task.per_query),
        per_query=task.per_query,
        run=task.run,
        result=result,
    )


def evaluated(search: ExactSearch, task: Any) -> Any:
    """mteb's result of a task of `task_for`.

    mteb has scikit-learn compute a hundred small areas under curves, which spends most of the
    time on checking its arguments: it is told that they are finite numbers.
    """
    with sklearn.config_context(assume_finite=True, skip_parameter_validation=True):
        done = mteb.evaluate(
            search, [task], cache=None, show_progress_bar=False, encode_kwargs={}, raise_error=True
        )
    return done.task_results[0]


def task_directories(benchmark: Path) -> list[Path]:
    """The datasets of a benchmark, in order of task.

    Raises
    ------
    InputError
        There is none.
    """
    found = sorted(path.parent for path in benchmark.glob("*/manifest.json"))
    if not found:
        raise InputError(f"{benchmark}: no task in it; run `dvc repro benchmark_data`")
    return found


def load_search(checkpoint: Path, settings: Settings, name: str) -> ExactSearch:
    """A checkpoint as a search that mteb can evaluate."""
    return ExactSearch(
        load_checkpoint(checkpoint),
        read_checkpoint(checkpoint),
        name,
        settings.evaluation,
        settings.encoding.batch_size,
    )


def score_checkpoint(
    checkpoint: Path, benchmark: Path, settings: Settings, name: str
) -> list[TaskScores]:
    """Scores of a checkpoint on each task, in order of name."""
    directories = task_directories(benchmark)
    search = load_search(checkpoint, settings, name)
    return [score_task(search, path.name, open_dataset(path)) for path in directories]


def means(per_query: pd.DataFrame) -> dict[str, float]:
    """The mean of each of `METRICS` over the queries."""
    return {metric: float(per_query[metric].mean()) for metric in METRICS}
