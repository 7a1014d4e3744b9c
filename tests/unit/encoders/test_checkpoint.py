"""A checkpoint's fingerprint, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ettin_retrieval.encoders.checkpoint import (
    fingerprint,
    load_checkpoint,
    read_checkpoint,
    save_checkpoint,
)
from ettin_retrieval.runtime.errors import InputError
from tests.small import CHANGES


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_of_the_model_changes_the_fingerprint(
    checkpoint: Path, tmp_path: Path, change: str
) -> None:
    model = load_checkpoint(checkpoint)
    CHANGES[change](model)
    changed = save_checkpoint(model, tmp_path / "changed", {})
    assert changed["fingerprint"] != read_checkpoint(checkpoint)["fingerprint"]


def test_the_fingerprint_does_not_depend_on_the_path(checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(checkpoint, tmp_path / "elsewhere")
    assert fingerprint(tmp_path / "elsewhere") == fingerprint(checkpoint)


def test_the_fingerprint_does_not_depend_on_what_was_encoded(
    checkpoint: Path, tmp_path: Path
) -> None:
    model = load_checkpoint(checkpoint)
    origin = {"source": "tiny", "revision": "seed 1"}
    before = save_checkpoint(model, tmp_path / "before", origin)
    model.encode_query(["a river", "a " * 500])
    assert save_checkpoint(model, tmp_path / "after", origin) == before


def test_the_record_has_the_prompts_of_both_roles_if_there_are_any(
    checkpoint: Path, tmp_path: Path
) -> None:
    model = load_checkpoint(checkpoint)
    assert "prompts" not in save_checkpoint(model, tmp_path / "none", {})
    model.prompts = {"query": "find: ", "corpus": "text: ", "other": "x"}
    record = save_checkpoint(model, tmp_path / "some", {})
    assert record["prompts"] == {"query": "find: ", "passage": "text: "}


def test_a_checkpoint_whose_files_changed_is_not_loaded(checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(checkpoint, tmp_path / "changed")
    config = tmp_path / "changed" / "1_Pooling" / "config.json"
    config.write_text(config.read_text().replace("mean", "cls"))
    with pytest.raises(InputError, match="weights or configuration changed"):
        load_checkpoint(tmp_path / "changed")
