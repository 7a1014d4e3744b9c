"""Encoders from directories: what is read, what is refused, and by what they are compared."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.workspace import ROOT
from ettin_retrieval.base_encoder.pretrained import pretrained
from ettin_retrieval.encoders.checkpoint import load_checkpoint, save_checkpoint
from ettin_retrieval.encoders.encode import encode
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.settings.load import load_settings
from ettin_retrieval.settings.schema import Encoder
from tests.loopback_hub import WORDS, tiny_encoder_files
from test_own_documents import minilm

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4\n"


def entry(**changes: Any) -> Encoder:
    local = load_settings(ROOT / "params.yaml").encoders["ettin_local"]
    return Encoder.model_validate(local.model_dump() | changes)


@pytest.fixture
def ettin(tmp_path: Path) -> Path:
    """A miniature as the hub's: a masked language model, whose head the encoder has no use for."""
    directory = tmp_path / "ettin"
    directory.mkdir()
    for name, content in tiny_encoder_files(0, WORDS).items():
        (directory / name).write_bytes(content)
    return directory


@pytest.fixture
def sentence_encoder(tmp_path: Path) -> Path:
    """all-MiniLM-L6-v2 in a directory that may be changed."""
    return Path(shutil.copytree(minilm(), tmp_path / "minilm"))


def rewritten(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], object]:
    """Damage the tensors of a directory's weights."""

    def damage(directory: Path) -> None:
        tensors = load_file(directory / "model.safetensors")
        change(tensors)
        save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})

    return damage


def renamed(tensors: dict[str, torch.Tensor]) -> None:
    for name in list(tensors):
        tensors[f"encoder.{name}"] = tensors.pop(name)


def test_the_published_layout_is_read_with_the_weights_of_its_file(ettin: Path) -> None:
    model, _ = pretrained(entry(), str(ettin))
    weights = load_file(ettin / "model.safetensors")
    state = model[0].model.state_dict()
    assert {f"model.{name}" for name in state} < set(weights)
    for name, tensor in state.items():
        assert torch.equal(tensor, weights[f"model.{name}"]), name


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (rewritten(renamed), "the weights lack 'embeddings.norm.weight' (and 13 more) of"),
        (
            rewritten(lambda t: t.pop("model.layers.1.mlp.Wo.weight")),
            "the weights lack 'layers.1.mlp.Wo.weight' (and 0 more) of ModernBertModel",
        ),
        (
            rewritten(lambda t: t.update({"model.layers.1.mlp.Wo.weight": torch.zeros(3, 4)})),
            "'layers.1.mlp.Wo.weight' has shape (3, 4), and config.json says (32, 64)",
        ),
        (
            lambda d: (d / "model.safetensors").write_bytes(LFS),
            "model.safetensors is a pointer of Git LFS; fetch the file itself with `git lfs pull`",
        ),
        (lambda d: (d / "config.json").write_bytes(LFS), "config.json is a pointer of Git LFS"),
        (lambda d: (d / "config.json").write_text("{"), "config.json is not valid JSON"),
        (lambda d: (d / "config.json").write_text("{}"), "not a model that can be loaded"),
        (
            lambda d: (d / "model.safetensors").write_bytes(b""),
            "model.safetensors is no whole safetensors file (0 bytes)",
        ),
        (
            lambda d: (d / "model.safetensors").write_bytes(
                (d / "model.safetensors").read_bytes()[:-1]
            ),
            "model.safetensors is no whole safetensors file",
        ),
        (
            lambda d: (d / "model.safetensors").rename(d / "pytorch_model.bin"),
            "no .safetensors weights in it",
        ),
        (lambda d: (d / "tokenizer.json").unlink(), "not a model that can be loaded"),
    ],
)
def test_a_damaged_directory_is_refused_in_one_line(
    ettin: Path, damage: Callable[[Path], object], told: str, capfd: pytest.CaptureFixture[str]
) -> None:
    damage(ettin)
    with pytest.raises(InputError) as refused:
        pretrained(entry(), str(ettin))
    assert str(refused.value).startswith(f"local.encoder: {ettin}: ")
    assert told in str(refused.value)
    assert "LOAD REPORT" not in capfd.readouterr().err


def test_a_missing_pooling_is_not_made_up(sentence_encoder: Path) -> None:
    shutil.rmtree(sentence_encoder / "1_Pooling")
    with pytest.raises(InputError, match=r"modules.json names a pooling, and \S+ is missing"):
        pretrained(entry(), str(sentence_encoder))


def test_lengths_are_bounded_by_positions(ettin: Path, sentence_encoder: Path) -> None:
    pretrained(entry(max_passage_length=512), str(sentence_encoder))
    told = "max_passage_length 513 is more than the 512 tokens that the encoder has positions for"
    with pytest.raises(InputError, match=told):
        pretrained(entry(max_passage_length=513), str(sentence_encoder))
    with pytest.raises(InputError, match="max_query_length 8000 is more than the 7999 tokens"):
        pretrained(entry(max_query_length=8000), str(ettin))


def without_normalize(directory: Path, similarity: str) -> Path:
    modules = json.loads((directory / "modules.json").read_text())
    (directory / "modules.json").write_text(json.dumps(modules[:2]))
    config = directory / "config_sentence_transformers.json"
    content = json.loads(config.read_text()) if config.is_file() else {}
    config.write_text(json.dumps(content | {"similarity_fn_name": similarity}))
    return directory


@pytest.mark.parametrize(
    ("similarity", "normalize", "kept"),
    [
        ("cosine", "auto", "cosine"),
        ("dot", "auto", "dot"),
        ("dot", True, "cosine"),
        ("cosine", False, "dot"),
    ],
)
def test_one_similarity_for_training_mining_and_evaluation(
    sentence_encoder: Path, tmp_path: Path, similarity: str, normalize: Any, kept: str
) -> None:
    """Mining and evaluation take inner products: these are the similarity of the checkpoint."""
    model, origin = pretrained(
        entry(normalize=normalize), str(without_normalize(sentence_encoder, similarity))
    )
    record = save_checkpoint(model, tmp_path / "checkpoint", origin)
    assert record["normalize"] == (kept == "cosine")
    saved = load_checkpoint(tmp_path / "checkpoint")
    assert saved.similarity_fn_name == kept
    vectors = encode(saved, ["an anchor", "a chain of iron"], "passage", batch_size=2)
    assert np.allclose(vectors @ vectors.T, saved.similarity(vectors, vectors), atol=1e-5)


def test_a_similarity_that_cannot_be_searched_is_refused(sentence_encoder: Path) -> None:
    directory = without_normalize(sentence_encoder, "euclidean")
    with pytest.raises(InputError, match="its similarity is euclidean; cosine and dot can be"):
        pretrained(entry(), str(directory))
