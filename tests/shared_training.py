"""Train as one of several processes and write the curve.

Run by test_finetuning.py under torchrun: `torchrun --nproc-per-node 2 shared_training.py DIR`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from accelerate import PartialState

from ettin_retrieval.finetuning import finetune
from test_finetuning import development, encoder, settings, train_examples

processes = PartialState()
directory = Path(sys.argv[1])
given = settings()
model = encoder(directory / f"rank-{processes.process_index}", given)
curve = finetune(model, train_examples(), development(), given, directory / "shared-work")
if processes.is_main_process:
    (directory / "shared.json").write_text(json.dumps({"loss": curve.loss, "dev": curve.dev}))
processes.wait_for_everyone()
processes.destroy_process_group()
