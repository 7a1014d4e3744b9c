"""The command line as a process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from tests.small import ROOT


def test_errors_are_one_line_with_status_1(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ettin_retrieval.cli", "compare", "a/b-seed1", "a/c-seed1"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == "error: results: no entry a/b-seed1; there are no entries\n"


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from ettin_retrieval.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'numpy', 'pandas', 'torch', 'mteb', 'scipy'} & set(sys.modules)))"
    )
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=True,
    )
    seconds = time.monotonic() - start
    assert done.stdout.splitlines()[-1] == "[]"
    for command in ("compare", "verify", "calibrate", "collect", "export-trec"):
        assert command in done.stdout
    assert seconds < 5  # half a second on an idle machine
