"""Train as one of several processes and write the curve.

Run by test_finetuning.py under torchrun: `torchrun --nproc-per-node 2 shared_training.py DIR`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from ettin_retrieval.finetuning import finetune
from ettin_retrieval.processes import this_process
from test_finetuning import development, encoder, settings, train_examples


def main(directory: Path) -> None:
    given = settings()
    # Before the processes know of each other: afterwards only the first one writes models.
    model = encoder(directory / f"rank-{os.environ['RANK']}", given)
    process = this_process()
    curve = finetune(model, train_examples(), development(), given, directory / "shared-work")
    if process.is_main_process:
        (directory / "shared.json").write_text(json.dumps({"loss": curve.loss, "dev": curve.dev}))
    process.wait_for_everyone()
    process.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
