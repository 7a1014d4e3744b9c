"""What the stage `settings` checks before any data is read: the machine and the directories."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from ettin_retrieval import preflight
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.settings.load import load_settings
from ettin_retrieval.settings.schema import Settings
from tests.collections import minilm, write_collection
from tests.workspace import ROOT


def settings(changes: dict[str, Any]) -> Settings:
    return load_settings(ROOT / "params.yaml").with_changes(changes)


@pytest.fixture
def own(tmp_path: Path) -> dict[str, str]:
    """`local` with an encoder and a collection."""
    collection = tmp_path / "leases"
    write_collection(collection)
    return {"encoder": minilm(), "train": str(collection), "benchmark": str(collection)}


@pytest.mark.parametrize("section", ["finetuning", "evaluation"])
def test_a_precision_that_the_machine_lacks(section: str, monkeypatch: pytest.MonkeyPatch) -> None:
    key = f"{section}.precision"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    preflight.check(settings({key: "bf16"}))
    with pytest.raises(InputError, match=f"{key}: fp16 needs a GPU"):
        preflight.check(settings({key: "fp16"}))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: False)
    with pytest.raises(InputError, match=f"{key}: this GPU has no bf16"):
        preflight.check(settings({key: "bf16"}))


@pytest.mark.parametrize("name", ["qrels/train.tsv", "queries.jsonl", "corpus.jsonl"])
def test_a_collection_without_a_file(own: dict[str, str], name: str) -> None:
    preflight.check(settings({"model": "local", "local": own}))
    (Path(own["train"]) / name).unlink()
    with pytest.raises(InputError, match=f"local.train: .*{name}: no such file"):
        preflight.check(settings({"model": "local", "local": own}))


def test_an_objective_that_the_encoder_cannot_be_trained_with(
    own: dict[str, str], tmp_path: Path
) -> None:
    encoder = Path(shutil.copytree(minilm(), tmp_path / "minilm"))
    modules = json.loads((encoder / "modules.json").read_text())
    (encoder / "modules.json").write_text(json.dumps(modules[:2]))  # not normalised
    similarity = {"similarity_fn_name": "dot"}
    (encoder / "config_sentence_transformers.json").write_text(json.dumps(similarity))
    by_dot_product = {"model": "local", "local": own | {"encoder": str(encoder)}}
    by_cosine = by_dot_product | {"finetuning.objective": "cosine_similarity"}
    preflight.check(settings(by_dot_product))
    with pytest.raises(InputError, match="scores by dot product, which the objective") as refused:
        preflight.check(settings(by_cosine))
    assert str(refused.value).endswith("-S encoders.yaml:ettin_local.base.normalize=true")
    preflight.check(settings(by_cosine | {"encoders.ettin_local.normalize": True}))


@pytest.mark.parametrize(
    ("key", "path", "said"),
    [
        (
            "train",
            "file",
            "local.train: .*file: a file, not a directory; a BEIR directory has corpus.jsonl, ",
        ),
        ("benchmark", "file", "local.benchmark: .*no corpus.jsonl"),
        ("encoder", "file", "local.encoder: .*this is a file"),
        ("encoder", "missing", "local.encoder: .*no such directory"),
    ],
)
def test_a_path_that_is_not_a_directory(
    own: dict[str, str], tmp_path: Path, key: str, path: str, said: str
) -> None:
    (tmp_path / "file").write_text("text")
    wrong = own | {key: str(tmp_path / path)}
    with pytest.raises(InputError, match=said):
        preflight.check(settings({"model": "local", "local": wrong}))


@pytest.mark.parametrize("copy", [".dvc/tmp/exps/standalone/tmp1", ".dvc/tmp/exps/tmp2"])
@pytest.mark.parametrize("key", ["encoder", "train", "benchmark"])
def test_a_relative_directory_that_an_experiment_s_copy_lacks(
    own: dict[str, str], tmp_path: Path, copy: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / copy).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / copy)
    preflight.check(settings({"model": "local", "local": own}))
    shutil.copytree(tmp_path / "leases", "tracked")
    absolute = own | {"train": "tracked"}
    preflight.check(settings({"model": "local", "local": absolute}))
    for relative in ("leases", "../leases", os.path.relpath(own[key])):
        wrong = settings({"local": own | {key: relative}})
        with pytest.raises(InputError, match=f"^local.{key}: {relative}: not in the copy of the r"):
            preflight.check(wrong)
    monkeypatch.chdir(tmp_path)
    preflight.check(settings({"local": own | {"train": "leases"}}))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({}, None),
        ({"evaluation.tasks": ["TinySciFact"]}, None),
        ({"data.heldout": ["TinySciFact", "TinyNFCorpus"]}, "TinyDBPedia, TinyMSMARCO"),
        ({"data.benchmark": "mteb", "evaluation.tasks": "paper"}, None),
        ({"data.benchmark": "mteb", "evaluation.tasks": ["CQADupstackTexRetrieval"]}, None),
        ({"data.benchmark": "mteb", "evaluation.tasks": ["NQ", "NQHardNegatives"]},
         "NQHardNegatives"),
        ({"data.benchmark": "mteb", "data.heldout": "eng-v2", "evaluation.tasks": "paper"},
         "MSMARCO"),
    ],
)  # fmt: skip
def test_a_scored_task_that_is_not_held_out_is_named(
    changes: dict[str, Any], named: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    preflight.check(settings(changes))
    start = f"evaluation.tasks: training is not decontaminated against {named}; name them in data."
    assert [line.startswith(start) for line in caplog.messages] == ([] if named is None else [True])


@pytest.mark.parametrize("key", ["evaluation.tasks", "data.heldout"])
def test_an_unknown_task_of_mteb(key: str) -> None:
    with pytest.raises(InputError, match=f"params.yaml: {key}: unknown task 'SciFakt'; did you m"):
        preflight.check(settings({"data.benchmark": "mteb", key: ["SciFact", "SciFakt"]}))


def test_own_collections_are_held_out_by_their_names(
    own: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    preflight.check(settings({"model": "local", "local": own}))
    preflight.check(settings({"model": "local", "local": own, "data.heldout": ["leases"]}))
    assert not caplog.messages
    missing = own | {"benchmark": str(tmp_path / "none")}
    elsewhere = {"model": "local", "local": missing, "evaluation.tasks": "guide"}
    with pytest.raises(
        InputError, match=r"local.benchmark, where data.heldout looks: .*none: no c"
    ):
        preflight.check(settings(elsewhere))
    preflight.check(settings(elsewhere | {"data.heldout": "guide"}))
    assert not caplog.messages
