"""Score the base and the fine-tuned encoder: what the stage `evaluate` does, without DVC.

Run it after `make repro`, which makes the benchmark, and after examples/train.py:

    python examples/evaluate.py
    python examples/evaluate.py --checkpoint models/finetuned

The scores are those of metrics/base.json and metrics/finetuned.json, to the last digit.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import pandas as pd

from ettin_retrieval.runtime.determinism import pin_arithmetic
from ettin_retrieval.runtime.files import write_json
from ettin_retrieval.settings.load import load_settings
from ettin_retrieval.tasks import flat_metrics


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--benchmark", type=Path, default=Path("data/benchmark"))
    parser.add_argument("--base", type=Path, default=Path("models/base"))
    parser.add_argument("--checkpoint", type=Path, default=Path("models/example"))
    given = parser.parse_args()
    logging.basicConfig(format="%(message)s", level=logging.WARNING)

    # 1. Settings. Threads and instruction set have to be pinned before torch is imported.
    settings = load_settings("params.yaml")
    pin_arithmetic(settings.strict)

    from ettin_retrieval.evaluation.score import score_checkpoint
    from ettin_retrieval.reports.documents import points, signed
    from ettin_retrieval.reports.significance import compare

    # 2. mteb's tasks and metrics, over this project's encoding and exact search.
    metrics, queries = {}, {}
    for checkpoint in (given.base, given.checkpoint):
        tasks = score_checkpoint(checkpoint, given.benchmark, settings)
        # A selection of your own collections is not a benchmark, so it has no average.
        own = settings.benchmark_source == "beir" and settings.evaluation.tasks == "auto"
        metrics[checkpoint.name] = flat_metrics({t.name: t.scores for t in tasks}, own=own)
        scores = [task.per_query.assign(task=task.name) for task in tasks]
        queries[checkpoint.name] = pd.concat(scores, ignore_index=True)

    # 3. Means over the queries, fractions. The file has all metrics and digits.
    frame = pd.DataFrame(metrics)
    print(frame[frame.index.str.endswith("ndcg_at_10")].to_string(float_format="%.4f"))
    output = given.checkpoint.with_suffix(".json")
    write_json(output, metrics)
    print(f"{output}: all metrics")

    # 4. Is the difference more than chance? Paired by query.
    for task in compare(queries[given.base.name], queries[given.checkpoint.name]):
        low, high = task.interval or (float("nan"), float("nan"))
        print(
            f"{task.task}: {signed(task.difference)} points, 95% interval {points(low)} to "
            f"{points(high)}, p {task.holm_p_value:.4f}"
        )


if __name__ == "__main__":
    main()
