"""The Hub client against a Hub on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ettin_retrieval import hub
from ettin_retrieval.runtime.errors import InputError
from tests.hub import LoopbackHub
from tests.hub.encoders import encoder_files

MODEL = "jhu-clsp/ettin-encoder-17m"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    with LoopbackHub() as running:
        for name, value in running.env(tmp_path).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", running.endpoint)
        template = f"{running.endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        yield running


def test_a_branch_resolves_to_its_commit_and_weights_are_fetched(server: LoopbackHub) -> None:
    files = encoder_files(0) | {"pytorch_model.bin": b"pickle", "code.py": b"code"}
    commit = server.add("model", MODEL, files)
    assert hub.resolve_commit(MODEL, "main", "model") == commit
    assert server.requests == [f"/api/models/{MODEL}/revision/main"], "a single request"
    fetched = {path.name for path in hub.download_model(MODEL, commit).iterdir()}
    assert fetched >= {"config.json", "tokenizer.json", "model.safetensors"}
    assert not fetched & {"pytorch_model.bin", "code.py"}


def test_unknown_repositories_and_revisions_are_named(server: LoopbackHub) -> None:
    server.add("model", MODEL, {"config.json": b"{}"})
    with pytest.raises(InputError, match=f"hub model {MODEL}: no revision 'v2'; name a branch"):
        hub.resolve_commit(MODEL, "v2", "model")
    with pytest.raises(InputError, match=r"hub model me/it: not found at http://127.0.0.1:\d+, or"):
        hub.resolve_commit("me/it", "main", "model")
