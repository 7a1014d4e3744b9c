"""The scientific domain on the track `paper`, from a Hub on loopback."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ettin_retrieval.data.negatives import read_negatives
from ettin_retrieval.data.storage import read_dataset
from ettin_retrieval.studies.domains import SCIENTIFIC_TASKS
from tests.hub import LoopbackHub, populate
from tests.hub.populate import add_mteb_task
from tests.hub.rows import retrieval_rows
from tests.workspace import Workspace

QUERIES = [f"q{i}" for i in range(6)]


@pytest.mark.parametrize(("recipe", "negatives"), [("guide", 7), ("paper", 1)])
def test_it_is_the_train_judgments_of_two_tasks(
    workspace: Workspace, tmp_path: Path, recipe: str, negatives: int
) -> None:
    workspace.edit("params.yaml", "model: tiny", "model: 17m")
    workspace.edit("params.yaml", "recipe: guide", f"recipe: {recipe}  ")
    encoder = workspace.path / "models/base"
    encoder.mkdir()
    with LoopbackHub() as hub:
        populate(hub, tasks=())
        for seed, task in enumerate(SCIENTIFIC_TASKS):
            corpus, queries, judged = retrieval_rows(6, 10, seed)
            splits = {"train": QUERIES[:4], "test": QUERIES[4:]}
            qrels = {split: {q: judged[q] for q in ids} for split, ids in splits.items()}
            add_mteb_task(hub, task, corpus, queries, qrels)
        env = hub.env(tmp_path / "cache")
        workspace.edit("params.yaml", "heldout: auto", f"heldout: [{', '.join(SCIENTIFIC_TASKS)}]")
        done = workspace.stage(
            "sources.benchmark_data.heldout", "--heldout", "data/heldout", env=env
        )
        assert done.returncode == 0, done.stderr[-2000:]
        # The paper's negatives are random, but the encoder chooses the development set.
        done = workspace.stage("base_encoder", "--encoder", "models/base", env=env)
        assert done.returncode == 0, done.stderr[-2000:]
        done = workspace.stage(
            *("studies.scientific_data", "--heldout", "data/heldout"),
            *("--encoder", "models/base", "--training", "t", "--negatives", "n"),
            env=env,
        )
    assert done.returncode == 0, done.stderr[-2000:]
    train, dev = (read_dataset(workspace.path / "t" / name) for name in ("train", "dev"))
    assert train.origin.source == "mteb/scifact + mteb/nfcorpus"
    assert len(train.corpus) == 32
    report = json.loads((workspace.path / "t/decontamination.json").read_text())
    assert list(report["sets"]) == SCIENTIFIC_TASKS, "each collection by itself"
    assert all(part["tasks"][name]["same_collection"] for name, part in report["sets"].items())
    assert train.origin.notes["heldout_tasks"] == sorted(SCIENTIFIC_TASKS)
    ids = sorted([*train.queries["id"], *dev.queries["id"]])
    assert ids == [f"{n}-{q}" for n in (0, 1) for q in QUERIES[:4]], "no test query is among them"
    assert train.queries["id"].is_monotonic_increasing
    pairs = read_negatives(workspace.path / "n")
    assert {query for query, _, _ in pairs} == set(train.queries["id"])
    assert all(len(set(chosen) - {positive}) == negatives for _, positive, chosen in pairs)
