"""Run stage evaluate, changed for a test, in this process. See test_stage.py.

stage_evaluate.py kill DIRECTORY    is killed while it writes the second task's files
stage_evaluate.py count DIRECTORY   prints how many texts this rank encoded, from short shards

DIRECTORY has `checkpoint` and `benchmark`; `scores` and `metrics.json` are written to it.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any
from unittest import mock

from ettin_retrieval.runtime.determinism import pin_arithmetic
from ettin_retrieval.runtime.distributed import rank_and_world_size

ROOT = Path(__file__).resolve().parents[3]


def main(mode: str, directory: Path) -> None:
    pin_arithmetic(strict=mode == "kill")
    # These import torch, which must not happen earlier.
    from ettin_retrieval.encoders import encode
    from ettin_retrieval.evaluation import __main__ as stage
    from ettin_retrieval.evaluation import result_files, search
    from ettin_retrieval.settings.load import load_settings

    encode_batches = encode._encode_batches
    encoded = {"passage": 0, "query": 0}
    written = []

    write_scores = result_files.write_scores

    def write_or_die(scores: Any, target: Path) -> None:
        write_scores(scores, target)
        written.append(scores.name)
        if len(written) == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    def count(model: Any, tokenised: Any, batches: list[list[int]], role: Any) -> Any:
        encoded[role] += sum(map(len, batches))
        return encode_batches(model, tokenised, batches, role)

    if mode == "kill":
        mock.patch.object(result_files, "write_scores", write_or_die).start()
    else:
        mock.patch.object(search, "SHARD", 60).start()
        mock.patch.object(encode, "_encode_batches", count).start()
    paths = {name: directory / name for name in ("checkpoint", "benchmark", "scores")}
    paths["metrics"] = directory / "metrics.json"
    stage.run(load_settings(ROOT / "params.yaml"), paths)
    rank, world_size = rank_and_world_size()
    print(f"rank {rank} of {world_size}: {encoded['passage']} passages {encoded['query']} queries")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
