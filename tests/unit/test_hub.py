"""The Hub client without a Hub: the cache, and one line for every error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ettin_retrieval import hub
from ettin_retrieval.runtime.errors import InputError

MODEL = "jhu-clsp/ettin-encoder-1b"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    return tmp_path / "models--jhu-clsp--ettin-encoder-1b"


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", False)


def test_offline_without_a_cached_copy_the_message_says_what_to_do(cache: Path) -> None:
    with pytest.raises(InputError, match=f"hub model {MODEL}: cannot reach https://") as refused:
        hub.resolve_commit(MODEL, "main", "model")
    for part in ("(HF_HUB_OFFLINE is set)", "HF_ENDPOINT", "HF_HOME", "-S local.encoder=DIR"):
        assert part in str(refused.value)


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "http://[", "localhost"])
def test_the_cache_answers_for_a_hub_that_cannot_be_reached(
    cache: Path, online: None, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", address)
    with pytest.raises(InputError, match=r"cannot reach .* and it is not in the local cache"):
        hub.resolve_commit(MODEL, "main", "model")
    (cache / "refs").mkdir(parents=True)
    (cache / "refs" / "main").write_text("c0ffee\n")
    assert hub.resolve_commit(MODEL, "main", "model") == "c0ffee"
    # From then on the libraries do not try the Hub either.
    import datasets
    import huggingface_hub

    assert huggingface_hub.constants.HF_HUB_OFFLINE and datasets.config.HF_HUB_OFFLINE


def test_a_commit_in_the_cache_is_its_own_answer(cache: Path) -> None:
    (cache / "snapshots" / "c0ffee").mkdir(parents=True)
    assert hub.resolve_commit(MODEL, "c0ffee", "model") == "c0ffee"


def test_a_download_that_fails_midway_is_reported_in_one_line() -> None:
    with (
        pytest.raises(InputError, match=f"hub model {MODEL}: the download from .* broke off") as no,
        hub.downloading(MODEL, "model"),
    ):
        raise ConnectionResetError("connection reset\nby peer")
    assert "ConnectionResetError: connection reset by peer" in str(no.value)


def test_an_unknown_configuration_is_reported_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ValueError("BuilderConfig 'v3' not found.")

    monkeypatch.setattr("datasets.load_dataset", fail)
    with pytest.raises(InputError, match="hub dataset microsoft/ms_marco at c0ffee: BuilderConfig"):
        hub.load_split("microsoft/ms_marco", "v3", "train", "c0ffee")
