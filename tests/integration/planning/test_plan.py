"""`ettin-retrieval plan` as a command, and a plan of a real size."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ettin_retrieval.planning import report
from ettin_retrieval.planning.flops import Encoder, config_of
from ettin_retrieval.planning.sizes import Collection, Texts
from ettin_retrieval.planning.speed import Speed
from ettin_retrieval.planning.stages import stages_of
from ettin_retrieval.settings.load import load_settings
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
    for word in ("training_data", "negatives", "finetuning", "evaluate@base", "on A100"):
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


def test_the_guides_batch_of_the_150m_encoder_takes_most_of_an_80_gb_gpu() -> None:
    given = load_settings().with_changes({"model": "150m"})
    train = Collection("msmarco", Texts(8, 420), Texts(1, 33))
    stages = stages_of(given, Encoder(config_of(given)), train, [train], [train])
    found = {stage.name: stage for stage in stages}
    assert found["finetuning"].memory == pytest.approx(74e9, rel=0.02)


def test_the_largest_encoder_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Speed({"fp32": 1e12}, {"fp32": 1e12}, tokenised=1e9)
    monkeypatch.setattr(report, "measure", lambda *_: here)
    monkeypatch.setattr(report, "pin_arithmetic", lambda _: None)
    settings = load_settings().with_changes({"model": "1b"})
    printed = report.render(report.plan(settings, "H100", ["SciFact"]))
    assert "- finetuning needs more memory than H100 SXM has" in printed
    assert "39.6 in fp32 (its data sheet: 67 in fp32, 989 in bf16, dense)" in printed
    assert "- in bf16, fine-tuning takes 4.9 h on H100 SXM, an evaluation 21 s" in printed
