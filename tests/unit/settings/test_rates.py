"""Which learning rate a recorded sweep chose, and for which encoder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.settings.rates import swept_rate


def record(directory: Path, **content: Any) -> None:
    whole = {"encoder": "abc", "chosen": {"learning_rate": 3e-4}} | content
    (directory / "17m-paper.json").write_text(json.dumps(whole), encoding="utf-8")


def test_a_finished_sweep_gives_its_rate_to_the_encoder_it_trained(tmp_path: Path) -> None:
    record(tmp_path)
    assert swept_rate("17m", "paper", "contrastive", "abc", tmp_path) == 3e-4


def test_no_rate_travels_to_another_encoder_recipe_or_objective(tmp_path: Path) -> None:
    record(tmp_path)
    assert swept_rate("17m", "paper", "contrastive", "def", tmp_path) is None
    assert swept_rate("32m", "paper", "contrastive", "abc", tmp_path) is None
    assert swept_rate("17m", "guide", "contrastive", "abc", tmp_path) is None
    assert swept_rate("17m", "paper", "triplet", "abc", tmp_path) is None


def test_an_interrupted_sweep_gives_no_rate(tmp_path: Path) -> None:
    record(tmp_path, chosen=None)
    assert swept_rate("17m", "paper", "contrastive", "abc", tmp_path) is None


@pytest.mark.parametrize("text", ["{", "[]", '{"encoder": "abc", "chosen": {"rate": 1}}'])
def test_a_malformed_record_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "17m-paper.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"17m-paper\.json: not the record of a sweep"):
        swept_rate("17m", "paper", "contrastive", "abc", tmp_path)
