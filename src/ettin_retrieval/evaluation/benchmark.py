"""Score a checkpoint on every task of a benchmark directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mteb
import pandas as pd

from ettin_retrieval.encoders import load_checkpoint, read_checkpoint
from ettin_retrieval.errors import InputError
from ettin_retrieval.evaluation.search import ExactSearch
from ettin_retrieval.evaluation.tasks import METRICS, task_for
from ettin_retrieval.params import Settings
from ettin_retrieval.records import RetrievalDataset, read_dataset

AVERAGE = "mteb_avg_ndcg_at_10"


@dataclass(frozen=True)
class TaskScores:
    """One task's result.

    Attributes
    ----------
    scores
        mteb's score mapping of the split, fractions.
    per_query
        query_id and the metrics of `METRICS`; the mean of a column is the task's score.
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


def score_task(search: ExactSearch, name: str, dataset: RetrievalDataset) -> TaskScores:
    """mteb's evaluation of one task, without any cache between checkpoints."""
    task = task_for(name, dataset)
    done = mteb.evaluate(
        search, [task], cache=None, show_progress_bar=False, encode_kwargs={}, raise_error=True
    )
    result = done.task_results[0]
    split = dataset.origin.split
    return TaskScores(
        name=name,
        split=split,
        scores=result.scores[split][0],
        per_query=task.per_query,
        run=task.run,
        result=result,
    )


def benchmark_tasks(directory: Path, settings: Settings) -> list[str]:
    """Names of the tasks to score: all there are, or those of `evaluation.tasks`.

    Raises
    ------
    InputError
        A task that the benchmark directory does not hold.
    """
    there = sorted(path.parent.name for path in directory.glob("*/manifest.json"))
    wanted = settings.evaluation.tasks
    if wanted == "auto":
        return there
    missing = [
        name
        for name in wanted
        if name not in there and not any(t.startswith("CQADupstack") for t in there)
    ]
    if missing:
        raise InputError(
            f"params.yaml: evaluation.tasks: {missing[0]!r} is not in {directory}; "
            f"there are {', '.join(there)}"
        )
    return there


def score_checkpoint(
    checkpoint: Path, benchmark: Path, settings: Settings, name: str
) -> list[TaskScores]:
    """Scores of a checkpoint on each task, in order of name."""
    tasks = benchmark_tasks(benchmark, settings)
    search = ExactSearch(
        load_checkpoint(checkpoint), read_checkpoint(checkpoint), name, settings.evaluation
    )
    return [score_task(search, task, read_dataset(benchmark / task)) for task in tasks]


def flat_metrics(tasks: list[TaskScores]) -> dict[str, float]:
    """Flat keys such as `SciFact.ndcg_at_10`, the twelve CQADupstack parts as their mean, and
    the average over tasks."""
    by_task: dict[str, list[dict[str, float]]] = {}
    for task in tasks:
        part = task.name.startswith("CQADupstack")
        by_task.setdefault("CQADupstackRetrieval" if part else task.name, []).append(task.scores)
    flat = {
        f"{name}.{metric}": sum(s[metric] for s in scores) / len(scores)
        for name, scores in sorted(by_task.items())
        for metric in METRICS
    }
    main = [value for key, value in flat.items() if key.endswith(".ndcg_at_10")]
    return {AVERAGE: sum(main) / len(main), **flat}
