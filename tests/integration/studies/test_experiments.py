"""Combinations of settings as experiments of the pipeline."""

from __future__ import annotations

from tests.workspace import Workspace


def test_a_grid_is_queued(workspace: Workspace) -> None:
    grid = "finetuning.objective=triplet,cosine_similarity"
    done = workspace.run("dvc", "exp", "run", "--queue", "-S", grid)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("finetuning.objective") == 2, done.stdout
    for objective in ("triplet", "cosine_similarity"):
        assert f"finetuning.objective={objective}" in done.stdout
