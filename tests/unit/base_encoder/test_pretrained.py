"""Encoders from directories: what is loaded, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from ettin_retrieval.base_encoder.pretrained import pretrained
from ettin_retrieval.encoders.checkpoint import describe, load_checkpoint, save_checkpoint
from ettin_retrieval.encoders.encode import TextEncoder
from ettin_retrieval.runtime.errors import InputError
from tests.collections import minilm
from tests.encoders import local_entry, without_normalize
from tests.hub.encoders import encoder_files

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4\n"
WEIGHTS = "model.safetensors"
LAYER = "layers.1.mlp.Wo.weight"

Damage = Callable[[Path], object]


@pytest.fixture
def ettin(tmp_path: Path) -> Path:
    """A miniature like those on the Hub: a masked language model, whose head is not used."""
    directory = tmp_path / "ettin"
    directory.mkdir()
    for name, content in encoder_files(0).items():
        (directory / name).write_bytes(content)
    return directory


@pytest.fixture
def sentence_encoder(tmp_path: Path) -> Path:
    """all-MiniLM-L6-v2 in a directory that may be changed."""
    return Path(shutil.copytree(minilm(), tmp_path / "minilm"))


def test_the_published_layout_is_loaded_with_the_weights_of_its_file(ettin: Path) -> None:
    model, origin = pretrained(local_entry(), str(ettin))
    assert origin["source"] == "local" and len(origin["revision"]) == 64
    weights = load_file(ettin / WEIGHTS)
    transformer: Any = model[0]
    state = transformer.model.state_dict()
    assert {f"model.{name}" for name in state} < set(weights)
    for name, tensor in state.items():
        assert torch.equal(tensor, weights[f"model.{name}"]), name


def rewritten(change: Callable[[dict[str, torch.Tensor]], object]) -> Damage:
    """Change the tensors of a directory's weights."""

    def damage(directory: Path) -> None:
        tensors = load_file(directory / WEIGHTS)
        change(tensors)
        save_file(tensors, directory / WEIGHTS, metadata={"format": "pt"})

    return damage


def prefixed(tensors: dict[str, torch.Tensor]) -> None:
    for name in list(tensors):
        tensors[f"encoder.{name}"] = tensors.pop(name)


def written(name: str, content: bytes) -> Damage:
    return lambda directory: (directory / name).write_bytes(content)


def compiled(tensors: dict[str, torch.Tensor]) -> None:
    tensors["_orig_mod.linear.weight"] = tensors.pop("linear.weight")


def without_padding(directory: Path) -> None:
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        content = json.loads((directory / name).read_text())
        del content["pad_token"]
        (directory / name).write_text(json.dumps(content))


def with_more_tokens(directory: Path) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(directory)
    rows = json.loads((directory / "config.json").read_text())["vocab_size"]
    tokenizer.add_tokens([f"<{n}>" for n in range(rows + 1 - len(tokenizer))])
    tokenizer.save_pretrained(directory)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (rewritten(prefixed), "the weights lack 'embeddings.norm.weight' (and 13 more) of"),
        (
            rewritten(lambda tensors: tensors.pop(f"model.{LAYER}")),
            f"the weights lack '{LAYER}' (and 0 more) of ModernBertModel",
        ),
        (
            rewritten(lambda tensors: tensors.update({f"model.{LAYER}": torch.zeros(3, 4)})),
            f"'{LAYER}' has shape (3, 4), and config.json says (32, 64)",
        ),
        (rewritten(dict.clear), f"{WEIGHTS} is not a complete safetensors file"),
        (
            written(WEIGHTS, LFS),
            f"{WEIGHTS} is a pointer of Git LFS; fetch the file itself with `git lfs pull`",
        ),
        (written("config.json", LFS), "config.json is a pointer of Git LFS"),
        (written("config.json", b"{"), "config.json is not valid JSON"),
        (written("config.json", b"{}"), "not a model that can be loaded"),
        (written(WEIGHTS, b""), f"{WEIGHTS} is not a complete safetensors file (0 bytes)"),
        (
            lambda d: (d / WEIGHTS).write_bytes((d / WEIGHTS).read_bytes()[:-1]),
            f"{WEIGHTS} is not a complete safetensors file",
        ),
        (
            lambda d: (d / WEIGHTS).rename(d / "pytorch_model.bin"),
            "no .safetensors weights in it",
        ),
        (lambda d: (d / "config.json").unlink(), "no config.json or modules.json in it"),
        (
            written("adapter_config.json", b"{}"),
            "adapter_config.json in it: the weights of an adapter alone are not loaded; merge it",
        ),
        (without_padding, "its tokenizer has no padding token, which batches need; set pad_token"),
        (
            with_more_tokens,
            "its tokenizer has 158 tokens, and the encoder has embeddings for 157; they belong to",
        ),
        (lambda d: (d / "tokenizer.json").unlink(), "not a model that can be loaded"),
    ],
)
def test_a_damaged_directory_is_refused_in_one_line(
    ettin: Path, damage: Damage, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    damage(ettin)
    with pytest.raises(InputError) as refused:
        pretrained(local_entry(), str(ettin))
    assert str(refused.value).startswith(f"local.encoder: {ettin}: ")
    assert message in str(refused.value)
    assert "LOAD REPORT" not in capfd.readouterr().err


def dense(directory: Path, change: Damage) -> Path:
    """A dense layer after the pooling of a sentence encoder, saved and changed."""
    base: Any = SentenceTransformer(str(directory))
    layer = Dense(384, 8, bias=False)
    SentenceTransformer(modules=[base[0], base[1], layer]).save(str(directory / "dense"))
    change(directory / "dense" / "2_Dense")
    return directory / "dense"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            rewritten(
                lambda tensors: tensors.update(
                    {"_orig_mod.linear.weight": tensors.pop("linear.weight")}
                )
            ),
            'Missing key(s) in state_dict: "linear.weight" Unexpected key(s) in state_dict: '
            '"_orig_mod.linear.weight"',
        ),
        (lambda d: (d / WEIGHTS).unlink(), f"Could not find '{WEIGHTS}'"),
        (
            lambda d: (d / "config.json").write_text(
                json.dumps(json.loads((d / "config.json").read_text()) | {"in_features": 9})
            ),
            "size mismatch for linear.weight",
        ),
    ],
)
def test_a_damaged_module_is_refused_in_one_line(
    sentence_encoder: Path, change: Damage, message: str
) -> None:
    directory = dense(sentence_encoder, change)
    with pytest.raises(InputError) as refused:
        pretrained(local_entry(), str(directory))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_modules_that_do_not_make_an_embedding_are_refused(sentence_encoder: Path) -> None:
    base: Any = SentenceTransformer(str(sentence_encoder))
    layer = Dense(99, 8, bias=False)
    SentenceTransformer(modules=[base[0], base[1], layer]).save(str(sentence_encoder / "wrong"))
    message = r"its modules \(Transformer, Pooling, Dense, Normalize\) do not embed a text: Runtime"
    with pytest.raises(InputError, match=message):
        pretrained(local_entry(), str(sentence_encoder / "wrong"))


def test_pooling_cannot_be_set_without_a_pooling_module(tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_file(str(Path(minilm(), "tokenizer.json")))
    SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=8)]).save(str(tmp_path))
    with pytest.raises(InputError, match="it has no pooling module to set to cls; write pooling a"):
        pretrained(local_entry(pooling="cls"), str(tmp_path))


@pytest.mark.parametrize(
    ("architecture", "warned"),
    [
        ("BertForSequenceClassification", True),
        ("BertForTokenClassification", True),
        ("BertModel", False),
        ("BertForMaskedLM", False),
    ],
)
def test_a_classifier_is_named(
    sentence_encoder: Path, architecture: str, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    path = sentence_encoder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"architectures": [architecture]}))
    pretrained(local_entry(), str(sentence_encoder))
    expected = (
        f"local.encoder: {sentence_encoder}: its architecture is {architecture}, a classifier"
    )
    assert (expected in caplog.text) == warned
    assert ("classifier" in caplog.text) == warned


def test_a_missing_pooling_is_refused(sentence_encoder: Path) -> None:
    shutil.rmtree(sentence_encoder / "1_Pooling")
    with pytest.raises(InputError, match=r"modules.json names a pooling, and \S+ is missing"):
        pretrained(local_entry(), str(sentence_encoder))


def stating(name: str, **content: Any) -> Damage:
    """Change what a JSON file of the directory states."""

    def change(directory: Path) -> None:
        path = directory / name
        path.write_text(json.dumps(json.loads(path.read_text()) | content))

    return change


@pytest.mark.parametrize(
    ("published", "change", "lengths"),
    [
        # An encoder for 7,999 tokens whose directory says nothing of retrieval.
        ("ettin", None, (512, 512)),
        ("ettin", stating("config.json", max_position_embeddings=128), (128, 128)),
        ("ettin", stating("tokenizer_config.json", model_max_length=int(1e30)), (512, 512)),
        # A sentence-transformers directory: one length for all texts, or one for each role.
        ("sentence_encoder", None, (256, 256)),
        (
            "sentence_encoder",
            stating("sentence_bert_config.json", query_length=32, document_length=200),
            (32, 200),
        ),
        ("sentence_encoder", stating("sentence_bert_config.json", query_length=48), (48, 256)),
        (
            "sentence_encoder",
            stating("sentence_bert_config.json", max_seq_length=int(1e30)),
            (512, 512),
        ),
    ],
)
def test_auto_lengths_are_those_stated_or_512(
    published: str,
    change: Damage | None,
    lengths: tuple[int, int],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    directory: Path = request.getfixturevalue(published)
    if change is not None:
        change(directory)
    model, origin = pretrained(local_entry(), str(directory))
    record = save_checkpoint(model, tmp_path / "checkpoint", origin)
    assert (record["max_query_length"], record["max_passage_length"]) == lengths
    # As the base of another run, the checkpoint keeps its lengths.
    again, _ = pretrained(local_entry(), str(tmp_path / "checkpoint"))
    kept = describe(again)
    assert (kept["max_query_length"], kept["max_passage_length"]) == lengths


def test_lengths_are_bounded_by_positions(ettin: Path, sentence_encoder: Path) -> None:
    pretrained(local_entry(max_passage_length=512), str(sentence_encoder))
    message = (
        "max_passage_length 513 is more than the 512 tokens that the encoder has positions for; "
        "lower ettin_MODEL.base.max_passage_length in encoders.yaml"
    )
    with pytest.raises(InputError, match=message):
        pretrained(local_entry(max_passage_length=513), str(sentence_encoder))
    with pytest.raises(InputError, match="max_query_length 8000 is more than the 7999 tokens"):
        pretrained(local_entry(max_query_length=8000), str(ettin))


@pytest.mark.parametrize(
    ("similarity", "normalize", "kept"),
    [
        ("cosine", "auto", "cosine"),
        ("dot", "auto", "dot"),
        ("dot", True, "cosine"),
        ("cosine", False, "dot"),
    ],
)
def test_the_checkpoint_has_the_similarity_of_training_mining_and_evaluation(
    sentence_encoder: Path,
    tmp_path: Path,
    similarity: str,
    normalize: bool | Literal["auto"],
    kept: str,
) -> None:
    """Mining and evaluation take inner products: they are the checkpoint's similarity."""
    directory = without_normalize(sentence_encoder, similarity)
    model, origin = pretrained(local_entry(normalize=normalize), str(directory))
    record = save_checkpoint(model, tmp_path / "checkpoint", origin)
    assert record["normalize"] == (kept == "cosine")
    saved = load_checkpoint(tmp_path / "checkpoint")
    assert saved.similarity_fn_name == kept
    vectors = TextEncoder(saved, 2).encode(["an anchor", "a chain of iron"], "passage")
    assert np.allclose(vectors @ vectors.T, saved.similarity(vectors, vectors), atol=1e-5)


def test_a_similarity_that_cannot_be_searched_is_refused(sentence_encoder: Path) -> None:
    directory = without_normalize(sentence_encoder, "euclidean")
    with pytest.raises(InputError, match="its similarity is euclidean; search needs cosine or dot"):
        pretrained(local_entry(), str(directory))
