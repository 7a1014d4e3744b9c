"""The model and data hub: reachable or not, within seconds, and in one line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from ettin_retrieval.runtime.errors import InputError

TIMEOUT_S = 3
"""Longest wait for the hub to say which commit a name means; it is asked once."""


def resolve_commit(repo_id: str, revision: str, kind: Literal["model", "dataset"]) -> str:
    """The 40-hex commit that a revision of a hub repository names at present.

    Without a reachable hub, a repository in the local cache answers instead.

    Raises
    ------
    InputError
        No such repository or revision, or neither hub nor cache can be read.
    """
    import httpx2
    from huggingface_hub.errors import (
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    # Silence, no answer of a hub's (JSON with the key sha), an address that cannot be asked.
    no_answer: tuple[type[BaseException], ...]
    no_answer = (*transport_errors(), httpx2.InvalidURL, ValueError, KeyError)
    if os.environ.get("HF_HUB_OFFLINE") not in {"1", "ON", "YES", "TRUE"}:
        try:
            return _ask_for_commit(repo_id, revision, kind)
        except RevisionNotFoundError:
            raise InputError(
                f"hub {kind} {repo_id}: no revision {revision!r}; name a branch, tag or commit"
            ) from None
        except (GatedRepoError, RepositoryNotFoundError):
            raise InputError(
                f"hub {kind} {repo_id}: not found at {endpoint()}, or not open to you; check the "
                "id, or log in with `hf auth login`"
            ) from None
        except no_answer as error:
            reason = type(error).__name__
    else:
        reason = "HF_HUB_OFFLINE is set"
    cached = _cached_commit(repo_id, revision, kind)
    if cached:
        _go_offline()
        return cached
    raise InputError(
        f"hub {kind} {repo_id}: cannot reach {endpoint()} ({reason}) and it is not in the local "
        "cache; set HF_ENDPOINT to a mirror, or HF_HOME to a cache that has it, or use your own "
        "files (-S model=local -S local.encoder=DIR -S local.train=DIR -S local.benchmark=DIR)"
    )


def _ask_for_commit(repo_id: str, revision: str, kind: str) -> str:
    # The headers of HfApi.repo_info tell which program asks, and to find that out it asks the hub
    # something else first: it waits twice for a hub that is silent.
    from huggingface_hub import constants, get_session, get_token
    from huggingface_hub.utils import hf_raise_for_status  # type: ignore[attr-defined]

    token = None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()
    answer = get_session().get(
        f"{endpoint()}/api/{kind}s/{repo_id}/revision/{quote(revision, safe='')}",
        headers={} if token is None else {"authorization": f"Bearer {token}"},
        timeout=TIMEOUT_S,
    )
    hf_raise_for_status(answer)
    return str(answer.json()["sha"])


def _go_offline() -> None:
    """Read the cache alone from here on: each library waits 20 s and more for a silent hub."""
    import datasets
    import huggingface_hub

    os.environ["HF_HUB_OFFLINE"] = "1"
    huggingface_hub.constants.HF_HUB_OFFLINE = True
    datasets.config.HF_HUB_OFFLINE = True


def download_model(repo_id: str, commit: str) -> Path:
    """Fetch a model repository's configuration, tokenizer and safetensors; no code, no pickles.

    Raises
    ------
    InputError
        The hub stopped answering half-way.
    """
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(
                repo_id,
                revision=commit,
                allow_patterns=["*.json", "*.safetensors", "*.txt", "*.model"],
                ignore_patterns=["onnx/*", "openvino/*"],
            )
        )
    except transport_errors() as error:
        raise broken_off("model", repo_id, error) from None


def transport_errors() -> tuple[type[BaseException], ...]:
    """What the libraries raise when the hub fails in the middle of a download."""
    import httpx2  # huggingface_hub's transport
    import huggingface_hub.errors

    return (OSError, huggingface_hub.errors.HfHubHTTPError, httpx2.TransportError)


def broken_off(kind: str, repo_id: str, error: BaseException) -> InputError:
    """The message for a download that did not come to its end."""
    return InputError(
        f"hub {kind} {repo_id}: the download from {endpoint()} broke off "
        f"({type(error).__name__}: {str(error)[:160]}); run the same command again, what was "
        "fetched is kept"
    )


def endpoint() -> str:
    """Address of the hub in use."""
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co")


def _cached_commit(repo_id: str, revision: str, kind: str) -> str | None:
    from huggingface_hub.constants import HF_HUB_CACHE

    repository = Path(HF_HUB_CACHE) / f"{kind}s--{repo_id.replace('/', '--')}"
    if (repository / "snapshots" / revision).is_dir():
        return revision
    reference = repository / "refs" / revision
    if reference.is_file():
        return reference.read_text(encoding="utf-8").strip()
    return None


def load_split(repo_id: str, config: str, split: str, commit: str) -> Any:
    """One split of a hub dataset, as a `datasets.Dataset` over memory-mapped files.

    Raises
    ------
    InputError
        The dataset has no such configuration or split, or the hub stopped answering half-way.
    """
    from datasets import load_dataset

    try:
        return load_dataset(repo_id, config, split=split, revision=commit)
    except ValueError as error:
        raise InputError(f"hub dataset {repo_id} at {commit}: {error}") from None
    except transport_errors() as error:
        raise broken_off("dataset", repo_id, error) from None
