"""The README's command for your own files: a BEIR directory and a local encoder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ettin_retrieval.mining.mine import mine
from ettin_retrieval.settings.load import load_settings
from ettin_retrieval.sources.training_data import load_source, training_and_dev
from tests.collections import TOPICS, minilm, write_collection
from tests.workspace import ROOT, Workspace


def test_a_local_encoder_on_a_beir_directory(workspace: Workspace, tmp_path: Path) -> None:
    collection = tmp_path / "my files" / "leases"
    write_collection(collection)
    overrides = (
        "model=local", f"local.encoder={minilm()}", f"local.train={collection}",
        f"local.benchmark={collection}", "negatives.num_negatives=1",
        "finetuning.evaluations_per_epoch=1", "evaluation.cache_embeddings=true", "strict=false",
    )  # fmt: skip
    options = [part for override in overrides for part in ("-S", override)]
    done = workspace.run("dvc", "exp", "run", *options)
    assert done.returncode == 0, done.stderr[-3000:]
    scores = json.loads((workspace.path / "metrics/base.json").read_text())
    assert scores["leases.ndcg_at_10"] > 0.5
    checkpoint = json.loads((workspace.path / "models/finetuned/checkpoint.json").read_text())
    # As MiniLM's directory states.
    assert checkpoint["max_passage_length"] == 256
    assert (checkpoint["pooling"], checkpoint["normalize"]) == ("mean", True)
    entry = json.loads((workspace.path / "results/local/base-seed42.json").read_text())
    assert entry["tasks"]["leases"]["passages"] == len(TOPICS) * 3
    assert len(list((workspace.path / "data/embeddings").glob("*.npy"))) == 2

    # A changed file of the user's re-runs what reads it.
    with (collection / "qrels" / "test.tsv").open("a") as file:
        file.write("q1-0\theating1\t1\n")
    status = json.loads(workspace.run("dvc", "status", "--json").stdout)
    assert {"training_data", "benchmark_data"} <= set(status)


@pytest.mark.parametrize("recipe", ["guide", "paper"])
def test_positive_judgments_alone_suffice_in_either_recipe(tmp_path: Path, recipe: str) -> None:
    write_collection(tmp_path / "leases")
    settings = load_settings(ROOT / "params.yaml").with_changes({"model": "local"})
    negatives = {"sampling": "random"}  # without an encoder
    if recipe == "paper":
        negatives |= settings.recipes.paper.negatives.model_dump()
    settings = settings.with_changes({f"negatives.{key}": v for key, v in negatives.items()})
    train = training_and_dev(load_source(settings, tmp_path / "leases"), settings)["train"]
    pairs, report = mine(train, None, settings)
    assert report.shortfall == 0
    for query, positive, chosen in pairs:
        assert set(train.positives()[query]) == {positive}
        assert len(set(chosen) - {positive}) == settings.negatives.num_negatives
