"""Each recipe against its source, setting by setting.

`paper`: train_st.py of the Ettin authors at commit 496a3f4, with the defaults of its arguments.
`guide`: the guide's section "Fine-tuning Configuration", and what its script does beside it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from ettin_retrieval.settings.load import load_settings
from ettin_retrieval.settings.schema import RecipeData, RecipeFinetuning, RecipeNegatives, Settings
from ettin_retrieval.sources.training_data import msmarco
from ettin_retrieval.training.finetune import training_arguments
from tests.settings_files import write_settings
from tests.workspace import ROOT

SIZES = ("17m", "32m", "68m", "150m", "400m", "1b")

SOURCES: dict[str, dict[str, Any]] = {
    "paper": {
        "data.train": "triplets",
        "data.max_train_queries": None,
        "negatives.sampling": "random",
        "negatives.source": "row_or_corpus",
        "negatives.num_negatives": 1,
        "finetuning.objective": "contrastive",
        "finetuning.temperature": 1 / 20,
        "finetuning.learning_rate": 3e-4,  # the README's, for 17m
        "finetuning.batch_size": 1024,
        "finetuning.mini_batch_size": 256,
        "finetuning.gradient_accumulation": 1,
        "finetuning.epochs": 1,
        "finetuning.warmup_ratio": 0.05,
        "finetuning.weight_decay": 0.0,
        "finetuning.precision": "bf16",
        "finetuning.keep": "last",
        "finetuning.early_stopping": None,
        "finetuning.max_query_length": None,
        "finetuning.max_passage_length": None,
        "encoder.pooling": "mean",
        "encoder.normalize": True,
    },
    "guide": {
        "data.train": "msmarco",
        "data.msmarco_config": "v1.1",
        "data.max_train_queries": None,
        "negatives.sampling": "hard",
        "negatives.source": "corpus",
        "negatives.num_negatives": 7,
        "negatives.range_max": 100,
        "finetuning.objective": "contrastive",
        "finetuning.temperature": 0.05,
        "finetuning.margin": 0.3,
        "finetuning.learning_rate": 2e-5,
        "finetuning.batch_size": 32,
        "finetuning.gradient_accumulation": 1,
        "finetuning.epochs": 3,
        "finetuning.warmup_ratio": 0.1,
        "finetuning.weight_decay": 0.01,
        "finetuning.precision": "fp32",
        "finetuning.keep": "best",
        "finetuning.early_stopping": None,
        "finetuning.max_query_length": 64,
        "finetuning.max_passage_length": 512,
        "encoder.pooling": "mean",
        "encoder.normalize": True,
    },
}
"""Recipe to the values of its source."""

DEVIATIONS: dict[str, dict[str, Any]] = {
    "paper": {"data.decontaminate": True},  # the script leaves no triplet out
    "guide": {"data.decontaminate": True},
}
"""Recipe to what differs from the source on purpose. The documentation has the reasons."""


def resolved(directory: Path, recipe: str, size: str) -> Settings:
    return load_settings(write_settings(directory, {"model": size, "recipe": recipe}))


def value(record: dict[str, Any], key: str) -> Any:
    section, _, name = key.partition(".")
    return record[section][name]


@pytest.mark.parametrize("recipe", SOURCES)
@pytest.mark.parametrize("size", SIZES)
def test_a_run_records_the_values_of_its_source(tmp_path: Path, size: str, recipe: str) -> None:
    settings = resolved(tmp_path, recipe, size)
    record, expected = settings.resolved(), SOURCES[recipe] | DEVIATIONS[recipe]
    assert {key: value(record, key) for key in expected} == expected
    assert record["encoder"]["source"] == f"jhu-clsp/ettin-encoder-{size}"
    assert settings.benchmark_source == "mteb"


@pytest.mark.parametrize(
    ("recipe", "kept", "precision"),
    [("paper", (False, None), "bf16"), ("guide", (True, "dev_similarity_ndcg@10"), "fp32")],
)
def test_the_trainer_gets_the_values_of_the_source(
    tmp_path: Path, recipe: str, kept: tuple[bool, str | None], precision: Any
) -> None:
    settings = resolved(tmp_path, recipe, "17m")
    arguments = training_arguments(settings, tmp_path / "work", 1221, 1, precision)
    assert (arguments.load_best_model_at_end, arguments.metric_for_best_model) == kept
    assert (arguments.bf16, arguments.fp16) == (precision == "bf16", False)
    assert arguments.lr_scheduler_type == "linear"
    epochs, ratio = (1, 0.05) if recipe == "paper" else (3, 0.1)
    assert arguments.warmup_steps == -(-1221 * epochs * ratio // 1)
    # What neither names: the trainer's own.
    assert (arguments.adam_beta1, arguments.adam_beta2, arguments.max_grad_norm) == (0.9, 0.999, 1)


def test_the_triplets_are_those_of_the_script() -> None:
    assert (msmarco.HELD_OUT, msmarco.HELD_OUT_SEED, msmarco.TRIPLET_ROWS) == (1000, 12, 1_250_000)


def test_the_last_checkpoint_is_not_stopped_for_early(tmp_path: Path) -> None:
    given = resolved(tmp_path, "paper", "17m")
    with pytest.raises(
        ValueError, match=r"finetuning.early_stopping: .* set finetuning.keep to best"
    ):
        given.with_changes({"finetuning.early_stopping": 2})
    changes = {"finetuning.early_stopping": 2, "finetuning.keep": "best"}
    assert given.with_changes(changes).finetuning.keep == "best"


def table(recipe: str) -> dict[str, list[str]]:
    """Key to the other cells of its row, in the recipe's table of docs/recipes.md."""
    text = (ROOT / "docs/recipes.md").read_text(encoding="utf-8")
    part = text.split(f"## `{recipe}`")[1].split("\n## ")[0]
    rows = [
        re.split(r" *(?<!\\)\| *", line.strip("| ")) for line in part.splitlines() if "|" in line
    ]
    return {key: cells[1:] for cells in rows for key in re.findall(r"`(\w+\.\w+)`", cells[0])}


@pytest.mark.parametrize("recipe", SOURCES)
def test_the_documentation_compares_every_setting(recipe: str) -> None:
    keys = {"data.train", *SOURCES[recipe], *DEVIATIONS[recipe]}
    for section, model in (
        ("data", RecipeData), ("negatives", RecipeNegatives), ("finetuning", RecipeFinetuning)
    ):  # fmt: skip
        keys |= {f"{section}.{name}" for name in model.model_fields}
    keys |= {f"finetuning.{name}" for name in ("learning_rate", "batch_size", "epochs")}
    rows = table(recipe)
    assert keys - {"data.msmarco_config", "data.max_train_queries"} <= rows.keys()
    for key in DEVIATIONS[recipe]:
        assert rows[key][-1], f"{key} differs on purpose, and the table does not say why"
