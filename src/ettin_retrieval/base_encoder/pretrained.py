"""Encoders: a hub id, a local directory or random weights become one kind of checkpoint.

A checkpoint is a SentenceTransformer directory (safetensors, tokenizer, pooling, normalisation,
query and passage lengths) with a `checkpoint.json` that tells its identity and origin.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ettin_retrieval import hub
from ettin_retrieval.base_encoder.model_directory import (
    check_model_directory,
    transformer_directory,
)
from ettin_retrieval.encoders.checkpoint import fingerprint, is_normalised
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.settings.schema import Encoder

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

DEFAULT_QUERY_LENGTH = 64

DEFAULT_PASSAGE_LENGTH = 512

POSITIONS_AFTER_PADDING = {"roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "mpnet"}
"""Architectures whose first token has the position after the padding token's id."""


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
        origin["revision"] = fingerprint(directory)
    return assemble(directory, entry, where), origin


def assemble(directory: Path, entry: Encoder, where: str) -> SentenceTransformer:
    """Read a transformers or sentence-transformers directory and apply the entry's settings.

    Raises
    ------
    InputError
        The directory is no dense encoder, its weights do not fit its configuration, or the
        encoder has no positions for the entry's lengths.
    """
    from sentence_transformers.sentence_transformer.modules import Pooling

    with _quiet_transformers():
        model = _read(directory, where)
        _check_weights(model[0], directory, where)
    own = (directory / "modules.json").is_file()
    if len(model) < 2 or not isinstance(model[1], Pooling):
        raise InputError(
            f"{where}: its modules are not a transformer and a pooling; only dense encoders fit"
        )
    if entry.pooling != "auto":
        model[1].pooling_mode = entry.pooling
    elif not own:
        model[1].pooling_mode = "mean"
    _set_similarity(model, entry, own, where)
    _set_lengths(model, entry, own, where)
    return model


def _read(directory: Path, where: str) -> SentenceTransformer:
    import torch
    from safetensors import SafetensorError
    from sentence_transformers import SentenceTransformer

    try:
        # A layer that the weights lack and nothing uses (BERT's own pooler) is random, but the
        # same each time: it counts in the checkpoint's identity.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return SentenceTransformer(
                str(directory),
                local_files_only=True,
                trust_remote_code=False,
                model_kwargs={
                    "dtype": torch.float32,
                    "use_safetensors": True,
                    # Told by `_check_weights`, which names them.
                    "ignore_mismatched_sizes": True,
                },
            )
    except (
        OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, SafetensorError,
    ) as error:  # fmt: skip
        raise InputError(f"{where}: not a model that can be loaded: {str(error)[:200]}") from None


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Without transformers' report on unexpected, missing and misshapen weights."""
    from transformers.utils import logging as reports

    level = reports.get_verbosity()
    reports.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        reports.set_verbosity(level)


def _check_weights(transformer: Any, directory: Path, where: str) -> None:
    """Refuse weights that leave a part of the encoder random; heads it has no use for may stay.

    transformers reads the names and shapes again, on a device without memory.
    """
    model = transformer.model
    source = transformer_directory(directory)
    _, found = type(model).from_pretrained(
        str(source),
        config=model.config,
        local_files_only=True,
        use_safetensors=True,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
        device_map="meta",
    )
    # Embeddings are made of the tokens' states: BERT's own pooler is not used.
    missing = sorted(key for key in found["missing_keys"] if not key.startswith("pooler."))
    if missing:
        raise InputError(
            f"{where}: the weights lack {missing[0]!r} (and {len(missing) - 1} more) of "
            f"{type(model).__name__}; they are of another model, or under other names"
        )
    misshapen = sorted(found["mismatched_keys"])
    if misshapen:
        key, there, wanted = misshapen[0]
        raise InputError(
            f"{where}: {key!r} has shape {tuple(there)}, and config.json says {tuple(wanted)}"
        )


def _set_similarity(model: SentenceTransformer, entry: Encoder, own: bool, where: str) -> None:
    """One similarity for training, mining and evaluation, which all read it from the checkpoint.

    A normalised encoder is scored by cosine, any other by dot product. `normalize: auto` takes
    the similarity that a sentence-transformers directory names (cosine where it names none, as
    sentence-transformers does): cosine gets its `Normalize` where that is missing.
    """
    from sentence_transformers.base.modules import Normalize

    there = is_normalised(model)
    wanted = entry.normalize
    if wanted == "auto":
        named = model.similarity_fn_name if own and not there else "cosine"
        if named not in {"cosine", "dot"}:
            raise InputError(
                f"{where}: its similarity is {named}; cosine and dot can be searched here, so "
                "set normalize to true or false for it"
            )
        wanted = named == "cosine"
    if wanted and not there:
        model.append(Normalize())
    elif not wanted and there:
        del model[len(model) - 1]
    model.similarity_fn_name = "cosine" if wanted else "dot"


def _set_lengths(model: SentenceTransformer, entry: Encoder, own: bool, where: str) -> None:
    """Query and passage lengths, saved with the transformer module and applied by role."""
    transformer: Any = model[0]
    longest = model.max_seq_length or DEFAULT_PASSAGE_LENGTH
    query = longest if own else min(DEFAULT_QUERY_LENGTH, longest)
    passage = longest if own else min(DEFAULT_PASSAGE_LENGTH, longest)
    transformer.query_length = query if entry.max_query_length == "auto" else entry.max_query_length
    transformer.document_length = (
        passage if entry.max_passage_length == "auto" else entry.max_passage_length
    )
    positions = _positions(transformer.model.config)
    for key, length in (
        ("max_query_length", transformer.query_length),
        ("max_passage_length", transformer.document_length),
    ):
        if positions is not None and length > positions:
            raise InputError(
                f"{where}: {key} {length} is more than the {positions} tokens that the encoder "
                "has positions for; lower it"
            )


def _positions(config: Any) -> int | None:
    """The longest text in tokens, where an encoder has a bound."""
    positions: int | None = getattr(config, "max_position_embeddings", None)
    if positions is not None and config.model_type in POSITIONS_AFTER_PADDING:
        return positions - config.pad_token_id - 1
    return positions
