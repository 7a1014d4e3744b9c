"""Three sizes, one after the other or queued, give the same complete tables.

On all tasks of the guide, so that its columns have no empty cell.
"""

from __future__ import annotations

import csv
import re
import shutil
from pathlib import Path

import pytest

from ettin_retrieval.tasks import GUIDE_TASKS
from tests.hub import LoopbackHub, populate
from tests.workspace import Workspace

NUMBER = re.compile(r"\d+\.\d")
IMPROVED = re.compile(r"\d+\.\d \([+-]\d+\.\d\)")
SIZES = ("17m", "150m", "1b")
SMALL = ("finetuning.epochs=1", "finetuning.batch_size=8", "negatives.num_negatives=2")


def sized(size: str) -> list[str]:
    """Options of an experiment with one size, small enough for a test."""
    return [part for key in (f"model={size}", *SMALL) for part in ("-S", key)]


def tables(workspace: Workspace) -> dict[str, bytes]:
    """The tables that the ledger gives."""
    done = workspace.run("dvc", "repro", "tables")
    assert done.returncode == 0, done.stderr[-2000:]
    return {path.name: path.read_bytes() for path in sorted((workspace.path / "tables").iterdir())}


def in_turn(workspace: Workspace, env: dict[str, str], order: tuple[str, ...]) -> None:
    for size in order:
        done = workspace.run("dvc", "exp", "run", *sized(size), env=env)
        assert done.returncode == 0, done.stderr[-3000:]


def queued(workspace: Workspace, env: dict[str, str]) -> None:
    for size in SIZES:
        done = workspace.run(
            "dvc", "exp", "run", "--queue", "-n", f"size-{size}", *sized(size), env=env
        )
        assert done.returncode == 0, done.stderr[-3000:]
    done = workspace.run("dvc", "exp", "run", "--run-all", env=env, timeout=2400)
    assert done.returncode == 0, done.stderr[-3000:]
    # DVC exits with 0 even if an experiment of the queue failed.
    done = workspace.run("dvc", "queue", "status")
    assert done.stdout.count("Success") == len(SIZES), done.stdout
    done = workspace.run("ettin-retrieval", "collect")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 collected" in done.stdout, done.stdout


def cells(guide: str, size: str) -> list[list[str]]:
    """The measured scores of a size, before and after fine-tuning."""
    rows = [row for row in guide.splitlines() if row.startswith(f"| {size} | measured |")]
    assert len(rows) == 2, guide
    return [[cell.strip() for cell in row.strip("|").split("|")][2:] for row in rows]


@pytest.mark.acceptance
def test_any_order_and_the_queue_give_the_same_tables(workspace: Workspace, tmp_path: Path) -> None:
    start = tmp_path / "start"
    shutil.copytree(workspace.path, start)
    made = []
    with LoopbackHub() as hub:
        populate(hub)
        env = hub.env(tmp_path / "cache")
        for order in (SIZES, SIZES[::-1], None):
            shutil.rmtree(workspace.path)
            shutil.copytree(start, workspace.path)
            if order:
                in_turn(workspace, env, order)
            else:
                queued(workspace, env)
            made.append(tables(workspace))
    first = made[0]
    for size in SIZES:
        before, after = cells(first["guide.md"].decode(), size)
        assert all(NUMBER.fullmatch(cell) for cell in before[:4]), before
        assert all(IMPROVED.fullmatch(cell) for cell in after[:4]), after
        rows = list(csv.DictReader(first["tasks.csv"].decode().splitlines()))
        scored = {(r["checkpoint"], r["task"]) for r in rows if r["model"] == size and r["mean"]}
        assert scored == {(c, task) for c in ("base", "finetuned") for task in GUIDE_TASKS}
    for way, other in {"in reverse": made[1], "queued": made[2]}.items():
        lines = set(first["tasks.csv"].splitlines()) ^ set(other["tasks.csv"].splitlines())
        assert not lines, way
        assert other == first, way
