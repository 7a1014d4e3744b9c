"""A pretrained encoder from the Hub or a local directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ettin_retrieval import hub
from ettin_retrieval.base_encoder.assemble import assemble
from ettin_retrieval.base_encoder.model_directory import check_model_directory
from ettin_retrieval.encoders.checkpoint import fingerprint
from ettin_retrieval.settings.sections import Encoder

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def pretrained(entry: Encoder, local_path: str) -> tuple[SentenceTransformer, dict[str, Any]]:
    """The encoder of an entry with a Hub id or `local`, and its origin.

    Parameters
    ----------
    local_path
        The directory that `local` means.

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
