"""`ettin-retrieval plan` as a command."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.workspace import ROOT


def command(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ettin_retrieval.cli", "plan", *options],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )


def test_the_command_prints_every_stage() -> None:
    done = command("--model", "17m", "--gpu", "A100")
    assert done.returncode == 0, done.stderr
    for word in ("training_data", "negatives", "finetuning", "evaluate_base", "on A100"):
        assert word in done.stdout
    assert "26 tasks" in done.stdout
    assert "tiny" in command().stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--gpu", "abacus"], "unknown GPU 'abacus'"),
        (["--model", "2b"], "unknown model '2b'"),
        (["--model", "1b", "--tasks", "SciFcat"], "unknown task 'SciFcat'"),
        (["--tasks", "SciFact"], "no SciFact; there are Tiny"),
    ],
)
def test_a_mistake_is_reported_in_one_line(options: list[str], message: str) -> None:
    done = command(*options)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1
    assert message in line


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys\nfrom ettin_retrieval.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'torch', 'pandas', 'numpy', 'mteb', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.splitlines()[-1] == "[]"
