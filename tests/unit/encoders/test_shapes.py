"""Whatever modules a model has, its embeddings are those of sentence-transformers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Normalize, Router, Transformer
from sentence_transformers.sentence_transformer.modules import (
    LayerNorm,
    Pooling,
    StaticEmbedding,
)
from tokenizers import Tokenizer

from ettin_retrieval.base_encoder.pretrained import pretrained
from ettin_retrieval.encoders.checkpoint import load_checkpoint, read_checkpoint, save_checkpoint
from ettin_retrieval.encoders.encode import TextEncoder
from ettin_retrieval.encoders.tokenise import Role, tokenise
from ettin_retrieval.runtime.errors import InputError
from tests.encoders import local_entry
from tests.hub.encoders import encoder_files

TEXTS = ["a river", "the sea and the salt of the sea", "", "river " * 300, "Löwe, 1914!"]

SIZE = 32
"""Dimension of the miniature's embeddings."""


@pytest.fixture(scope="module")
def miniature(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("ettin")
    for name, content in encoder_files(0).items():
        (directory / name).write_bytes(content)
    return directory


def transformer(miniature: Path) -> Transformer:
    return Transformer(str(miniature), model_kwargs={"dtype": torch.float32})


def pooled(mode: str, *more: Any, **options: Any) -> Callable[[Path], SentenceTransformer]:
    """A transformer, a pooling of this mode and further modules."""

    def build(miniature: Path) -> SentenceTransformer:
        pooling = Pooling(SIZE, pooling_mode=mode, **options)
        return SentenceTransformer(modules=[transformer(miniature), pooling, *more])

    return build


def with_options(
    build: Callable[[Path], SentenceTransformer], **options: Any
) -> Callable[[Path], SentenceTransformer]:
    """The model with attributes set."""

    def changed(miniature: Path) -> SentenceTransformer:
        model = build(miniature)
        for name, value in options.items():
            setattr(model, name, value)
        return model

    return changed


def padded_left(miniature: Path) -> SentenceTransformer:
    model = pooled("lasttoken", Normalize())(miniature)
    model.tokenizer.padding_side = "left"
    return model


def static(miniature: Path) -> StaticEmbedding:
    tokenizer = Tokenizer.from_file(str(miniature / "tokenizer.json"))
    torch.manual_seed(1)
    return StaticEmbedding(tokenizer, embedding_dim=SIZE)


def routed(miniature: Path) -> SentenceTransformer:
    """Static embeddings for queries, a transformer for passages."""
    passages = [transformer(miniature), Pooling(SIZE, pooling_mode="mean")]
    router = Router.for_query_document([static(miniature)], passages)
    return SentenceTransformer(modules=[router, Normalize()])


def dense(outputs: int) -> Dense:
    torch.manual_seed(2)
    return Dense(SIZE, outputs, activation_function=torch.nn.Tanh())


PROMPTS = {"query": "find: ", "document": "text: "}

SHAPES: dict[str, Callable[[Path], SentenceTransformer]] = {
    "mean": pooled("mean", Normalize()),
    "cls": pooled("cls", Normalize()),
    "max": pooled("max", Normalize()),
    "mean_sqrt_len_tokens": pooled("mean_sqrt_len_tokens", Normalize()),
    "weightedmean": pooled("weightedmean", Normalize()),
    "lasttoken": pooled("lasttoken", Normalize()),
    "padding on the left": padded_left,
    "cosine without a module that normalises": pooled("mean"),
    "dot product": with_options(pooled("mean"), similarity_fn_name="dot"),
    "prompts": with_options(pooled("mean", Normalize()), prompts=PROMPTS),
    "a prompt that is not pooled": with_options(
        pooled("mean", Normalize(), include_prompt=False), prompts=PROMPTS
    ),
    "dense": pooled("mean", dense(16), Normalize()),
    "dense after normalising": pooled("mean", Normalize(), dense(16)),
    "layer norm": pooled("mean", LayerNorm(SIZE), Normalize()),
    "truncated": with_options(pooled("mean", Normalize()), truncate_dim=8),
    "truncated, cosine without a module": with_options(pooled("mean"), truncate_dim=8),
    "truncated, dot product": with_options(
        pooled("mean"), truncate_dim=8, similarity_fn_name="dot"
    ),
    "truncated after dense": with_options(pooled("mean", dense(16), Normalize()), truncate_dim=8),
    "truncated to more than it has": with_options(pooled("mean", Normalize()), truncate_dim=99),
    "router": routed,
    "static embeddings": lambda miniature: SentenceTransformer(modules=[static(miniature)]),
}


def rows(vectors: npt.NDArray[Any], normalised: bool) -> npt.NDArray[Any]:
    """The vectors that are compared: of length 1 if their similarity is the cosine."""
    if not normalised:
        return vectors
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12))


def assert_embeds_as_sentence_transformers(directory: Path, saved: Path) -> None:
    """A directory as a base encoder: in mining and evaluation, and in a loss."""
    model, origin = pretrained(local_entry(), str(directory))
    save_checkpoint(model, saved, origin)
    theirs = SentenceTransformer(str(directory), model_kwargs={"dtype": torch.float32})
    saved_theirs = SentenceTransformer(str(saved))
    ours = load_checkpoint(saved)
    cosine = theirs.similarity_fn_name == "cosine"
    assert read_checkpoint(saved)["normalize"] == cosine
    roles: tuple[tuple[Role, str], ...] = (("query", "query"), ("passage", "document"))
    for role, task in roles:
        expected = rows(getattr(theirs, f"encode_{task}")(TEXTS).astype(np.float32), cosine)
        found = TextEncoder(ours, 4).encode(TEXTS, role)
        np.testing.assert_allclose(found, expected, atol=2e-6)
        # What sentence-transformers makes of the saved files, and of the model in memory.
        again = getattr(saved_theirs, f"encode_{task}")(TEXTS)
        np.testing.assert_allclose(rows(again, cosine), expected, atol=2e-6)
        np.testing.assert_allclose(getattr(ours, f"encode_{task}")(TEXTS), expected, atol=2e-6)
        # A loss calls the model itself.
        with torch.no_grad():
            output = ours(tokenise(ours, TEXTS, role).features([0, 1, 2, 3, 4]))
        trained = output["sentence_embedding"].numpy()
        np.testing.assert_allclose(trained, expected, atol=2e-6)
        assert ours.get_embedding_dimension() == expected.shape[1]


@pytest.mark.parametrize("shape", SHAPES)
def test_embeddings_are_those_of_sentence_transformers(
    shape: str, miniature: Path, tmp_path: Path
) -> None:
    SHAPES[shape](miniature).save(str(tmp_path / "model"))
    assert_embeds_as_sentence_transformers(tmp_path / "model", tmp_path / "saved")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", ["dense", "router", "static embeddings"])
def test_half_precision_weights_are_computed_in_fp32(
    shape: str, dtype: torch.dtype, miniature: Path, tmp_path: Path
) -> None:
    SHAPES[shape](miniature).save(str(tmp_path / "model"))
    for path in (tmp_path / "model").rglob("model.safetensors"):
        save_file(
            {name: t.to(dtype) for name, t in load_file(path).items()}, path, {"format": "pt"}
        )
    model, _ = pretrained(local_entry(), str(tmp_path / "model"))
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    if shape == "dense":  # sentence-transformers computes static embeddings in half precision
        assert_embeds_as_sentence_transformers(tmp_path / "model", tmp_path / "saved")


def test_a_cut_vector_is_of_length_1(miniature: Path, tmp_path: Path) -> None:
    SHAPES["truncated"](miniature).save(str(tmp_path / "model"))
    model, origin = pretrained(local_entry(), str(tmp_path / "model"))
    save_checkpoint(model, tmp_path / "saved", origin)
    vectors = TextEncoder(load_checkpoint(tmp_path / "saved"), 4).encode(TEXTS, "passage")
    assert vectors.shape == (5, 8)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_embeddings_that_are_not_finite_are_named(miniature: Path, tmp_path: Path) -> None:
    model, origin = pretrained(local_entry(), str(miniature))
    word = model.tokenizer("river")["input_ids"][1]
    with torch.no_grad():
        first: Any = model[0]
        first.model.get_input_embeddings().weight[word] = float("nan")
    save_checkpoint(model, tmp_path / "spoilt", origin)
    encoder = TextEncoder(load_checkpoint(tmp_path / "spoilt"), 4)
    encoder.encode(["the sea"], "query")
    message = (
        f"{tmp_path}/spoilt: the embeddings of 1 of 2 passage texts are not finite numbers, such "
        "as that of 'a river'"
    )
    with pytest.raises(InputError, match=message):
        encoder.encode(["the sea", "a river", "the sea"], "passage")
