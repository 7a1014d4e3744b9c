"""Settings that depend on each other."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.settings.load import load_settings
from ettin_retrieval.settings.schema import Settings
from tests.small import ROOT


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load_settings(ROOT / "params.yaml")


@pytest.mark.parametrize(
    ("model", "tier", "source"),
    [
        ("tiny", "auto", "tiny"),
        ("1b", "auto", "mteb"),
        ("1b", "tiny", "tiny"),
        ("tiny", "guide", "mteb"),
        ("local", "eng-v2", "mteb"),
        ("tiny", "paper", "mteb"),
        ("local", "auto", "beir"),
    ],
)
def test_a_tier_names_its_source(settings: Settings, model: str, tier: str, source: str) -> None:
    changed = settings.with_changes({"model": model, "evaluation.tasks": tier})
    assert changed.benchmark_source == source


@pytest.mark.parametrize(
    ("changes", "source"),
    [
        ({"model": "1b"}, "mteb"),
        ({"model": "1b", "evaluation.tasks": "tiny"}, "mteb"),
        ({"model": "tiny", "evaluation.tasks": "guide"}, "tiny"),
        ({"model": "local", "evaluation.tasks": "guide"}, "beir"),
        ({"model": "local", "data.heldout": "guide"}, "mteb"),
        ({"model": "local", "data.benchmark": "mteb", "data.heldout": ["SciFact"]}, "mteb"),
    ],
)
def test_what_is_held_out_does_not_depend_on_what_is_scored(
    settings: Settings, changes: dict[str, Any], source: str
) -> None:
    assert settings.with_changes(changes).heldout_source == source


@pytest.mark.parametrize("key", ["evaluation.tasks", "data.heldout"])
def test_a_task_that_is_listed_twice_is_refused(settings: Settings, key: str) -> None:
    with pytest.raises(ValidationError, match=f"{key}: NQ is listed twice"):
        settings.with_changes({"model": "1b", key: ["NQ", "FEVER", "NQ"]})


def test_a_tier_of_another_source_is_refused(settings: Settings) -> None:
    changes = {"evaluation.tasks": "eng-v2", "data.benchmark": "tiny"}
    message = r"evaluation\.tasks: eng-v2 belongs to data\.benchmark mteb, not tiny"
    with pytest.raises(ValidationError, match=message):
        settings.with_changes(changes)


def test_an_unknown_tier_is_refused_with_the_allowed_ones(tmp_path: Path) -> None:
    for name in ("params.yaml", "encoders.yaml", "recipes.yaml"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    params = tmp_path / "params.yaml"
    text = params.read_text()
    assert "tasks: auto" in text
    params.write_text(text.replace("tasks: auto", "tasks: beir"))
    with pytest.raises(InputError, match="a list or auto, tiny, guide, eng-v2 or paper"):
        load_settings(params)
