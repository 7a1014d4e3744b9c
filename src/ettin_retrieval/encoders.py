"""Encoders: a hub id, a local directory or random weights become one kind of checkpoint.

A checkpoint is a SentenceTransformer directory (safetensors, tokenizer, pooling, normalisation,
query and passage lengths) with a `checkpoint.json` that tells its identity and origin.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ettin_retrieval import hub
from ettin_retrieval.errors import InputError
from ettin_retrieval.model_directory import check_model_directory
from ettin_retrieval.params import Encoder, Shape
from ettin_retrieval.records import write_json

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

DEFAULT_QUERY_LENGTH = 64
DEFAULT_PASSAGE_LENGTH = 512


def identity(directory: Path) -> str:
    """sha256 over the weights and configuration of a checkpoint, whatever its path.

    Every file but `checkpoint.json` counts, by relative name and content.
    """
    digest = hashlib.sha256()
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        if not path.is_file() or name in {"checkpoint.json", "README.md"}:
            continue
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{name}\0{content}\n".encode())
    return digest.hexdigest()


def save_checkpoint(
    model: SentenceTransformer, directory: Path, origin: dict[str, Any]
) -> dict[str, Any]:
    """Write a checkpoint and return the content of its checkpoint.json."""
    model.save(str(directory), create_model_card=False, safe_serialization=True)
    transformer = model[0]
    record = {
        "identity": identity(directory),
        "parameters": sum(p.numel() for p in model.parameters()),
        "embedding_dimension": model.get_embedding_dimension(),
        "pooling": model[1].pooling_mode,
        "normalize": _is_normalised(model),
        "max_query_length": transformer.query_length,
        "max_passage_length": transformer.document_length,
        **origin,
    }
    write_json(directory / "checkpoint.json", record)
    return record


def read_checkpoint(directory: Path) -> dict[str, Any]:
    """The checkpoint.json of a checkpoint.

    Raises
    ------
    InputError
        It is missing, or the files beside it are not those it was written for.
    """
    path = directory / "checkpoint.json"
    if not path.is_file():
        raise InputError(f"{path}: no such file; run `dvc repro` to make the checkpoint")
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if identity(directory) != record["identity"]:
        raise InputError(
            f"{directory}: weights or configuration changed since checkpoint.json was written; "
            "run `dvc checkout` to restore them"
        )
    return record


def load_checkpoint(directory: Path) -> SentenceTransformer:
    """A checkpoint in memory, in fp32, on the GPU where there is one."""
    import torch
    from sentence_transformers import SentenceTransformer

    read_checkpoint(directory)
    return SentenceTransformer(
        str(directory),
        local_files_only=True,
        trust_remote_code=False,
        model_kwargs={"dtype": torch.float32, "use_safetensors": True},
    )


def pretrained(entry: Encoder, local_path: str) -> tuple[SentenceTransformer, dict[str, Any]]:
    """The encoder of a hub id or local directory, and where it came from.

    Raises
    ------
    InputError
        The hub cannot be reached, or the directory is no model with safetensors.
    """
    if entry.source == "local":
        directory = Path(local_path)
        origin = {"source": "local", "revision": None}
        where = f"local.encoder: {directory}"
    else:
        commit = hub.resolve_commit(entry.source, entry.revision or "main", "model")
        directory = hub.download_model(entry.source, commit)
        origin = {"source": entry.source, "revision": commit}
        where = f"encoder {entry.source} at {commit}"
    check_model_directory(directory, where)
    if entry.source == "local":
        origin["revision"] = identity(directory)
    return _assemble(directory, entry, where), origin


def random_encoder(
    shape: Shape, texts: list[str], entry: Encoder, seed: int, scratch: Path
) -> SentenceTransformer:
    """A ModernBERT of the given shape with random weights and a tokenizer made from the texts.

    Parameters
    ----------
    scratch
        Empty directory for the transformers files, which are read back as any other encoder's.
    """
    import torch
    from transformers import ModernBertConfig, ModernBertModel

    from ettin_retrieval.tokenizer import train_tokenizer

    tokenizer = train_tokenizer(texts, shape.vocabulary)
    config = ModernBertConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        max_position_embeddings=1024,
        local_attention=128,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.cls_token_id,
        eos_token_id=tokenizer.sep_token_id,
        cls_token_id=tokenizer.cls_token_id,
        sep_token_id=tokenizer.sep_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ModernBertModel(config)
    model.save_pretrained(scratch)
    tokenizer.save_pretrained(scratch)
    return _assemble(scratch, entry, "encoder of random weights")


def _assemble(directory: Path, entry: Encoder, where: str) -> SentenceTransformer:
    """Read a transformers or sentence-transformers directory and apply the entry's settings."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    model_kwargs = {"dtype": torch.float32, "use_safetensors": True}
    try:
        model = SentenceTransformer(
            str(directory),
            local_files_only=True,
            trust_remote_code=False,
            model_kwargs=model_kwargs,
        )
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{where}: not a model that can be loaded: {str(error)[:200]}") from None
    own = (directory / "modules.json").is_file()
    if len(model) < 2 or not isinstance(model[1], Pooling):
        raise InputError(
            f"{where}: its modules are not a transformer and a pooling; only dense encoders fit"
        )
    if entry.pooling != "auto":
        model[1].pooling_mode = entry.pooling
    elif not own:
        model[1].pooling_mode = "mean"
    _set_normalisation(model, entry, own)
    _set_lengths(model, entry, own)
    return model


def _set_normalisation(model: SentenceTransformer, entry: Encoder, own: bool) -> None:
    from sentence_transformers.base.modules import Normalize

    wanted = entry.normalize
    if wanted == "auto":
        wanted = _is_normalised(model) if own else True
    if wanted and not _is_normalised(model):
        model.append(Normalize())
    elif not wanted and _is_normalised(model):
        del model[len(model) - 1]


def _set_lengths(model: SentenceTransformer, entry: Encoder, own: bool) -> None:
    """Query and passage lengths, saved with the transformer module and applied by role."""
    transformer: Any = model[0]
    longest = model.max_seq_length or DEFAULT_PASSAGE_LENGTH
    query = longest if own else min(DEFAULT_QUERY_LENGTH, longest)
    passage = longest if own else min(DEFAULT_PASSAGE_LENGTH, longest)
    transformer.query_length = query if entry.max_query_length == "auto" else entry.max_query_length
    transformer.document_length = (
        passage if entry.max_passage_length == "auto" else entry.max_passage_length
    )


def _is_normalised(model: SentenceTransformer) -> bool:
    from sentence_transformers.base.modules import Normalize

    return isinstance(model[len(model) - 1], Normalize)
