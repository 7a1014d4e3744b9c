"""What `dvc exp run -S` writes into the settings files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from dvc.utils.hydra import apply_overrides
from ruamel.yaml import YAML

from ettin_retrieval.settings.load import load_settings
from tests.settings_files import FILES
from tests.workspace import ROOT


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A directory with the committed settings files, byte for byte."""
    for name in FILES:
        shutil.copyfile(ROOT / name, tmp_path / name)
    return tmp_path


def leaves(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every key, with its value as `-S` takes it."""
    for key, value in content.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", json.dumps(value)


@pytest.mark.parametrize("name", FILES)
def test_values_already_there_change_no_byte(files: Path, name: str) -> None:
    content = YAML(typ="safe").load((ROOT / name).read_text(encoding="utf-8"))
    apply_overrides(files / name, [f"{key}={value}" for key, value in leaves(content)])
    assert (files / name).read_bytes() == (ROOT / name).read_bytes()


@pytest.mark.parametrize(
    ("name", "override"),
    [
        ("params.yaml", "model=1b"),
        ("params.yaml", "strict=false"),
        ("params.yaml", "local.train=/data/my files"),
        ("params.yaml", "data.max_train_queries=1000"),
        ("params.yaml", "evaluation.tasks=eng-v2"),
        ("params.yaml", "finetuning.learning_rate=3e-5"),
        ("params.yaml", "negatives.sampling_strategy=random"),
        ("encoders.yaml", "ettin.max_passage_length=256"),
        ("encoders.yaml", "ettin_1b.lr.paper=1e-4"),
        ("encoders.yaml", "ettin_tiny.base.shape.layers=3"),
        ("recipes.yaml", "paper.finetuning.mini_batch_size=32"),
    ],
)
def test_a_changed_value_changes_one_line(files: Path, name: str, override: str) -> None:
    apply_overrides(files / name, [override])
    before, after = ((directory / name).read_text().splitlines() for directory in (ROOT, files))
    changed = [(a, b) for a, b in zip(before, after, strict=True) if a != b]
    assert len(changed) == 1
    (line, now), key = changed[0], override.partition("=")[0].rpartition(".")[2]
    assert f"{key}:" in line and f"{key}:" in now
    assert line.partition(" #")[2] == now.partition(" #")[2], "the comment stays"
    load_settings(files / "params.yaml")


def test_a_rate_in_encoders_yaml_reaches_the_settings(files: Path) -> None:
    apply_overrides(files / "params.yaml", ["model=1b", "recipe=paper"])
    apply_overrides(files / "encoders.yaml", ["ettin_1b.lr.paper=1e-4"])
    assert load_settings(files / "params.yaml").learning_rate == 1e-4
