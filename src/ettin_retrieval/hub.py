"""Client of the Hugging Face Hub: commits, downloads and dataset splits, with one-line errors."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from ettin_retrieval.runtime.errors import InputError

Kind = Literal["model", "dataset"]

TIMEOUT_S = 3
"""Maximum wait for the Hub to resolve a revision, in seconds; there are no retries."""


def resolve_commit(repo_id: str, revision: str, kind: Kind) -> str:
    """The commit (40 hex digits) that a branch, tag or commit of a Hub repository resolves to.

    If the Hub cannot be reached, the local cache answers.

    Raises
    ------
    InputError
        No such repository or revision, or neither the Hub nor the cache has it.
    """
    import httpx2
    from huggingface_hub import constants
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    where = f"hub {kind} {repo_id}"
    # The last two: a response that is not JSON with the key `sha`, and so not the Hub's.
    unreachable = (OSError, httpx2.HTTPError, httpx2.InvalidURL, ValueError, KeyError)
    try:
        if not constants.HF_HUB_OFFLINE:
            return _request_commit(repo_id, revision, kind)
        reason = "HF_HUB_OFFLINE is set"
    except RevisionNotFoundError:
        raise InputError(
            f"{where}: no revision {revision!r}; name a branch, tag or commit"
        ) from None
    except RepositoryNotFoundError:
        raise InputError(
            f"{where}: not found at {endpoint()}, or not open to you; check the id, or log in with "
            "`hf auth login`"
        ) from None
    except unreachable as error:
        reason = type(error).__name__
    cached = _cached_commit(repo_id, revision, kind)
    if cached is None:
        raise InputError(
            f"{where}: cannot reach {endpoint()} ({reason}) and it is not in the local cache; set "
            "HF_ENDPOINT to a mirror, or HF_HOME to a cache that has it, or use your own files "
            "(-S model=local -S local.encoder=DIR -S local.train=DIR -S local.benchmark=DIR)"
        )
    _go_offline()
    return cached


def download_model(repo_id: str, commit: str) -> Path:
    """Fetch the configuration, tokenizer and safetensors of a model; no code and no pickles.

    Raises InputError if the download fails.
    """
    from huggingface_hub import snapshot_download

    with downloading(repo_id, "model"):
        directory = snapshot_download(
            repo_id,
            revision=commit,
            allow_patterns=["*.json", "*.safetensors", "*.txt", "*.model"],
            ignore_patterns=["onnx/*", "openvino/*"],
        )
    return Path(directory)


def load_split(repo_id: str, config: str, split: str, commit: str) -> Any:
    """One split of a Hub dataset, as a `datasets.Dataset` over memory-mapped files.

    Raises InputError if there is no such configuration or split, or the download fails.
    """
    from datasets import load_dataset

    with downloading(repo_id, "dataset"):
        try:
            return load_dataset(repo_id, config, split=split, revision=commit)
        except ValueError as error:
            raise InputError(f"hub dataset {repo_id} at {commit}: {error}") from None


@contextmanager
def downloading(repo_id: str, kind: Kind) -> Iterator[None]:
    """Report a download that fails midway as one line, an InputError."""
    import httpx2

    try:
        yield
    except (OSError, httpx2.HTTPError) as error:
        raise InputError(
            f"hub {kind} {repo_id}: the download from {endpoint()} broke off "
            f"({type(error).__name__}: {str(error)[:160]}); run the same command again, "
            "complete files are kept"
        ) from None


def endpoint() -> str:
    """Address of the Hub."""
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co")


def _request_commit(repo_id: str, revision: str, kind: Kind) -> str:
    # HfApi.repo_info makes another request first, to find out which program runs it, and so would
    # wait twice for a Hub that does not answer.
    from huggingface_hub import constants, get_session, get_token
    from huggingface_hub.utils import hf_raise_for_status  # type: ignore[attr-defined]

    token = None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()
    response = get_session().get(
        f"{endpoint()}/api/{kind}s/{repo_id}/revision/{quote(revision, safe='')}",
        headers={} if token is None else {"authorization": f"Bearer {token}"},
        timeout=TIMEOUT_S,
    )
    hf_raise_for_status(response)
    return str(response.json()["sha"])


def _cached_commit(repo_id: str, revision: str, kind: Kind) -> str | None:
    from huggingface_hub.constants import HF_HUB_CACHE

    repository = Path(HF_HUB_CACHE) / f"{kind}s--{repo_id.replace('/', '--')}"
    if (repository / "snapshots" / revision).is_dir():
        return revision
    reference = repository / "refs" / revision
    return reference.read_text(encoding="utf-8").strip() if reference.is_file() else None


def _go_offline() -> None:
    """Use the cache alone from here on: each library waits 20 s or more for a silent Hub."""
    import datasets
    import huggingface_hub

    os.environ["HF_HUB_OFFLINE"] = "1"
    huggingface_hub.constants.HF_HUB_OFFLINE = True
    datasets.config.HF_HUB_OFFLINE = True
