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
from ettin_retrieval.results import AVERAGE


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
        scores={metric: float(task.per_query[metric].mean()) for metric in METRICS},
        per_query=task.per_query,
        run=task.run,
        result=result,
    )


def score_checkpoint(
    checkpoint: Path, benchmark: Path, settings: Settings, name: str
) -> list[TaskScores]:
    """Scores of a checkpoint on each task, in order of name."""
    tasks = sorted(path.parent.name for path in benchmark.glob("*/manifest.json"))
    if not tasks:
        raise InputError(f"{benchmark}: no task in it; run `dvc repro benchmark_data`")
    search = ExactSearch(
        load_checkpoint(checkpoint), read_checkpoint(checkpoint), name, settings.evaluation
    )
    return [score_task(search, task, read_dataset(benchmark / task)) for task in tasks]


def flat_metrics(tasks: list[TaskScores], complete: bool) -> dict[str, float]:
    """Flat keys such as `SciFact.ndcg_at_10`, and the average over tasks.

    Parameters
    ----------
    complete
        Whether these are all tasks of the benchmark: the average of some is no average, and is
        left out. CQADupstackRetrieval is the mean of its twelve parts, and only of all twelve.
    """
    by_task: dict[str, list[dict[str, float]]] = {}
    for task in tasks:
        by_task.setdefault(_reported_name(task.name), []).append(task.scores)
    flat = {
        f"{name}.{metric}": sum(s[metric] for s in scores) / len(scores)
        for name, scores in sorted(by_task.items())
        for metric in METRICS
    }
    main = [value for key, value in flat.items() if key.endswith(".ndcg_at_10")]
    return ({AVERAGE: sum(main) / len(main)} if complete else {}) | flat


def _reported_name(task: str) -> str:
    """The name that a task's scores are reported under.

    >>> _reported_name("CQADupstackAndroidRetrieval"), _reported_name("SciFact")
    ('CQADupstackRetrieval', 'SciFact')
    """
    return "CQADupstackRetrieval" if task.startswith("CQADupstack") else task
