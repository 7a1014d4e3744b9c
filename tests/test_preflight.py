"""What stage `settings` tells before any data is read: the hub, the machine, the directories."""

from __future__ import annotations

import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.workspace import ROOT, Workspace
from ettin_retrieval import hub, preflight
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.settings.load import load_settings
from ettin_retrieval.settings.schema import Settings
from tests.loopback_hub import LoopbackHub, populate
from test_encoders import without_normalize
from test_own_documents import minilm, write_collection


def settings(**changes: Any) -> Settings:
    """The committed settings with dotted keys (`__` for the dot) set."""
    dotted = {key.replace("__", "."): value for key, value in changes.items()}
    return load_settings(ROOT / "params.yaml").with_changes(dotted)


@pytest.fixture
def silent_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A hub that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as server:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
        yield


@pytest.mark.parametrize("kind", ["model", "dataset"])
def test_a_silent_hub_is_given_up_within_seconds(silent_hub: None, kind: Any) -> None:
    start = time.monotonic()
    with pytest.raises(InputError, match=r"cannot reach http://127.0.0.1:\d+ \(ReadTimeout\)"):
        hub.resolve_commit("jhu-clsp/ettin-encoder-1b", "main", kind)
    assert time.monotonic() - start < 5


def test_a_silent_hub_is_asked_once_where_the_cache_has_the_encoder(
    silent_hub: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = tmp_path / "models--jhu-clsp--ettin-encoder-1b/refs/main"
    reference.parent.mkdir(parents=True)
    reference.write_text("c0ffee")
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", False)
    start = time.monotonic()
    with pytest.raises(InputError, match="hub dataset microsoft/ms_marco: cannot reach"):
        preflight.check(settings(model="1b"))
    assert time.monotonic() - start < 5


def test_an_unknown_encoder_is_told_before_any_data_is_fetched(
    workspace: Workspace, tmp_path: Path
) -> None:
    workspace.set_params(lambda text: text.replace("ettin-encoder-1b", "ettin-encoder-1bb"))
    workspace.set_params(lambda text: text.replace("model: tiny", "model: 1b"))
    with LoopbackHub() as loopback:
        populate(loopback, tasks=())
        env = loopback.env(tmp_path / "cache")
        done = workspace.stage(
            "settings", "--params", "params.yaml", "--settings", "metrics/settings.json", env=env
        )
        requests = list(loopback.requests)
    assert done.returncode == 1
    assert done.stderr.startswith("error: hub model jhu-clsp/ettin-encoder-1bb: not found at ")
    assert done.stderr.count("\n") == 1
    assert requests == ["/api/models/jhu-clsp/ettin-encoder-1bb/revision/main"]


def test_the_embedded_default_needs_neither_hub_nor_torch() -> None:
    code = "; ".join(
        (
            "import sys",
            "from ettin_retrieval import preflight",
            "from ettin_retrieval.params import load_settings",
            f"preflight.check(load_settings({str(ROOT / 'params.yaml')!r}))",
            "sys.exit(any(m in sys.modules for m in ('torch', 'huggingface_hub', 'datasets')))",
        )
    )
    done = Workspace(ROOT).run(sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("section", ["finetuning", "evaluation"])
def test_a_precision_that_the_machine_lacks(section: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    preflight.check(settings(**{f"{section}__precision": "bf16"}))
    with pytest.raises(InputError, match=f"{section}.precision: fp16 needs a GPU"):
        preflight.check(settings(**{f"{section}__precision": "fp16"}))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: False)
    with pytest.raises(InputError, match=f"{section}.precision: this GPU has no bf16"):
        preflight.check(settings(**{f"{section}__precision": "bf16"}))


Break = Callable[[Path], object]


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda d: (d / "qrels/train.tsv").unlink(), "local.train: .*train.tsv: no such file"),
        (lambda d: (d / "queries.jsonl").unlink(), "local.train: .*queries.jsonl: no such file"),
        (lambda d: (d / "corpus.jsonl").unlink(), "local.train: .*corpus.jsonl: no such file"),
    ],
)
def test_a_collection_without_a_file(damage: Break, told: str, tmp_path: Path) -> None:
    collection = tmp_path / "leases"
    write_collection(collection)
    own = {"encoder": minilm(), "train": str(collection), "benchmark": str(collection)}
    preflight.check(settings(model="local", local=own))
    damage(collection)
    with pytest.raises(InputError, match=told):
        preflight.check(settings(model="local", local=own))


def test_an_objective_that_the_encoder_cannot_be_trained_with(tmp_path: Path) -> None:
    write_collection(tmp_path / "leases")
    encoder = without_normalize(Path(shutil.copytree(minilm(), tmp_path / "minilm")), "dot")
    own = dict.fromkeys(("train", "benchmark"), str(tmp_path / "leases")) | {
        "encoder": str(encoder)
    }
    objective = {"finetuning__objective": "cosine_similarity"}
    preflight.check(settings(model="local", local=own))
    with pytest.raises(InputError, match="scores by dot product, which the objective"):
        preflight.check(settings(model="local", local=own, **objective))
    normalised = {"encoders__ettin_local__normalize": True}
    preflight.check(settings(model="local", local=own, **objective, **normalised))


def test_no_directories_at_all(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("text")
    own = {"encoder": minilm(), "train": str(file), "benchmark": str(file)}
    with pytest.raises(InputError, match=r"local.train: .*file: a file, and no directory"):
        preflight.check(settings(model="local", local=own))
    with pytest.raises(InputError, match=r"local.benchmark: .*no corpus.jsonl in it"):
        preflight.check(settings(model="local", local=own, data__train="synthetic"))
    with pytest.raises(InputError, match=r"local.encoder: .*this is a file"):
        preflight.check(settings(model="local", local=own | {"encoder": str(file)}))
    with pytest.raises(InputError, match=r"local.encoder: .*no such directory"):
        preflight.check(settings(model="local", local=own | {"encoder": str(tmp_path / "no")}))
