"""Stage evaluate: score one checkpoint on every task of the benchmark.

An interrupted evaluation continues with the missing tasks. Under `torchrun` the ranks share the
work, with the same result.
"""

from __future__ import annotations

import shutil

from ettin_retrieval.pipeline import Paths, run_stage, warn_of_strict_mode
from ettin_retrieval.runtime.distributed import is_first_rank
from ettin_retrieval.runtime.files import replacing, write_json
from ettin_retrieval.settings.schema import Settings
from ettin_retrieval.tasks import flat_metrics


def run(settings: Settings, paths: Paths) -> str | None:
    """Write the files of each task's scores, and flat metrics."""
    import pandas as pd

    from ettin_retrieval.evaluation.result_files import forget, score_tasks
    from ettin_retrieval.evaluation.score import means

    warn_of_strict_mode(settings, settings.evaluation.precision)
    done = score_tasks(paths["checkpoint"], paths["benchmark"], settings)
    if not is_first_rank():
        return None
    with replacing(paths["scores"]) as scores:
        for directory in done.values():
            shutil.copytree(directory, scores, dirs_exist_ok=True)
    files = {task: paths["scores"] / f"{task}.queries.parquet" for task in done}
    metrics = {task: means(pd.read_parquet(file)) for task, file in files.items()}
    # A selection of the user's own collections is not a benchmark, so it has no average.
    own = settings.benchmark_source == "beir" and settings.evaluation.tasks == "auto"
    write_json(paths["metrics"], flat_metrics(metrics, own=own))
    forget(done.values())
    summary = ", ".join(f"{task} {values['ndcg_at_10']:.5f}" for task, values in metrics.items())
    return f"nDCG@10 of {paths['checkpoint'].name}: {summary}"


if __name__ == "__main__":
    run_stage("evaluate", run, reads=["checkpoint", "benchmark"], writes=["scores", "metrics"])
