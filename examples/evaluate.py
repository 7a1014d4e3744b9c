"""Score base and fine-tuned checkpoints: what the stage `evaluate` does, without DVC.

    python examples/train.py && python examples/evaluate.py

The scores are those of `dvc repro`, to the last digit.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import pandas as pd

from ettin_retrieval.runtime.determinism import pin_arithmetic
from ettin_retrieval.settings.load import load_settings
from ettin_retrieval.tasks import flat_metrics


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="tiny", help="as in examples/train.py")
    parser.add_argument("--output", type=Path, default=Path("models/example"))
    given = parser.parse_args()
    logging.basicConfig(format="%(message)s", level=logging.WARNING)

    # Threads and instruction set have to be pinned before torch is imported.
    settings = load_settings("params.yaml", {"model": given.model})
    pin_arithmetic(settings.strict)

    from ettin_retrieval.evaluation.score import score_checkpoint
    from ettin_retrieval.reports.documents import points, signed
    from ettin_retrieval.reports.significance import compare

    # mteb's tasks and metrics over this repository's encoding and exact search.
    metrics, queries = {}, {}
    for checkpoint in ("base", "finetuned"):
        tasks = score_checkpoint(given.output / checkpoint, given.output / "benchmark", settings)
        metrics[checkpoint] = flat_metrics({task.name: task.scores for task in tasks})
        queries[checkpoint] = pd.concat(
            [task.per_query.assign(task=task.name) for task in tasks], ignore_index=True
        )
    frame = pd.DataFrame(metrics)
    print(frame[frame.index.str.endswith("ndcg_at_10")].to_string())

    # Is the difference more than chance? Paired by query.
    for task in compare(queries["base"], queries["finetuned"]):
        low, high = task.interval or (float("nan"), float("nan"))
        print(
            f"{task.task}: {signed(task.difference)} points, 95% interval {points(low)} to "
            f"{points(high)}, p {task.holm_p_value:.4f}"
        )


if __name__ == "__main__":
    main()
