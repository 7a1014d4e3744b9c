"""The command `ettin-retrieval`: what it prints, where, and with which status it exits."""

from __future__ import annotations

import subprocess
import sys
import time
import types
from pathlib import Path

import pytest

from ettin_retrieval.cli import app, main
from ettin_retrieval.ledger import collect
from ettin_retrieval.ledger.provenance import outputs_behind, outputs_digest
from ettin_retrieval.ledger.store import write_index
from ettin_retrieval.reports.tables.write import write_tables
from ettin_retrieval.reports.verify import record
from ettin_retrieval.tasks import TINY_TASKS
from tests.ledgers import EXPECTED, references, write
from tests.unit.ledger.pipeline import write_pipeline
from tests.workspace import ROOT

COMMANDS = (
    "compare", "verify", "record", "index", "migrate", "collect", "calibrate", "bm25",
    "export-leaderboard", "export-trec", "plan", "sweep",
    "audit-negatives",
)  # fmt: skip

HEAVY = ("torch", "mteb", "scipy", "numpy", "pandas", "pydantic", "matplotlib", "transformers")


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a pipeline, its ledger, recorded scores and tables."""
    monkeypatch.chdir(tmp_path)
    write_pipeline(tmp_path)
    results = Path("results")
    for checkpoint, score in (("base", 0.25), ("finetuned", 0.5)):
        digest = outputs_digest(outputs_behind(checkpoint))
        scores = dict.fromkeys(TINY_TASKS, score)
        write(results, "tiny", checkpoint, scores, seed=7, recipe="paper", outputs=digest)
    write_index(results)
    expected = references(Path("expected"))
    record(results, expected)
    write_tables(results, expected, Path("tables"))
    return tmp_path


def test_help_lists_every_command_and_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom ettin_retrieval.cli import main\nassert main(['--help']) == 0\n"
        f"print(sorted(set({HEAVY}) & set(sys.modules)))"
    )
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert time.monotonic() - start < 5  # half a second on an idle machine
    lines = done.stdout.splitlines()
    assert lines[-1] == "[]"
    named = {line.strip("│ ").split(" ")[0] for line in lines}
    assert set(COMMANDS) <= named
    assert len(app.registered_commands) == len(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert f"ettin-retrieval {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["frob"], "frob"),
        (["verify", "--frob"], "--frob"),
        (["compare", "a"], "b"),
        (["compare", "a", "b", "--metric", "map"], "--metric"),
        (["export-trec", "--out", "x"], "--scores"),
        (["sweep", "--rates", "1e-5", "--queries", "0"], "--queries"),
        ([], "Usage"),
    ],
)
def test_unusable_arguments_exit_with_2(
    arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert named in shown.err + shown.out
    assert "Traceback" not in shown.err


def test_an_input_error_is_one_line_and_exits_with_1(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ettin_retrieval.cli", "compare", "a/b-seed1", "a/c-seed1"]
    done = subprocess.run(
        [*command, "--expected", str(EXPECTED)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        done.stderr
        == "error: results: no entry a/b-seed1; there are no entries (without -seedN: all seeds)\n"
    )


def test_an_interrupted_command_exits_with_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(collect, "collect", interrupted)
    assert main(["collect"]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "interrupted"


def test_a_bug_is_not_reported_as_an_input_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(collect, "collect", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        main(["collect"])


@pytest.mark.parametrize(
    ("options", "tasks"),
    [
        ([], "auto"),
        (["--tasks", "eng-v2"], "eng-v2"),
        (["--tasks", "SciFact"], "['SciFact']"),
        (["--tasks", "SciFact,NQ"], "['SciFact', 'NQ']"),
    ],
)
def test_plan_takes_a_tier_or_the_names_of_tasks(
    options: list[str],
    tasks: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    report = types.ModuleType("report")
    vars(report).update(plan=lambda settings, gpu, wanted: wanted, render=str)
    monkeypatch.setitem(sys.modules, "ettin_retrieval.planning.report", report)
    assert main(["plan", "--params", str(ROOT / "params.yaml"), *options]) == 0
    assert capsys.readouterr().out == f"{tasks}\n"


def test_a_ledger_that_agrees_with_everything_verifies(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "18 of 18 recorded scores reproduced", "tables: every table is current",
    ]  # fmt: skip


def test_verify_names_every_contradiction(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path("results/tiny/base-seed7.json")
    score = '"TinySciFact.ndcg_at_10": '
    path.write_text(path.read_text().replace(f"{score}0.25", f"{score}0.3"))
    lock = Path("dvc.lock")
    lock.write_text(lock.read_text().replace("f.dir", "g.dir"))
    assert main(["verify"]) == 1
    starts = [
        f"{path}: changed since the index was written",
        f"{path}: TinySciFact.ndcg_at_10 is 0.300000, but the mean over its queries is 0.250000",
        "results/tiny/finetuned-paper-seed7.json: made from other data or weights",
        "tiny base seed 7 tiny ndcg_at_10: 0.262500 is above the recorded 0.250000",
        "tiny base seed 7 TinySciFact (test) ndcg_at_10: 0.300000 is above the recorded",
        "16 of 18 recorded scores reproduced",
        "tables/tiny.md:11: not what the ledger gives; run `dvc repro tables`",
    ]
    lines = capsys.readouterr().out.splitlines()
    for line, start in zip(lines, starts, strict=True):
        assert line.startswith(start)


def test_verify_shows_what_is_wrong_with_the_ledger_even_if_nothing_is_recorded(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("results/ledger.json").unlink()
    references(Path("empty"))
    assert main(["verify", "--expected", "empty"]) == 1
    shown = capsys.readouterr()
    assert "not in the index" in shown.out
    assert shown.err.startswith("error: empty/recorded.yaml: nothing is recorded")


def test_an_entry_that_came_by_copying_is_named_until_it_is_indexed(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(Path("results"), "17m", "base", {"SciFact": 0.5})
    assert main(["verify"]) == 1
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("results/17m/base-seed42.json: not in the index")
    assert "run `ettin-retrieval index` and `dvc repro tables`" in first
    assert main(["index"]) == 0
    assert capsys.readouterr().out == "results/ledger.json: 3 entries\n"
    write_tables(Path("results"), Path("expected"), Path("tables"))
    assert main(["verify"]) == 0


def test_record_writes_the_scores_of_the_models_it_is_given(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["record"]) == 0
    assert capsys.readouterr().out == "expected/recorded.yaml: 18 values\n"
    assert main(["record", "--model", "tiny", "--model", "1b"]) == 1
    assert "results/1b: no entry in the ledger" in capsys.readouterr().err


def test_migrate_says_how_many_entries_it_converted(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["migrate"]) == 0
    assert capsys.readouterr().out == "results: 0 entries converted\n"


def test_collect_fails_only_if_entries_conflict(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    conflict = collect.Conflict("tiny/base-seed42", "T.ndcg_at_10", ("1", "2"), ("a", "b"))
    found = collect.Collected(written=["tiny/base-seed42"], present=["x", "y"])
    monkeypatch.setattr(collect, "collect", lambda *_: found)
    assert main(["collect", "tidy-newt"]) == 0
    assert capsys.readouterr().out == (
        "collected tiny/base-seed42\n1 collected, 2 already present, 0 in conflict\n"
    )
    found.conflicts += [conflict, conflict]
    assert main(["collect"]) == 1
    shown = capsys.readouterr()
    assert shown.out.endswith("1 collected, 2 already present, 1 in conflict\n")
    *lines, error = shown.err.splitlines()
    assert lines == ["conflict: tiny/base-seed42: T.ndcg_at_10: 1 (a) or 2 (b)"] * 2
    assert error.startswith("error: entries of one key have different numbers")


def test_collect_reads_the_repository_it_is_run_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["collect", "nowhere"]) == 1
    assert "not a git repository" in capsys.readouterr().err
