"""Which learning rate a recorded sweep chose, and for which encoder."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.settings.load import load_settings
from ettin_retrieval.settings.rates import RATES, SWEEPS, rate_record, swept_rate
from tests.workspace import ROOT


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


def resolved(**changes: Any) -> dict[str, Any]:
    selected = {key.replace("__", "."): value for key, value in changes.items()}
    return load_settings(ROOT / "params.yaml").with_changes(selected).resolved()


def test_a_rate_is_tuned_if_the_sweep_of_this_encoder_chose_exactly_it(tmp_path: Path) -> None:
    record(tmp_path)
    run = resolved(model="17m", recipe="paper")
    assert rate_record(run, "abc", tmp_path) == {"value": 3e-4, "tuned": True}
    assert rate_record(run, "def", tmp_path) == {"value": 3e-4, "tuned": False}
    other = resolved(model="17m", recipe="paper", finetuning__learning_rate=1e-4)
    assert rate_record(other, "abc", tmp_path) == {"value": 1e-4, "tuned": False}
    for changes in ({"model": "32m", "recipe": "paper"}, {"model": "17m"}):
        assert not rate_record(resolved(**changes), "abc", tmp_path)["tuned"]
    assert not rate_record(run, "abc", tmp_path / "no sweeps at all")["tuned"]


@pytest.mark.parametrize("recipe", ["guide", "paper"])
def test_the_rates_of_the_tiny_model_are_those_of_its_sweeps(recipe: str) -> None:
    path = ROOT / SWEEPS / f"tiny-{recipe}.json"
    encoder = json.loads(path.read_text(encoding="utf-8"))["encoder"]
    base = json.loads((ROOT / "results/tiny/base-seed42.json").read_text(encoding="utf-8"))
    assert base["weights"]["fingerprint"] == encoder, "swept with the encoder that is trained"
    written = rate_record(resolved(model="tiny", recipe=recipe), encoder, ROOT / SWEEPS)
    assert written["tuned"], "encoders.yaml has another rate than the sweep chose"


def test_no_size_starts_at_a_rate_that_another_model_s_sweep_chose() -> None:
    """The tiny model's are thousands of times the guide's."""
    swept = {
        json.loads(path.read_text(encoding="utf-8"))["chosen"]["learning_rate"]
        for path in (ROOT / SWEEPS).glob("tiny-*.json")
    }
    for size in ("17m", "32m", "68m", "150m", "400m", "1b", "local"):
        for recipe in ("guide", "paper"):
            rate = resolved(model=size, recipe=recipe)["finetuning"]["learning_rate"]
            assert rate not in swept and 1e-5 <= rate <= 5e-4


def test_a_sweep_reaches_from_1e_5_to_5e_4_by_default() -> None:
    rates = [float(rate) for rate in RATES.split(",")]
    assert rates == sorted(rates) and len(set(rates)) >= 6
    assert (rates[0], rates[-1]) == (1e-5, 5e-4)
    assert {2e-5, 3e-4} < set(rates), "what is published is among them"
    assert max(b / a for a, b in pairwise(rates)) < 2.01
