"""Which checkpoints count, which configuration they belong to, and how long they stay."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from ettin_retrieval.runtime import files
from ettin_retrieval.settings.schema import Settings
from ettin_retrieval.training import checkpoints
from ettin_retrieval.training.checkpoints import (
    Progress,
    configuration_key,
    discard_incomplete,
    keep_only,
    last_complete,
    mark_complete,
    read_progress,
    remove_work,
    work_directory,
)
from tests.training_inputs import ROOT, settings, train_examples


def checkpoint(work: Path, step: int, best: int | None, complete: bool = True) -> Path:
    path = work / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "trainer_state.json").write_text(json.dumps({"best_global_step": best}))
    if complete:
        mark_complete(path, Progress(pending_loss=0.5, last_logged=step - 1, finished=False))
    return path


def key(given: Settings | None = None, **changes: Any) -> str:
    facts: dict[str, Any] = {"base_fingerprint": "b", "examples": train_examples(), "dev": "d"}
    facts |= {"world_size": 1, "device": "cpu"}
    return configuration_key(given or settings(), **(facts | changes))


def test_only_a_complete_checkpoint_is_resumed_from(tmp_path: Path) -> None:
    assert last_complete(tmp_path) is None
    first = checkpoint(tmp_path, 9, best=9)
    half = checkpoint(tmp_path, 10, best=9, complete=False)
    assert last_complete(tmp_path) == first
    assert read_progress(first) == Progress(0.5, 8, finished=False)
    discard_incomplete(tmp_path)
    assert first.is_dir() and not half.exists()
    # Its best weights are gone: it cannot end as an uninterrupted run does.
    checkpoint(tmp_path, 11, best=7)
    assert last_complete(tmp_path) == first
    # Before the first development evaluation no checkpoint is the best.
    unscored = checkpoint(tmp_path, 12, best=None)
    assert last_complete(tmp_path) == unscored
    # What a kill left of a removal does not count, whatever is in it.
    unscored.rename(tmp_path / "checkpoint-12.removed")
    assert last_complete(tmp_path) == first
    discard_incomplete(tmp_path)
    keep_only(tmp_path, {11})
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-11"]
    assert last_complete(tmp_path) is None


def test_a_changed_configuration_never_resumes_from_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation: True)
    same = key()
    others = [
        key(settings(temperature=0.1)),
        key(settings(learning_rate=0.5)),
        # What `auto` stands for is in no section.
        key(settings().with_changes({"recipes.guide.finetuning.max_query_length": 3})),
        key(settings().with_changes({"recipes.guide.finetuning.precision": "bf16"}), device="cuda"),
        key(settings(precision="bf16"), device="cuda"),
        key(base_fingerprint="c"),
        key(examples=train_examples()[1:]),
        key(dev="e"),
        key(world_size=2),
        key(device="cuda"),
    ]
    code = tmp_path / "code"
    shutil.copytree(files.PACKAGE, code)
    with (code / "training" / "trainer.py").open("a") as file:
        file.write("# another line\n")
    monkeypatch.setattr(files, "PACKAGE", code)
    others.append(key())
    monkeypatch.undo()
    assert key() == same and len({same, *others}) == 12
    checkpoint(work_directory(tmp_path / "work", others[0]), 5, best=5)
    assert last_complete(work_directory(tmp_path / "work", same)) is None


def test_the_key_covers_the_packages_that_the_stage_depends_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
    deps = content["stages"]["finetuning"]["deps"]
    packages = {dep.removeprefix("src/ettin_retrieval/") for dep in deps if dep.startswith("src/")}
    covered = {"runtime", "data"}  # by every digest
    monkeypatch.setattr(checkpoints, "code_digest", lambda *names: covered.update(names))
    key()
    assert covered == packages


def test_other_configurations_keep_their_checkpoints_for_a_while(tmp_path: Path) -> None:
    work = tmp_path / "work"
    for name in ("recent", "old", "killed.removed"):
        checkpoint(work / name, 5, best=5)
    long_ago = time.time() - 15 * 86_400
    os.utime(work / "old", (long_ago, long_ago))
    own = work_directory(work, "own")
    assert {path.name for path in work.iterdir()} == {"own", "recent"}
    assert last_complete(work / "recent") is not None
    remove_work(own)
    assert [path.name for path in work.iterdir()] == ["recent"]
    remove_work(work / "recent")
    assert not work.exists()
