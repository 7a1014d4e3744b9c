"""Checkpoints: SentenceTransformer directories with a record of what they are.

A checkpoint has safetensors weights, tokenizer, pooling, normalisation and the lengths of queries
and passages. Its `checkpoint.json` records fingerprint and origin.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ettin_retrieval.encoders.tokenise import max_length_of, prompt_of
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.runtime.files import read_json, sha256_file, write_json

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

RECORD = "checkpoint.json"


def fingerprint(directory: Path) -> str:
    """sha256 over names and contents of a checkpoint's files, wherever it lies."""
    digest = hashlib.sha256()
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        if path.is_file() and name not in {RECORD, "README.md"}:
            digest.update(f"{name}\0{sha256_file(path)}\n".encode())
    return digest.hexdigest()


def save_checkpoint(
    model: SentenceTransformer, directory: Path, origin: dict[str, Any]
) -> dict[str, Any]:
    """Write a checkpoint and return its record.

    Its origin is `source` and `revision`: a hub id and commit, `local` or `tiny`, or `finetuned`
    and the fingerprint of the checkpoint that training started from, with the lengths and precision
    that it was trained with as `training`.
    """
    _forget_batches(model)
    model.save(str(directory), create_model_card=False, safe_serialization=True)
    record = {"fingerprint": fingerprint(directory), **describe(model), **origin}
    write_json(directory / RECORD, record)
    return record


def _forget_batches(model: SentenceTransformer) -> None:
    """Drop how tokenizers cut and padded the last texts: a fingerprint depends on no history."""
    from sentence_transformers.base.modules import Transformer

    for module in model.modules():
        if isinstance(module, Transformer):
            fast = getattr(module.tokenizer, "backend_tokenizer", None)
            if fast is not None:
                fast.no_truncation()
                fast.no_padding()


def describe(model: SentenceTransformer) -> dict[str, Any]:
    """What a checkpoint's record says of the model itself; prompts only if it has some."""
    pooling = pooling_of(model)
    read = {"query": prompt_of(model, "query"), "passage": prompt_of(model, "passage")}
    prompts = {role: prompt for role, prompt in read.items() if prompt}
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "embedding_dimension": model.get_embedding_dimension(),
        "pooling": None if pooling is None else pooling.pooling_mode,
        "normalize": is_normalised(model),
        "max_query_length": max_length_of(model, "query"),
        "max_passage_length": max_length_of(model, "passage"),
    } | ({"prompts": prompts} if prompts else {})


def read_checkpoint(directory: Path) -> dict[str, Any]:
    """The record of a checkpoint.

    Raises
    ------
    InputError
        The record is missing, or the files have changed since it was written.
    """
    path = directory / RECORD
    if not path.is_file():
        raise InputError(f"{path}: no such file; run `dvc repro` to make the checkpoint")
    record: dict[str, Any] = read_json(path)
    if fingerprint(directory) != record.get("fingerprint"):
        raise InputError(
            f"{directory}: weights or configuration changed since {RECORD} was written; run "
            "`dvc checkout` to restore them"
        )
    return record


def load_checkpoint(directory: Path) -> SentenceTransformer:
    """A checkpoint in memory, in fp32, on the GPU if there is one; errors as `read_checkpoint`."""
    import torch
    from sentence_transformers import SentenceTransformer

    read_checkpoint(directory)
    model = SentenceTransformer(
        str(directory),
        local_files_only=True,
        trust_remote_code=False,
        model_kwargs={"dtype": torch.float32, "use_safetensors": True},
    )
    model.model_card_data.model_name = str(directory)
    return cut_before_normalising(model.float())


def name_of(model: SentenceTransformer) -> str:
    """The directory that a checkpoint was loaded from, for messages."""
    card = getattr(model, "model_card_data", None)
    return getattr(card, "model_name", None) or "the encoder"


def cut_before_normalising(model: SentenceTransformer) -> SentenceTransformer:
    """Make the forward pass cut embeddings to the model's `truncate_dim`, then normalise them.

    sentence-transformers cuts last, in `encode` alone: its losses train the whole vector, and the
    cut one is not of length 1. The saved files stay those that sentence-transformers reads.
    """
    if model.truncate_dim is None:
        return model

    def cut(features: dict[str, Any]) -> dict[str, Any]:
        whole = features["sentence_embedding"]
        return {**features, "sentence_embedding": whole[..., : model.truncate_dim]}

    last: Any = model[len(model) - 1]
    if is_normalised(model):
        last.register_forward_pre_hook(lambda _, inputs: (cut(inputs[0]), *inputs[1:]))
    else:
        last.register_forward_hook(lambda _, inputs, output: cut(output))
    return model


def pooling_of(model: SentenceTransformer) -> Any:
    """The model's first pooling module; None if it has none, as static embeddings."""
    from sentence_transformers.sentence_transformer.modules import Pooling

    return next((module for module in model.modules() if isinstance(module, Pooling)), None)


def is_normalised(model: SentenceTransformer) -> bool:
    """Whether the last module normalises the embeddings."""
    from sentence_transformers.base.modules import Normalize

    return isinstance(model[len(model) - 1], Normalize)
