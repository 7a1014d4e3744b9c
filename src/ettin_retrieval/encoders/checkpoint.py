"""Checkpoints: SentenceTransformer directories with a record of what they are.

A checkpoint has safetensors weights, tokenizer, pooling, normalisation and the lengths of queries
and passages. Its `checkpoint.json` records fingerprint and origin.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    model.save(str(directory), create_model_card=False, safe_serialization=True)
    record = {"fingerprint": fingerprint(directory), **describe(model), **origin}
    write_json(directory / RECORD, record)
    return record


def describe(model: SentenceTransformer) -> dict[str, Any]:
    """What a checkpoint's record says of the model itself."""
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "embedding_dimension": model.get_embedding_dimension(),
        "pooling": model[1].pooling_mode,
        "normalize": is_normalised(model),
        "max_query_length": model[0].query_length,
        "max_passage_length": model[0].document_length,
    }


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
    return SentenceTransformer(
        str(directory),
        local_files_only=True,
        trust_remote_code=False,
        model_kwargs={"dtype": torch.float32, "use_safetensors": True},
    )


def is_normalised(model: SentenceTransformer) -> bool:
    """Whether the last module normalises the embeddings."""
    from sentence_transformers.base.modules import Normalize

    return isinstance(model[len(model) - 1], Normalize)
