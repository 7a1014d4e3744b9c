"""A hub that is unreachable, silent, or fails midway, and a repository that it does not have."""

from __future__ import annotations

import math
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from ettin_retrieval import hub, preflight
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.settings.load import load_settings
from tests.hub import LoopbackHub, populate
from tests.workspace import ROOT, Workspace

ENCODER = "jhu-clsp/ettin-encoder-1b"


@pytest.fixture
def silent_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A hub that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as server:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
        yield


@pytest.mark.parametrize("kind", ["model", "dataset"])
def test_a_silent_hub_is_given_up_within_seconds(
    silent_hub: None, kind: Literal["model", "dataset"]
) -> None:
    start = time.monotonic()
    with pytest.raises(InputError, match=r"cannot reach http://127.0.0.1:\d+ \(ReadTimeout\)"):
        hub.resolve_commit(ENCODER, "main", kind)
    assert time.monotonic() - start < 5


def test_a_silent_hub_gets_one_request_if_the_cache_has_the_encoder(
    silent_hub: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = tmp_path / "models--jhu-clsp--ettin-encoder-1b/refs/main"
    reference.parent.mkdir(parents=True)
    reference.write_text("c0ffee")
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", False)
    start = time.monotonic()
    with pytest.raises(InputError, match="hub dataset microsoft/ms_marco: cannot reach"):
        preflight.check(load_settings(ROOT / "params.yaml").with_changes({"model": "1b"}))
    assert time.monotonic() - start < 5


def test_without_a_hub_one_line_says_what_to_do(workspace: Workspace, tmp_path: Path) -> None:
    with LoopbackHub() as stopped:
        env = stopped.env(tmp_path / "cache")
    command = ("dvc", "exp", "run", "--temp", "-S", "model=1b")
    # What the command takes on this machine, however busy, if it needs no hub.
    start = time.monotonic()
    assert workspace.run(*command, "-S", "seed=-1", env=env).returncode != 0
    without_hub = time.monotonic() - start
    with socket.create_server(("127.0.0.1", 0), backlog=50) as silent:
        for endpoint in (stopped.endpoint, f"http://127.0.0.1:{silent.getsockname()[1]}"):
            start = time.monotonic()
            done = workspace.run(*command, env=env | {"HF_ENDPOINT": endpoint})
            # The libraries' own retries would add 20 to 70 s.
            assert time.monotonic() - start - without_hub < 15
            assert done.returncode != 0
            (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
            assert f"hub model {ENCODER}: cannot reach {endpoint}" in line
            for remedy in ("HF_ENDPOINT", "HF_HOME", "local.encoder="):
                assert remedy in line
            assert "Traceback" not in done.stderr


def test_an_unknown_encoder_is_reported_before_any_data_is_fetched(
    workspace: Workspace, tmp_path: Path
) -> None:
    workspace.edit("params.yaml", "model: tiny ", "model: 1bb ")
    workspace.edit("encoders.yaml", "ettin_1b:", "ettin_1bb:")
    with LoopbackHub() as loopback:
        populate(loopback, tasks=())
        env = loopback.env(tmp_path / "cache")
        done = workspace.stage("preflight", "--settings", "metrics/settings.json", env=env)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: hub model {ENCODER}b: not found at ")
    assert done.stderr.count("\n") == 1
    assert loopback.requests == [f"/api/models/{ENCODER}b/revision/main"]


def test_a_download_that_breaks_off_goes_on_with_the_next_run(
    workspace: Workspace, tmp_path: Path
) -> None:
    workspace.edit("params.yaml", "model: tiny ", "model: 1b ")
    with LoopbackHub() as loopback:
        commits = populate(loopback, tasks=())
        env = loopback.env(tmp_path / "cache")
        loopback.fail_after(2)
        done = workspace.stage("base_encoder", "--encoder", "models/base", env=env)
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"error: hub model {ENCODER}: the download from ")
        assert "broke off" in line and "run the same command again" in line
        assert not (workspace.path / "models/base").exists()
        loopback.fail_after(math.inf)
        done = workspace.stage("base_encoder", "--encoder", "models/base", env=env)
    assert done.returncode == 0, done.stderr
    checkpoint = (workspace.path / "models/base/checkpoint.json").read_text(encoding="utf-8")
    assert commits[ENCODER] in checkpoint


def test_the_offline_world_needs_neither_hub_nor_torch() -> None:
    code = "; ".join(
        (
            "import sys",
            "from ettin_retrieval import preflight",
            "from ettin_retrieval.settings.load import load_settings",
            "preflight.check(load_settings('params.yaml'))",
            "sys.exit(any(m in sys.modules for m in ('torch', 'huggingface_hub', 'datasets')))",
        )
    )
    done = Workspace(ROOT).run(sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr
