"""`dvc exp run -S model=1b` from a hub on loopback that serves miniatures under the real ids."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path

import pytest

from tests.workspace import Workspace
from tests.loopback_hub import LoopbackHub, populate

# Of ArguAna a relevant passage is missing, and two others have passages without text.
TASKS = ("ArguAna", "FiQA2018", "SciFact", "TRECCOVID")
FIFTEEN = (
    "ArguAna", "ClimateFEVER", "CQADupstackRetrieval", "DBPedia", "FEVER", "FiQA2018", "HotpotQA",
    "MSMARCO", "NFCorpus", "NQ", "QuoraRetrieval", "SCIDOCS", "SciFact", "Touche2020", "TRECCOVID",
)  # fmt: skip


def test_the_whole_pipeline_runs_from_the_hub(workspace: Workspace, tmp_path: Path) -> None:
    with LoopbackHub() as hub:
        commits = populate(hub, tasks=TASKS)
        env = hub.env(tmp_path / "cache")
        done = workspace.run(
            "dvc", "exp", "run", "-S", "model=1b", "-S", f"evaluation.tasks=[{','.join(TASKS)}]",
            "-S", "finetuning.epochs=1", "-S", "finetuning.batch_size=8",
            "-S", "negatives.per_query=2", env=env,
        )  # fmt: skip
        requests = list(hub.requests)
    assert done.returncode == 0, done.stderr[-3000:]
    scores = json.loads((workspace.path / "metrics/mteb.json").read_text())
    assert {key.split(".")[0] for key in scores} == set(TASKS), "an average of some is no average"
    checkpoint = json.loads((workspace.path / "models/base/checkpoint.json").read_text())
    assert checkpoint["source"] == "jhu-clsp/ettin-encoder-1b"
    assert checkpoint["revision"] == commits["jhu-clsp/ettin-encoder-1b"]
    train = json.loads((workspace.path / "data/training/train/manifest.json").read_text())
    assert train["source"] == "microsoft/ms_marco v1.1"
    assert train["revision"] == commits["microsoft/ms_marco"]
    entry = json.loads((workspace.path / "results/1b/finetuned-guide-seed42.json").read_text())
    assert entry["tasks"]["SciFact"]["source"] == "mteb/scifact"
    for task, count in {
        "ArguAna": "judgments_of_missing_passages",
        "FiQA2018": "passages_without_text",
        "TRECCOVID": "passages_without_text",
    }.items():
        manifest = workspace.path / "data/benchmark" / task / "manifest.json"
        assert json.loads(manifest.read_text())["counts"][count] == 1
    fetched = [path for path in requests if "ettin-encoder" in path]
    assert any(path.endswith("model.safetensors") for path in fetched)
    assert not any(path.endswith((".bin", ".py")) for path in fetched), "no pickles, no code"


@pytest.mark.parametrize("silent", [False, True])
def test_without_a_hub_one_line_says_what_to_do(
    workspace: Workspace, tmp_path: Path, silent: bool
) -> None:
    with LoopbackHub() as hub:
        env = hub.env(tmp_path / "cache")
    command = ("dvc", "exp", "run", "--temp", "-S", "model=1b")
    # What the command takes on this machine, busy as it may be, where it asks no hub.
    start = time.monotonic()
    assert workspace.run(*command, "-S", "seed=-1", env=env).returncode != 0
    without_asking = time.monotonic() - start
    with socket.create_server(("127.0.0.1", 0), backlog=50) as server:
        if silent:  # it accepts connections, and never answers
            env["HF_ENDPOINT"] = f"http://127.0.0.1:{server.getsockname()[1]}"
        start = time.monotonic()
        done = workspace.run(*command, env=env)
        taken = time.monotonic() - start
    # The libraries' own retries would add 20 to 70 s.
    assert taken - without_asking < 5
    assert done.returncode != 0
    told = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(told) == 1, done.stderr
    assert "hub model jhu-clsp/ettin-encoder-1b: cannot reach" in told[0]
    for remedy in ("HF_ENDPOINT", "HF_HOME", "local.encoder="):
        assert remedy in told[0]
    assert "Traceback" not in done.stderr


def test_another_size_comes_from_the_hub(workspace: Workspace, tmp_path: Path) -> None:
    """What `-S model=150m` changes before the data: which encoder is fetched."""
    with LoopbackHub() as hub:
        commits = populate(hub, tasks=())
        env = hub.env(tmp_path / "cache")
        done = workspace.run(
            "dvc", "exp", "run", "-S", "model=150m", "settings", "base_encoder", env=env
        )
    assert done.returncode == 0, done.stderr
    checkpoint = json.loads((workspace.path / "models/base/checkpoint.json").read_text())
    assert checkpoint["revision"] == commits["jhu-clsp/ettin-encoder-150m"]
    settings = json.loads((workspace.path / "metrics/settings.json").read_text())
    assert settings["encoder"]["source"] == "jhu-clsp/ettin-encoder-150m"


@pytest.mark.acceptance
def test_the_command_of_the_readme_with_all_tasks(workspace: Workspace, tmp_path: Path) -> None:
    with LoopbackHub() as hub:
        populate(hub)
        done = workspace.run(
            "dvc", "exp", "run", "-S", "model=1b", env=hub.env(tmp_path / "cache"), timeout=1800
        )
    assert done.returncode == 0, done.stderr[-3000:]
    scores = json.loads((workspace.path / "metrics/mteb.json").read_text())
    assert "mteb_avg_ndcg_at_10" in scores
    assert {key.split(".")[0] for key in scores} == {"mteb_avg_ndcg_at_10", *FIFTEEN}
    entry = json.loads((workspace.path / "results/1b/finetuned-guide-seed42.json").read_text())
    parts = [task for task in entry["tasks"] if task.startswith("CQADupstack")]
    assert len(parts) == 12, "reported as one task, the mean of its twelve parts"
    guide = (workspace.path / "tables/guide.md").read_text()
    row = next(line for line in guide.splitlines() if line.startswith("| 1b | measured |"))
    assert "not run" not in row
