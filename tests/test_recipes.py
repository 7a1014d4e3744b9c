"""`-S recipe=guide|paper`: what each resolves to, and the data that each trains on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from ruamel.yaml import YAML

from tests.workspace import Workspace
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.settings.load import load_settings
from ettin_retrieval.settings.schema import Settings
from tests.loopback_hub import LoopbackHub, populate

ROOT = Path(__file__).resolve().parents[1]
SIZES = ("17m", "32m", "68m", "150m", "400m", "1b")


def settings(**changes: Any) -> Settings:
    """params.yaml with dotted keys set (a double underscore for each dot)."""
    content = YAML(typ="safe").load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    for key, value in changes.items():
        *parents, last = key.split("__")
        section = content
        for parent in parents:
            section = section[parent]
        section[last] = value
    return Settings.model_validate(content)


@pytest.mark.parametrize("size", SIZES)
def test_the_guide_for_every_size(size: str) -> None:
    guide = settings(model=size)
    assert guide.recipe == "guide"
    assert (guide.learning_rate, guide.batch_size, guide.epochs) == (2e-5, 32, 3)
    assert (guide.train_source, guide.negatives.per_query) == ("msmarco", 7)
    assert guide.finetuning.temperature == 0.05
    assert (guide.finetuning.warmup_ratio, guide.finetuning.weight_decay) == (0.1, 0.01)


@pytest.mark.parametrize("size", SIZES)
def test_the_paper_for_every_size(size: str) -> None:
    paper = settings(model=size, recipe="paper")
    assert (paper.batch_size, paper.epochs) == (1024, 1)
    assert (paper.train_source, paper.data.dev_queries) == ("triplets", 1000)
    negatives = paper.negatives
    own = (negatives.source, negatives.sampling, negatives.per_query)
    assert own == ("row_or_corpus", "random", 1)
    assert 1 / paper.finetuning.temperature == 20, "the scale of the paper"
    assert paper.finetuning.mini_batch_size == 64, "the cached loss"
    assert (paper.finetuning.warmup_ratio, paper.finetuning.weight_decay) == (0.05, 0.0)


def test_the_embedded_default_is_what_it_was() -> None:
    tiny = settings()
    assert (tiny.learning_rate, tiny.batch_size, tiny.epochs) == (2e-3, 16, 2)
    assert (tiny.train_source, tiny.data.dev_queries) == ("synthetic", 500)
    assert tiny.finetuning.mini_batch_size == "auto"
    negatives = tiny.negatives
    assert (negatives.source, negatives.sampling, negatives.per_query) == ("corpus", "hard", 7)
    assert (tiny.finetuning.warmup_ratio, tiny.finetuning.weight_decay) == (0.1, 0.01)


def test_the_paper_runs_on_the_other_tracks_with_their_own_data() -> None:
    assert settings(recipe="paper").train_source == "synthetic"
    assert settings(recipe="paper", model="local").train_source == "beir"


def test_a_value_wins_over_the_recipe_and_a_missing_key_is_auto() -> None:
    assert settings(recipe="paper", negatives__per_query=3).negatives.per_query == 3
    content = YAML(typ="safe").load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    content["recipe"] = "paper"
    del content["finetuning"]["warmup_ratio"]
    assert Settings.model_validate(content).finetuning.warmup_ratio == 0.05


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("recipe: guide", "recipe: papers", "recipe: 'papers' is not allowed; it must be guide or"),
        ("  weight_decay: auto", "  weight_decay: no", "weight_decay: 'no' is not allowed; it must "
         "be a number or auto"),
        ("data: {dev_queries: 500}", "data: {dev_queries: -1}", "recipes.guide.data.dev_queries"),
        ("batch_size: 1024", "batch_size: auto", "paper.batch_size: 'auto' is not allowed"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(tmp_path: Path, before: str, after: str, told: str) -> None:
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    assert before in text
    path = tmp_path / "params.yaml"
    path.write_text(text.replace(before, after, 1), encoding="utf-8")
    with pytest.raises(InputError) as refused:
        load_settings(path)
    assert told in str(refused.value) and "\n" not in str(refused.value)


def test_another_recipe_re_runs_training_and_not_the_base_evaluation() -> None:
    stages = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    reading = {name for name, stage in stages.items() if "${recipe}" in str(stage.get("params"))}
    assert reading == {"training_data", "negatives", "finetuning"}


@pytest.mark.parametrize(
    ("recipe", "source"),
    [
        ("guide", "microsoft/ms_marco v1.1"),
        ("paper", "sentence-transformers/msmarco-co-condenser-margin-mse-sym-mnrl-mean-v1 "
         "triplet-hard"),
    ],
)  # fmt: skip
def test_the_training_data_of_a_recipe(
    workspace: Workspace, tmp_path: Path, recipe: str, source: str
) -> None:
    # The paper's goes as far as its negatives, which are the triplets' own.
    last = "negatives" if recipe == "paper" else "training_data"
    with LoopbackHub() as hub:
        populate(hub, tasks=("SciFact",), rows=40)
        done = workspace.run(
            "dvc", "exp", "run", "-S", "model=17m", "-S", f"recipe={recipe}",
            "-S", "evaluation.tasks=[SciFact]", "-S", "data.remove_overlap=false",
            "settings", last, env=hub.env(tmp_path / "cache"),
        )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    resolved = json.loads((workspace.path / "metrics/settings.json").read_text())
    assert resolved["recipe"] == recipe
    assert "auto" not in json.dumps(
        {key: resolved[key] for key in ("finetuning", "negatives")}
    ).replace('"mini_batch_size": "auto"', "")
    train = json.loads((workspace.path / "data/training/train/manifest.json").read_text())
    dev = json.loads((workspace.path / "data/training/dev/manifest.json").read_text())
    assert train["source"] == source
    if recipe == "paper":
        assert (train["split"], dev["split"]) == ("train", "train (held out)")
        counts = train["counts"]
        assert counts["queries"] == 36, "four of forty rows are held out"
        assert (counts["positives"], counts["qrels"]) == (36, 72), "one positive, one negative each"
        chosen = pq.read_table(workspace.path / "data/negatives/negatives.parquet").to_pylist()
        own = pq.read_table(workspace.path / "data/training/train/qrels.parquet").to_pylist()
        negatives = {row["query_id"]: [row["corpus_id"]] for row in own if row["score"] == 0}
        assert {row["query_id"]: row["negative_ids"] for row in chosen} == negatives
