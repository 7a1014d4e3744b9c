"""Train a small encoder in children of this process, kill them, resume, and print digests.

Usage: python -m tests.integration.training.killed_training DIRECTORY

A child starts with everything imported and kills itself at a chosen moment; a second child then
runs undisturbed.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

# Before any parallel region: OpenMP's threads do not survive a fork.
torch.set_num_threads(1)

from ettin_retrieval.training import checkpoints, trainer  # noqa: E402
from ettin_retrieval.training.finetune import finetune  # noqa: E402
from ettin_retrieval.training.trainer import RetrievalTrainer  # noqa: E402
from tests.training_inputs import development, encoder, settings, train_examples  # noqa: E402


def die() -> None:
    """End as SIGKILL does: at once, with nothing cleaned up."""
    os.kill(os.getpid(), signal.SIGKILL)


def child(work: Callable[[], None]) -> int:
    """Run a function in a fork, and return the fork's status."""
    process = os.fork()
    if process == 0:
        work()
        os._exit(0)
    return os.waitpid(process, 0)[1]


def train(directory: Path, prepare: Callable[[], None] = lambda: None) -> None:
    """Train in a directory, and write digest and starting point to result.json."""
    prepare()
    given = settings(epochs=2, evaluations_per_epoch=2)
    attempt = len(list(directory.glob("attempt-*")))
    model = encoder(directory / f"attempt-{attempt}", given)
    work = checkpoints.work_directory(directory / "work", "key")
    checkpoints.discard_incomplete(work)
    found = checkpoints.last_complete(work)
    curve = finetune(model, train_examples(200), development(), given, work)
    digest = hashlib.sha256(repr(curve).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    step = None if found is None else int(found.name.split("-")[1])
    result = {"digest": digest.hexdigest(), "resumed_from": step}
    (directory / "result.json").write_text(json.dumps(result))
    checkpoints.remove_work(work)


def at_step(step: int) -> None:
    """Die in the middle of a step."""
    compute_loss = RetrievalTrainer.compute_loss

    def dying(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.state.global_step == step:
            die()
        return compute_loss(self, *args, **kwargs)

    RetrievalTrainer.compute_loss = dying  # type: ignore[method-assign]


def while_writing(step: int) -> None:
    """Die with the weights of a checkpoint written, and its optimizer not."""
    save = RetrievalTrainer._save_optimizer_and_scheduler

    def dying(self: Any, output_dir: str) -> None:
        if self.state.global_step == step:
            die()
        save(self, output_dir)

    RetrievalTrainer._save_optimizer_and_scheduler = dying  # type: ignore[method-assign]


def before_removal(step: int) -> None:
    """Die with a checkpoint complete, and older ones not removed."""
    keep_only = checkpoints.keep_only

    def dying(work: Path, steps: set[int]) -> None:
        if step in steps:
            die()
        keep_only(work, steps)

    checkpoints.keep_only = dying


def after_training() -> None:
    """Die with all steps done, and no output written."""
    RetrievalTrainer._load_best_model = lambda self: die()  # type: ignore[method-assign]


def at_step_between_evaluations(step: int) -> None:
    """Die in a step, with a clock on which every step takes five minutes."""
    clock = count(step=300)
    trainer.time = SimpleNamespace(monotonic=lambda: next(clock))  # type: ignore[attr-defined,assignment]
    at_step(step)


def while_removing() -> None:
    """Die with all done, and the checkpoints half removed."""
    remove_work = checkpoints.remove_work

    def dying(path: Path) -> None:
        for file in path.rglob("trainer_state.json"):
            file.unlink()
        die()

    def removing(directory: Path) -> None:
        checkpoints.shutil = SimpleNamespace(rmtree=dying)  # type: ignore[attr-defined,assignment]
        remove_work(directory)

    checkpoints.remove_work = removing


SCENARIOS: dict[str, Callable[[], None]] = {
    "between checkpoints": lambda: at_step(80),
    "while writing a checkpoint": lambda: while_writing(75),
    "before older ones are removed": lambda: before_removal(75),
    "before the first evaluation": lambda: at_step_between_evaluations(11),
    "long after an evaluation": lambda: at_step_between_evaluations(80),
    "after training": after_training,
    "while checkpoints are removed": while_removing,
}


def main(root: Path) -> None:
    """Run every scenario, and print one line of JSON."""
    results = {}
    for name in ("undisturbed", *SCENARIOS):
        directory = root / name.replace(" ", "-")
        directory.mkdir()
        if name in SCENARIOS:
            status = child(partial(train, directory, SCENARIOS[name]))
            if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
                sys.exit(f"{name}: ended with status {status} instead of a kill")
        child(partial(train, directory))
        results[name] = json.loads((directory / "result.json").read_text())
    print(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
