"""Stages evaluate_base and evaluate_finetuned: a checkpoint's scores on every benchmark task."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from ettin_retrieval.params import Settings
from ettin_retrieval.records import replacing, write_json
from ettin_retrieval.stages import Paths, run_stage


def body(settings: Settings, paths: Paths) -> str:
    """Write flat metrics, and per task mteb's result, per-query scores and the run."""
    from ettin_retrieval.evaluation.benchmark import flat_metrics, score_checkpoint
    from ettin_retrieval.evaluation.results import portable_result, run_table
    from ettin_retrieval.sources.mteb_tasks import GUIDE_TASKS

    checkpoint = paths["checkpoint"].name
    name = f"ettin-retrieval/{settings.model}-{checkpoint}"
    tasks = score_checkpoint(paths["checkpoint"], paths["benchmark"], settings, name)
    with replacing(paths["scores"]) as directory:
        for task in tasks:
            write_json(directory / f"{task.name}.json", portable_result(task.result))
            per_query = pa.Table.from_pandas(task.per_query, preserve_index=False)
            pq.write_table(
                per_query.replace_schema_metadata(None), directory / f"{task.name}.queries.parquet"
            )
            pq.write_table(run_table(task.run), directory / f"{task.name}.run.parquet")
    # Scoring chosen tasks only is no benchmark, unless the choice names all that it has.
    complete = settings.evaluation.tasks == "auto" or (
        settings.benchmark_source == "mteb" and set(GUIDE_TASKS) <= set(settings.evaluation.tasks)
    )
    metrics = flat_metrics(tasks, complete)
    write_json(paths["metrics"], metrics)
    scored = [f"{task.name} {task.scores['ndcg_at_10']:.5f}" for task in tasks]
    return f"nDCG@10 of {checkpoint}: {', '.join(scored)}"


if __name__ == "__main__":
    run_stage("evaluation", body, reads=["checkpoint", "benchmark"], writes=["scores", "metrics"])
