"""A Hub id or a model directory as a SentenceTransformer with the settings of its entry."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ettin_retrieval import hub
from ettin_retrieval.base_encoder.model_directory import (
    check_model_directory,
    module_directories,
    warn_of_a_classifier,
)
from ettin_retrieval.encoders.checkpoint import fingerprint, is_normalised, pooling_of
from ettin_retrieval.encoders.encode import TextEncoder
from ettin_retrieval.encoders.tokenise import positions_of
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.settings.sections import Encoder

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

DEFAULT_LENGTH = 512
"""Of queries and passages, in tokens, where neither the entry nor the directory states one. 64
would cut 99.6% of ArguAna's queries, which are whole arguments; 512 cut 2.9% of them."""

NO_LIMIT = 10**9
"""More tokens than any encoder reads; a tokenizer without a limit says 10^30."""


def pretrained(entry: Encoder, local_path: str) -> tuple[SentenceTransformer, dict[str, Any]]:
    """The encoder of an entry with a Hub id or `local` (which means `local_path`), and its origin.

    Raises
    ------
    InputError
        The Hub cannot be reached, or the directory is not a dense encoder with safetensors.
    """
    if entry.source == "local":
        directory = Path(local_path)
        where = f"local.encoder: {directory}"
        check_model_directory(directory, where)
        revision = fingerprint(directory)
    else:
        revision = hub.resolve_commit(entry.source, entry.revision or "main", "model")
        directory = hub.download_model(entry.source, revision)
        where = f"encoder {entry.source} at {revision}"
        check_model_directory(directory, where)
    return assemble(directory, entry, where), {"source": entry.source, "revision": revision}


def assemble(directory: Path, entry: Encoder, where: str) -> SentenceTransformer:
    """Load a transformers or sentence-transformers directory and apply the entry's settings.

    `auto` keeps what a sentence-transformers directory states, and otherwise means mean pooling,
    normalisation, and `DEFAULT_LENGTH` tokens or the encoder's maximum. `where` begins messages.

    Raises
    ------
    InputError
        The directory is not a dense encoder, its weights do not fit its configuration, or the
        encoder does not have positions for the entry's lengths.
    """
    from transformers.utils import logging as reports

    warn_of_a_classifier(directory, where)
    with ExitStack() as afterwards:
        # `_check_weights` reports missing and mismatched weights, so transformers need not.
        afterwards.callback(reports.set_verbosity, reports.get_verbosity())
        reports.set_verbosity(logging.ERROR)
        model = _load(directory, where)
        for transformer, folder in _transformers(model, directory):
            _check_weights(transformer.model, folder, where)
            _check_tokenizer(transformer, where)
    stated = (directory / "modules.json").is_file()
    _set_pooling(model, entry, stated, where)
    _set_similarity(model, entry, stated, where)
    _set_lengths(model, entry, stated, where)
    _check_encoding(model, where)
    return model


def _load(directory: Path, where: str) -> SentenceTransformer:
    import torch
    from safetensors import SafetensorError
    from sentence_transformers import SentenceTransformer

    try:
        # A layer that the weights lack and nothing uses, such as BERT's pooler, is initialised at
        # random. It is part of the fingerprint, so it must be the same each time.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return SentenceTransformer(
                str(directory),
                local_files_only=True,
                trust_remote_code=False,
                model_kwargs={
                    "dtype": torch.float32,
                    "use_safetensors": True,
                    "ignore_mismatched_sizes": True,  # `_check_weights` reports them by name
                },
            ).float()  # `dtype` is for transformers alone
    except (
        OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, RuntimeError,
        SafetensorError,
    ) as error:  # fmt: skip
        reason = " ".join(str(error).split())
        raise InputError(f"{where}: not a model that can be loaded: {reason[:300]}") from None


def _transformers(model: SentenceTransformer, directory: Path) -> Iterator[tuple[Any, Path]]:
    """The model's transformers, also those behind a router, and where their files are."""
    from sentence_transformers.base.modules import Router, Transformer

    for module, path in zip(model, module_directories(directory), strict=False):
        if isinstance(module, Transformer):
            yield module, path
        elif isinstance(module, Router):
            for route, parts in module.sub_modules.items():
                for number, part in enumerate(parts.children()):
                    if isinstance(part, Transformer):
                        yield part, path / f"{route}_{number}_Transformer"


def _check_weights(model: Any, directory: Path, where: str) -> None:
    """Refuse weights that leave a part of the encoder random. Heads it does not use may stay.

    transformers reads names and shapes once more, on the meta device.
    """
    _, found = type(model).from_pretrained(
        str(directory),
        config=model.config,
        local_files_only=True,
        use_safetensors=True,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
        device_map="meta",
    )
    # Embeddings pool the states of the tokens: BERT's pooler is not used.
    missing = sorted(key for key in found["missing_keys"] if not key.startswith("pooler."))
    if missing:
        raise InputError(
            f"{where}: the weights lack {missing[0]!r} (and {len(missing) - 1} more) of "
            f"{type(model).__name__}; they are of another model, or under other names"
        )
    if found["mismatched_keys"]:
        key, shape, expected = min(found["mismatched_keys"])
        raise InputError(
            f"{where}: {key!r} has shape {tuple(shape)}, and config.json says {tuple(expected)}"
        )


def _check_tokenizer(transformer: Any, where: str) -> None:
    """Refuse a tokenizer that cannot make batches, or whose tokens the encoder lacks."""
    tokenizer, embedding = transformer.tokenizer, transformer.model.get_input_embeddings()
    if tokenizer.pad_token_id is None:
        raise InputError(
            f"{where}: its tokenizer has no padding token, which batches need; set pad_token in "
            "tokenizer_config.json"
        )
    tokens, rows = max(tokenizer.get_vocab().values()) + 1, embedding.num_embeddings
    if tokens > rows:
        raise InputError(
            f"{where}: its tokenizer has {tokens:,} tokens, and the encoder has embeddings for "
            f"{rows:,}; they belong to different models"
        )


def _set_pooling(model: SentenceTransformer, entry: Encoder, stated: bool, where: str) -> None:
    """Pool as the entry says; a directory that states no pooling has mean pooling."""
    pooling = pooling_of(model)
    if entry.pooling != "auto":
        if pooling is None:
            raise InputError(
                f"{where}: it has no pooling module to set to {entry.pooling}; write pooling auto "
                "in encoders.yaml"
            )
        pooling.pooling_mode = entry.pooling
    elif not stated:
        pooling.pooling_mode = "mean"


def _check_encoding(model: SentenceTransformer, where: str) -> None:
    """Refuse a model that cannot turn texts into vectors: shown by two texts in each role."""
    encoder, texts = TextEncoder(model, batch_size=2), ["a", "a longer text"]
    try:
        encoder.encode(texts, "query")
        encoder.encode(texts, "passage")
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        modules = ", ".join(type(module).__name__ for module in model)
        reason = " ".join(str(error).split())
        raise InputError(
            f"{where}: its modules ({modules}) do not embed a text: {type(error).__name__}: "
            f"{reason[:200]}; a dense encoder is needed"
        ) from None


def _set_similarity(model: SentenceTransformer, entry: Encoder, stated: bool, where: str) -> None:
    """Make cosine or dot product the similarity of training, mining and evaluation alike.

    A normalised encoder is scored by cosine, any other by dot product. `normalize: auto` keeps
    the similarity that the directory states; for cosine it adds a missing `Normalize`.
    """
    from sentence_transformers.base.modules import Normalize

    normalised, wanted = is_normalised(model), entry.normalize
    if wanted == "auto":
        similarity = model.similarity_fn_name if stated and not normalised else "cosine"
        if similarity not in {"cosine", "dot"}:
            raise InputError(
                f"{where}: its similarity is {similarity}; search needs cosine or dot, so set "
                "ettin_MODEL.base.normalize to true or false in encoders.yaml"
            )
        wanted = similarity == "cosine"
    if wanted and not normalised:
        model.append(Normalize())
    elif normalised and not wanted:
        del model[len(model) - 1]
    model.similarity_fn_name = "cosine" if wanted else "dot"


def _set_lengths(model: SentenceTransformer, entry: Encoder, stated: bool, where: str) -> None:
    """Set where queries and passages are cut, which is saved with the transformer modules.

    A sentence-transformers directory states a length for all texts, or for each role, as the
    checkpoints of this project do.
    """
    from sentence_transformers.base.modules import Transformer

    modules: list[Any] = [module for module in model.modules() if isinstance(module, Transformer)]
    for transformer in modules:
        positions = positions_of(transformer)
        longest = min(transformer.max_seq_length or NO_LIMIT, positions or NO_LIMIT)
        for key, attribute in (
            ("max_query_length", "query_length"),
            ("max_passage_length", "document_length"),
        ):
            length = getattr(entry, key)
            if length == "auto":
                of_role = getattr(transformer, attribute) if stated else None
                length = min(of_role or longest, longest)
                if not stated or length == NO_LIMIT:
                    length = min(length, DEFAULT_LENGTH)
            if positions is not None and length > positions:
                raise InputError(
                    f"{where}: {key} {length} is more than the {positions} tokens that the encoder "
                    f"has positions for; lower ettin_MODEL.base.{key} in encoders.yaml"
                )
            setattr(transformer, attribute, length)
