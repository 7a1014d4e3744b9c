"""Stages evaluate_base and evaluate_finetuned: a checkpoint's scores on every benchmark task.

Killed, the same command continues with the tasks that are missing. `torchrun -m
ettin_retrieval.stages.evaluation ...` shares the work among processes, with the same result.
"""

from __future__ import annotations

from ettin_retrieval.params import Settings
from ettin_retrieval.records import replacing, write_json
from ettin_retrieval.stages import Paths, run_stage, tell_pinning


def body(settings: Settings, paths: Paths) -> str:
    """Write flat metrics, and per task mteb's result, per-query scores and the run."""
    from ettin_retrieval.evaluation.benchmark import flat_metrics
    from ettin_retrieval.evaluation.ranks import rank_and_ranks
    from ettin_retrieval.evaluation.resuming import collect, forget, read_means, score_tasks

    checkpoint = paths["checkpoint"].name
    name = f"ettin-retrieval/{settings.model}-{checkpoint}"
    tell_pinning(settings, settings.evaluation.precision)
    done = score_tasks(paths["checkpoint"], paths["benchmark"], settings, name)
    if rank_and_ranks()[0] > 0:
        return "the first process writes"
    means = read_means(done)
    with replacing(paths["scores"]) as directory:
        collect(done, directory)
    # Scoring chosen tasks only is no benchmark, unless the choice names all that it has.
    whole = isinstance(settings.evaluation.tasks, str)
    write_json(paths["metrics"], flat_metrics(means, whole))
    forget(done)
    scored = [f"{task} {scores['ndcg_at_10']:.5f}" for task, scores in means.items()]
    return f"nDCG@10 of {checkpoint}: {', '.join(scored)}"


if __name__ == "__main__":
    run_stage("evaluation", body, reads=["checkpoint", "benchmark"], writes=["scores", "metrics"])
