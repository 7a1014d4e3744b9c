"""One line for each settings error: the file, the key, and what is allowed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.settings.load import load_settings
from tests.settings_files import write_settings


def refused(tmp_path: Path, changes: dict[str, Any]) -> str:
    """The message, without the directory of the file."""
    path = write_settings(tmp_path, changes)
    with pytest.raises(InputError) as error:
        load_settings(path)
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith(f"{tmp_path}/")
    return message.removeprefix(f"{tmp_path}/")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("model", "2b", "model: unknown model '2b'; allowed: "),
        ("checkpoint", "best", "checkpoint: 'best' is not allowed; it must be base or finetuned"),
        ("recipe", "guid", "recipe: 'guid' is not allowed; it must be guide or paper"),
        (
            "finetuning.learnin_rate",
            1e-3,
            "finetuning.learnin_rate: unknown key; did you mean learning_rate?",
        ),
        ("fintuning", {}, "fintuning: unknown key; did you mean finetuning?"),
        ("finetuning", 5, "finetuning: 5 is not allowed; it must be a mapping"),
        ("finetuning.learning_rate", "fast", "it must be a number or auto"),
        ("finetuning.weight_decay", "no", "weight_decay: 'no' is not allowed; it must be a number"),
        ("finetuning.temperature", 0, "finetuning.temperature: 0 is not allowed"),
        ("finetuning.batch_size", 1.5, "it must be a whole number or auto"),
        ("finetuning.objective", "mnrl", "contrastive, triplet, cosine_similarity or margin_mse"),
        ("finetuning.mini_batch_size", 5, "batch size 16 is not a multiple of 5"),
        (
            "negatives.range_max",
            3,
            "negatives: range_max 3 is smaller than range_min 0 + num_negatives 7",
        ),
        ("negatives.num_negatives", "x", "negatives.num_negatives: 'x' is not allowed"),
        ("data.max_train_queries", -3, "it must be greater than 0"),
        ("evaluation.tasks", "SciFact", "it must be a list or auto"),
        ("evaluation.tasks", [], "it must be a list of at least one or auto, tiny, guide,"),
        ("evaluation.tasks", ["SciFact", "NQ", "SciFact"], "evaluation.tasks: SciFact is listed"),
        ("evaluation", {5: "x"}, "evaluation.5: a key must be text; write '5' in quotes"),
        ("seed", "42", "seed: '42' is not allowed; it must be a whole number"),
        (
            "seed",
            2**32,
            "seed: 4294967296 is not allowed; it must be less than or equal to 4294967295",
        ),
        ("strict", "yes", "strict: 'yes' is not allowed; it must be true or false"),
    ],
)
def test_params_yaml(tmp_path: Path, key: str, value: object, said: str) -> None:
    message = refused(tmp_path, {key: value})
    assert message.startswith("params.yaml: ")
    assert said in message
    assert "more)" not in message


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("ettin_1b", 5, "ettin_1b: 5 is not allowed; it must be a mapping with track, base, lr"),
        (
            "ettin_1b.rate",
            1,
            "ettin_1b.rate: unknown key; allowed: base, lr, track",
        ),
        ("ettin_1b.track", "papers", "ettin_1b.track: 'papers' is not allowed; it must be tiny, "),
        ("ettin_1b.base", "etin", "ettin_1b.base: no family 'etin'; there are ettin"),
        ("ettin_1b.base", 7, "ettin_1b.base: 7 is not allowed; it must be a mapping with source"),
        (
            "ettin_1b.lr",
            2e-5,
            "ettin_1b.lr: 2e-05 is not allowed; it must be a mapping with guide, ",
        ),
        ("ettin_1b.lr", {"guide": 1e-5}, "ettin_1b.lr.paper: missing; write a value for it"),
        ("ettin_1b.lr.guide", "fast", "ettin_1b.lr.guide: 'fast' is not allowed; it must be a num"),
        ("ettin_2b", {"track": "paper"}, "ettin_2b.base: missing; write a value for it"),
        (
            "ettin.pooling",
            "avg",
            "ettin.pooling: 'avg' is not allowed; it must be mean, cls or max",
        ),
        (
            "ettin.max_query_length",
            2,
            "ettin.max_query_length: 2 is not allowed; it must be greater than or equal to 3",
        ),
        ("ettin.paper.batch_size", "auto", "ettin.paper.batch_size: 'auto' is not allowed"),
        ("ettin.revision", None, "revision: a hub id needs a branch, tag or commit"),
        (
            "ettin.source",
            "/my model",
            "source: '/my model' is not a hub id such as jhu-clsp/ettin-",
        ),
        ("ettin_local.base.source", "", "for a directory write source: local, and name it"),
        ("ettin_tiny.base.shape.heads", "4", "ettin_tiny.base.shape.heads: '4' is not allowed"),
        ("ettin_local.base.shape", {"layers": 1}, "ettin_local.base.shape.hidden_size: missing; "),
        ("ettin_tiny.base.shape.hidden_size", 130, "hidden_size 130 is not a multiple of heads 4"),
        (
            "ettin_tiny.base.shape.vocabulary",
            10,
            "vocabulary: 10 is not allowed; it must be greater",
        ),
        ("1b", {"track": "paper"}, "1b: no encoder has it as its base; write ettin_1b"),
    ],
)
def test_encoders_yaml(tmp_path: Path, key: str, value: object, said: str) -> None:
    message = refused(tmp_path, {f"encoders.yaml:{key}": value})
    assert message.startswith("encoders.yaml: ")
    assert said in message
    assert ("(and 3 more)" in message) == (value == {"layers": 1})


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("guide.data.dev_queries", -1, "guide.data.dev_queries: -1 is not allowed; it must be gre"),
        ("guide.train", "ms", "guide.train: 'ms' is not allowed; it must be tiny, msmarco"),
        ("guide.negatives.top", 1, "guide.negatives.top: unknown key; allowed: num_negatives, "),
        ("papers", {}, "papers: unknown key; did you mean paper?"),
    ],
)
def test_recipes_yaml(tmp_path: Path, key: str, value: object, said: str) -> None:
    message = refused(tmp_path, {f"recipes.yaml:{key}": value})
    assert message.startswith("recipes.yaml: ")
    assert said in message
    assert "more)" not in message


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"finetuning.objective": "triplet", "negatives.num_negatives": 0},
            "negatives.num_negatives: the triplet objective needs 1 or more, not 0",
        ),
        (
            {"finetuning.objective": "margin_mse", "negatives.num_negatives": 0},
            "needs 1 or more, not 0",
        ),
        (
            {"finetuning.objective": "margin_mse", "model": "1b"},
            "teacher scores, and data.train msmarco has none",
        ),
        (
            {"finetuning.objective": "margin_mse", "data.train": "triplets"},
            "teacher scores, and data.train triplets has none",
        ),
        ({"negatives.sampling": "random", "negatives.range_min": 1}, "range_min: must be 0"),
        (
            {"negatives.sampling": "random", "negatives.absolute_margin": 0.1},
            "absolute_margin: must be 0",
        ),
        (
            {"negatives.sampling": "semi_hard", "negatives.absolute_margin": 0.3},
            "leaves no semi_hard negatives",
        ),
        ({"evaluation.tasks": "guide", "data.benchmark": "tiny"}, "belongs to data.benchmark mteb"),
    ],
)
def test_impossible_combinations(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    message = refused(tmp_path, changes)
    assert message.startswith("params.yaml: ")
    assert said in message


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize(
    "key",
    [
        "finetuning.temperature", "finetuning.margin", "finetuning.learning_rate",
        "finetuning.weight_decay", "finetuning.warmup_ratio", "negatives.relative_margin",
        "negatives.absolute_margin", "encoders.yaml:ettin_tiny.lr.guide",
        "recipes.yaml:guide.finetuning.weight_decay", "recipes.yaml:guide.finetuning.warmup_ratio",
    ],
)  # fmt: skip
def test_numbers_are_finite(tmp_path: Path, key: str, value: float) -> None:
    file, _, dotted = key.rpartition(":")
    message = refused(tmp_path, {key: value})
    assert message.startswith(f"{file or 'params.yaml'}: {dotted}: {value}")
    assert "it must be a finite number" in message
