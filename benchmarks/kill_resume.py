"""Kill fine-tuning at random moments, run it again, and compare with an undisturbed run."""

from __future__ import annotations

import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ruamel.yaml import YAML

from benchmarks.harness import ROOT, Inputs
from benchmarks.record import Figure, Section
from ettin_retrieval.runtime.files import sha256_file

INPUTS = {"kills": 10, "seed": 7}
SHAPE = {"layers": 2, "hidden_size": 32, "intermediate_size": 32, "heads": 2, "vocabulary": 512}
CHECKPOINTS = "models/finetuned.work"
STAGES: dict[str, Any] = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]


def measure(inputs: Inputs = INPUTS) -> Section:
    """SIGKILL at a moment drawn from the training time; then the same command runs to its end."""
    moments = random.Random(inputs["seed"])
    outcomes: list[str] = []
    with TemporaryDirectory() as directory:
        workspace = Path(directory)
        prepare(workspace)
        seconds = run(workspace, "finetuning") or 0.0
        wanted = digests(workspace)
        while len(outcomes) < inputs["kills"]:
            for file in wanted:
                file.unlink()
            after = moments.uniform(0, seconds)
            if run(workspace, "finetuning", after) is not None:
                continue  # it ended before the kill
            found = (workspace / CHECKPOINTS).glob("*/checkpoint-*/complete.json")
            steps = [int(path.parent.name.removeprefix("checkpoint-")) for path in found]
            start = f"checkpoint {max(steps)}" if steps else "the start"
            run(workspace, "finetuning")
            outcome = "identical" if digests(workspace) == wanted else "different"
            outcomes.append(f"Killed after {after:.1f} s, resumed from {start}: {outcome}.")
    different = sum(line.endswith("different.") for line in outcomes)
    name = "kills after which an output file differs"
    figure = Figure(name, [different], 0, f"of {inputs['kills']}")
    notes = [f"{len(wanted)} output files, {seconds:.1f} s of training.", *outcomes]
    return Section("Kill and resume", inputs, [figure], notes=notes)


def prepare(workspace: Path) -> None:
    """Run the stages before fine-tuning on a small encoder and few queries."""
    yaml = YAML()
    params, encoders = (yaml.load(ROOT / name) for name in ("params.yaml", "encoders.yaml"))
    encoders["ettin_tiny"]["base"]["shape"] |= SHAPE
    params["data"] |= {"max_train_queries": 240, "dev_queries": 20, "dev_passages": 60}
    params["negatives"] |= {"sampling": "random", "num_negatives": 2}
    # A checkpoint every 34 steps and a loss every 3: most kills fall between them.
    params["finetuning"] |= {"epochs": 3, "batch_size": 8, "evaluations_per_epoch": 1}
    yaml.dump(params, workspace / "params.yaml")
    yaml.dump(encoders, workspace / "encoders.yaml")
    shutil.copy(ROOT / "recipes.yaml", workspace)
    for stage in ("heldout", "training_data", "base_encoder", "negatives"):
        run(workspace, stage)


def run(workspace: Path, stage: str, kill_after: float | None = None) -> float | None:
    """Run a stage's command of dvc.yaml: seconds of training, None if it was killed."""
    command = [sys.executable, *shlex.split(STAGES[stage]["cmd"])[1:]]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    with (workspace / "log").open("w+") as log:
        output: Any = {"stdout": log, "stderr": log}
        process = subprocess.Popen(
            command, cwd=workspace, env=environment, start_new_session=True, **output
        )
        while process.poll() is None and not any((workspace / CHECKPOINTS).glob("*")):
            time.sleep(0.01)  # until training begins
        began = time.monotonic()
        try:
            if process.wait(kill_after):
                raise RuntimeError((workspace / "log").read_text(encoding="utf-8"))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return None
    return time.monotonic() - began


def digests(workspace: Path) -> dict[Path, str]:
    """sha256 of every file that fine-tuning writes."""
    stage = STAGES["finetuning"]
    outputs = [path for kind in ("outs", "metrics", "plots") for out in stage[kind] for path in out]
    found = [f for path in outputs for f in (workspace / path, *(workspace / path).rglob("*"))]
    return {file: sha256_file(file) for file in found if file.is_file()}
