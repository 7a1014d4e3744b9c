"""scripts/same_bytes.py finds what a change moved, and allows listed renames alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ettin_retrieval.runtime.files import read_json, write_json
from tests.workspace import ROOT

RENAMES = """\
files: {tables/embedded.md: tables/tiny.md}
keys: {identity: fingerprint}
values: {embedded: tiny}
text: {The old title: The new title}
ignored: {metrics/settings.json: [seconds]}
"""


def compare(old: Path, new: Path) -> tuple[int, list[str]]:
    renames = old.parent / "renames.yaml"
    renames.write_text(RENAMES, encoding="utf-8")
    script = str(ROOT / "scripts" / "same_bytes.py")
    done = subprocess.run(
        [sys.executable, script, str(old), str(new), "--renames", str(renames)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return done.returncode, done.stdout.splitlines()


def write(root: Path, *, settings: dict[str, Any], table: str, text: str) -> Path:
    for name in ("models/base", "metrics", "tables", "results"):
        (root / name).mkdir(parents=True)
    (root / "models" / "base" / "model.safetensors").write_bytes(b"weights")
    write_json(root / "metrics" / "settings.json", settings)
    (root / "tables" / table).write_text(text, encoding="utf-8")
    return root


@pytest.fixture
def checkouts(tmp_path: Path) -> tuple[Path, Path]:
    before = {"identity": "ab12", "track": "embedded", "seconds": 1.0}
    after = {"fingerprint": "ab12", "track": "tiny", "seconds": 2.0}
    old = write(tmp_path / "old", settings=before, table="embedded.md", text="The old title\n")
    new = write(tmp_path / "new", settings=after, table="tiny.md", text="The new title\n")
    return old, new


def test_checkouts_that_differ_by_the_renames_alone_are_the_same(
    checkouts: tuple[Path, Path],
) -> None:
    summary = "1 files with the same bytes, 2 equal after renames, 0 differences"
    assert compare(*checkouts) == (0, [summary])


def test_a_changed_value_weight_or_file_is_named(checkouts: tuple[Path, Path]) -> None:
    old, new = checkouts
    settings = new / "metrics" / "settings.json"
    write_json(settings, read_json(settings) | {"fingerprint": "ab13"})
    (new / "models" / "base" / "model.safetensors").write_bytes(b"weightz")
    (new / "tables" / "more.md").write_text("", encoding="utf-8")
    code, lines = compare(old, new)
    assert code == 1
    assert lines[:-1] == [
        f"tables/more.md: only in {new}",
        "metrics/settings.json: differs",
        "models/base/model.safetensors: differs",
    ]
