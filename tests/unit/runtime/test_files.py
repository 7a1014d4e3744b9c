"""Atomic replacement of a stage's output."""

from __future__ import annotations

from pathlib import Path

import pytest

from ettin_retrieval.runtime.files import replacing


def test_a_failing_stage_leaves_its_last_output(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with replacing(target) as directory:
        (directory / "a").write_text("first")
    with pytest.raises(KeyboardInterrupt), replacing(target) as directory:
        (directory / "a").write_text("half")
        raise KeyboardInterrupt
    assert (target / "a").read_text() == "first"
    assert not (tmp_path / "out.partial").exists()
