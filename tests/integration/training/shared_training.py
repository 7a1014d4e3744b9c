"""Train as one of several ranks, and write the curves and the norm of the weights.

Usage: torchrun --nproc-per-node 2 -m tests.integration.training.shared_training DIRECTORY
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import torch

from ettin_retrieval.runtime.distributed import process_state
from ettin_retrieval.runtime.files import write_json
from ettin_retrieval.training.examples import Example
from ettin_retrieval.training.finetune import finetune
from tests.training_inputs import (
    development,
    encoder,
    known_examples,
    scored_examples,
    settings,
    train_examples,
)

# 11 rows (22 of a positive or a negative) in batches of 4: one of 3, or 2, is left. In mini-batches
# of 2, one of the last batch is a single row.
CASES: dict[str, tuple[dict[str, Any], list[Example]]] = {
    "contrastive": ({}, known_examples(11)),
    "cached": ({"mini_batch_size": 1, "epochs": 1}, known_examples(11)),
    "triplet": ({"objective": "triplet"}, train_examples(11)),
    "accumulated": (
        {"objective": "triplet", "mini_batch_size": 1, "epochs": 1},
        train_examples(11),
    ),
    "cosine": ({"objective": "cosine_similarity", "batch_size": 6}, train_examples(10)),
    "margins": ({"objective": "margin_mse", "gradient_accumulation": 2}, scored_examples(11)),
}
"""Settings and examples by name."""


def train(model: Any, name: str, work: Path) -> dict[str, Any]:
    """Curves of a case, and the norm of the weights it ends with."""
    changes, examples = CASES[name]
    curve = finetune(model, examples, development(), settings(**changes), work)
    weights = torch.cat([parameter.flatten() for parameter in model.parameters()])
    return {
        "loss": curve.loss,
        "dev": curve.dev,
        "norm": weights.double().norm().item(),
        "left_out": (curve.contrasts or (0, 0))[1],
    }


def main(directory: Path) -> None:
    # Before the process group exists: afterwards only the first rank writes models.
    rank = directory / f"rank-{os.environ['RANK']}"
    models = {name: encoder(rank / name, settings(**case[0])) for name, case in CASES.items()}
    state = process_state()
    results = {name: train(models[name], name, directory / f"{name}-work") for name in CASES}
    if state.is_main_process:
        write_json(directory / "shared.json", results)
    state.wait_for_everyone()
    state.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
