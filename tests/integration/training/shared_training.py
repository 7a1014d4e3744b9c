"""Train as one of several processes and write the curves.

Run by test_finetuning.py under torchrun: `torchrun --nproc-per-node 2 shared_training.py DIR`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch

from ettin_retrieval.runtime.distributed import this_process
from ettin_retrieval.training.finetune import finetune
from tests.test_finetuning import CASES, development, encoder, settings


def main(directory: Path) -> None:
    # Before the processes know of each other: afterwards only the first one writes models.
    rank = directory / f"rank-{os.environ['RANK']}"
    models = {name: encoder(rank / name, settings(**given)) for name, (given, _) in CASES.items()}
    process = this_process()
    results = {}
    for name, model in models.items():
        given, train = CASES[name]
        work = directory / f"{name}-shared-work"
        curve = finetune(model, train, development(), settings(**given), work)
        weights = torch.cat([p.flatten() for p in model.parameters()])
        norm = weights.double().norm().item()
        results[name] = {"loss": curve.loss, "dev": curve.dev, "norm": norm}
    if process.is_main_process:
        (directory / "shared.json").write_text(json.dumps(results))
    process.wait_for_everyone()
    process.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
