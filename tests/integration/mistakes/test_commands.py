"""User errors in DVC's commands: they stop before any work, and the outputs stay."""

from __future__ import annotations

import json

import pytest

from tests.workspace import Workspace


def test_a_stage_s_command_prints_one_line_and_exits_with_1(workspace: Workspace) -> None:
    workspace.edit("params.yaml", "seed: 42", "seed: -1")
    done = workspace.stage("preflight", "--settings", "metrics/settings.json")
    assert (done.returncode, done.stdout) == (1, "")
    said = "error: params.yaml: seed: -1 is not allowed; it must be greater than or equal to 0\n"
    assert done.stderr == said


@pytest.mark.parametrize(
    ("file", "before", "after", "said"),
    [
        ("params.yaml", "model: tiny", "model: 2b", "model: unknown model '2b'"),
        ("params.yaml", "temperature: auto", "temperatur: auto", "did you mean temperature?"),
        ("recipes.yaml", "sampling: hard", "sampling: harder", "it must be random, hard or semi_"),
        ("encoders.yaml", "layers: 2", "layers: two", "ettin_tiny.base.shape.layers: 'two' is not"),
    ],
)
def test_dvc_repro(workspace: Workspace, file: str, before: str, after: str, said: str) -> None:
    workspace.edit(file, before, after)
    fails(workspace, ["dvc", "repro"], f"error: {file}: ", said)


@pytest.mark.parametrize(
    ("override", "file", "said"),
    [
        ("model=2b", "params.yaml", "model: unknown model '2b'; allowed: "),
        ("finetuning.epochs=many", "params.yaml", "epochs: 'many' is not allowed; it must be a wh"),
    ],
)
def test_dvc_exp_run(workspace: Workspace, override: str, file: str, said: str) -> None:
    fails(workspace, ["dvc", "exp", "run", "-S", override], f"error: {file}: ", said)


def fails(workspace: Workspace, command: list[str], start: str, said: str) -> None:
    """See that a command fails with one line and leaves metrics and tables."""
    outputs = [*(workspace.path / "metrics").iterdir(), *(workspace.path / "tables").iterdir()]
    before = {path: path.read_bytes() for path in outputs}
    done = workspace.run(*command)
    assert done.returncode != 0
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert line.startswith(start) and said in line
    assert "Traceback" not in done.stderr
    assert {path: path.read_bytes() for path in outputs} == before
    assert json.loads((workspace.path / "metrics/settings.json").read_text())["model"] == "tiny"
