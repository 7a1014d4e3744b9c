"""The stage `tables` as a process, and the committed ledger, tables and locks together."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from ettin_retrieval.cli import main
from ettin_retrieval.reports.plots import write_plots
from ettin_retrieval.reports.tables.write import render
from tests.ledgers import tiny_ledger
from tests.workspace import ROOT, Workspace


def test_another_process_gives_the_same_bytes_and_needs_no_model_library(tmp_path: Path) -> None:
    results, expected = tiny_ledger(tmp_path)
    code = (
        "import runpy, sys\n"
        "runpy.run_module('ettin_retrieval.reports', run_name='__main__')\n"
        "assert not {'torch', 'mteb', 'sentence_transformers'} & set(sys.modules)"
    )
    options = ["--params", str(ROOT / "params.yaml"), "--results", "results", "--expected",
               "expected", "--tables", "tables", "--plots", "plots"]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code, *options],
        cwd=tmp_path,
        # Another hash seed than this process has.
        env={**os.environ, "PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "20 files of tables, 5 of plots" in done.stderr
    files = render(results, expected)
    assert {path.name: path.read_bytes() for path in (tmp_path / "tables").iterdir()} == {
        name: text.encode() for name, text in files.items()
    }
    write_plots(results, expected, tmp_path / "again")
    for path in (tmp_path / "again").rglob("*.*"):
        other = tmp_path / "plots" / path.relative_to(tmp_path / "again")
        assert other.read_bytes() == path.read_bytes()
    assert "run-guide-seed42.json" in (results / "ledger.json").read_text()


def test_the_committed_ledger_verifies_and_one_of_other_weights_does_not(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(workspace.path)
    assert main(["verify"]) == 0, capsys.readouterr().out
    lock = workspace.path / "dvc.lock"
    honest = lock.read_text()
    outs = YAML(typ="safe").load(honest)["stages"]["base_encoder"]["outs"]
    lock.write_text(honest.replace(outs[0]["md5"], "0" * 32 + ".dir"))
    capsys.readouterr()
    assert main(["verify"]) == 1
    shown = capsys.readouterr().out
    for name in ("base-seed42", "finetuned-guide-seed42"):
        assert f"results/tiny/{name}.json: made from other data or weights" in shown
    assert "recorded scores reproduced" in shown
    assert "tables: every table is current" in shown
