"""Kill fine-tuning at random moments, run it again, and compare with an undisturbed run.

    python benchmarks/kill_resume.py --kills 10

The stage itself runs, in a process of its own, on a small encoder and a part of the generated
collection. A kill is SIGKILL at a moment drawn uniformly from the training time, after which the
same command runs undisturbed to its end. Prints a table; fails unless all outputs have the
sha256 of the undisturbed run's.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ruamel.yaml import YAML

from ettin_retrieval.runtime.files import sha256_file

ROOT = Path(__file__).resolve().parents[1]
SMALL = {"layers": 2, "hidden_size": 32, "intermediate_size": 32, "heads": 2, "vocabulary": 512}
OUTPUTS = ("models/finetuned", "metrics/finetuning.json", "plots/loss.json", "plots/dev.json")
CHECKPOINTS = Path("models/finetuned.work")
FINETUNING = (
    "finetuning", "--training", "data/training", "--negatives", "data/negatives",
    "--encoder", "models/base", "--finetuned", OUTPUTS[0], "--metrics", OUTPUTS[1],
    "--loss", OUTPUTS[2], "--dev", OUTPUTS[3],
)  # fmt: skip


def main() -> None:
    """Prepare a workspace, train undisturbed once, then kill and finish as often as asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=7, help="of the moments")
    given = parser.parse_args()
    moments = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as directory:
        workspace = Path(directory)
        prepare(workspace)
        seconds = undisturbed(workspace)
        wanted = digests(workspace)
        print(f"undisturbed: {seconds:.1f} s of training; {len(wanted)} output files")
        print(f"{'kill':>4}  {'after':>7}  {'resumed from':<16}  outputs")
        different = 0
        for kill in range(1, given.kills + 1):
            resumed_from = None
            while resumed_from is None:
                after = moments.uniform(0, seconds)
                resumed_from = killed(workspace, after)
            undisturbed(workspace)
            same = digests(workspace) == wanted
            different += not same
            words = "identical" if same else "DIFFERENT"
            print(f"{kill:>4}  {after:>5.1f} s  {resumed_from:<16}  {words}", flush=True)
        print(f"{given.kills - different} of {given.kills} identical")
        sys.exit(different > 0)


def prepare(workspace: Path) -> None:
    """Run the stages before fine-tuning on a small encoder and collection."""
    yaml = YAML(typ="safe")
    settings = yaml.load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    settings["encoders"]["ettin_tiny"] |= {"shape": SMALL}
    settings["data"] |= {"max_train_queries": 240, "dev_queries": 20, "dev_passages": 60}
    settings["negatives"] |= {"sampling": "random", "per_query": 2}
    # A checkpoint every 34 steps and a point of the curve every 3: a kill falls between points.
    settings["finetuning"] |= {"epochs": 3, "batch_size": 8, "evaluations_per_epoch": 1}
    with (workspace / "params.yaml").open("w", encoding="utf-8") as file:
        yaml.dump(settings, file)
    for stage in (
        ("benchmark_data", "--local", ".", "--benchmark", "data/benchmark"),
        ("training_data", "--local", ".", "--benchmark", "data/benchmark",
         "--training", "data/training"),
        ("base_encoder", "--local", ".", "--encoder", "models/base"),
        ("negatives", "--training", "data/training", "--encoder", "models/base",
         "--negatives", "data/negatives", "--plot", "plots/negatives.json"),
    ):  # fmt: skip
        if start(workspace, *stage).wait() != 0:
            sys.exit((workspace / "log").read_text(encoding="utf-8"))


def start(workspace: Path, *stage: str) -> subprocess.Popen[bytes]:
    """Start a stage's command in a process group of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    with (workspace / "log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", f"ettin_retrieval.stages.{stage[0]}", *stage[1:]],
            cwd=workspace,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def wait_for_training(workspace: Path, process: subprocess.Popen[bytes]) -> float:
    """The time at which the trainer began: its work directory is there."""
    while process.poll() is None and not any((workspace / CHECKPOINTS).glob("*")):
        time.sleep(0.01)
    return time.monotonic()


def undisturbed(workspace: Path) -> float:
    """Run the stage to its end; seconds since its training began."""
    process = start(workspace, *FINETUNING)
    began = wait_for_training(workspace, process)
    if process.wait() != 0:
        sys.exit((workspace / "log").read_text(encoding="utf-8"))
    return time.monotonic() - began


def killed(workspace: Path, after: float) -> str | None:
    """Kill the stage so many seconds into its training; the checkpoint that it left.

    None if it was faster than before and had ended.
    """
    for output in OUTPUTS:
        subprocess.run(["rm", "-rf", output], cwd=workspace, check=True)
    process = start(workspace, *FINETUNING)
    wait_for_training(workspace, process)
    try:
        process.wait(timeout=after)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    else:
        return None
    left = (workspace / CHECKPOINTS).glob("*/checkpoint-*/complete.json")
    last = max((int(path.parent.name.split("-")[1]) for path in left), default=None)
    return "the start" if last is None else f"checkpoint {last}"


def digests(workspace: Path) -> dict[str, str]:
    """sha256 of every output file."""
    found = {}
    for output in OUTPUTS:
        path = workspace / output
        files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
        found |= {str(file.relative_to(workspace)): sha256_file(file) for file in files}
    return found


if __name__ == "__main__":
    main()
