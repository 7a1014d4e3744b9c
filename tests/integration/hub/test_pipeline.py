"""`dvc exp run -S model=1b` from a hub on loopback that serves miniatures under the real ids."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from ettin_retrieval.tasks import (
    AVERAGE,
    AVERAGE_ENG_V2,
    BENCHMARK_TASKS,
    GUIDE_TASKS,
    in_parts,
    mteb_names,
)
from tests.hub import LoopbackHub, populate
from tests.workspace import Workspace

# ArguAna lacks a relevant passage; two others have passages without text.
TASKS = ("ArguAna", "FiQA2018", "SciFact", "TRECCOVID")
SMALL = ("finetuning.epochs=1", "finetuning.batch_size=8", "negatives.num_negatives=2")
TRIPLETS = "sentence-transformers/msmarco-co-condenser-margin-mse-sym-mnrl-mean-v1 triplet-hard"


def experiment(
    workspace: Workspace, env: dict[str, str], *overrides: str, stages: tuple[str, ...] = ()
) -> None:
    """Run an experiment, which must succeed."""
    options = [part for override in overrides for part in ("-S", override)]
    done = workspace.run("dvc", "exp", "run", *options, *stages, env=env, timeout=1800)
    assert done.returncode == 0, done.stderr[-3000:]


def read(workspace: Workspace, path: str) -> Any:
    return json.loads((workspace.path / path).read_text(encoding="utf-8"))


def test_the_whole_pipeline(workspace: Workspace, tmp_path: Path) -> None:
    with LoopbackHub() as hub:
        commits = populate(hub, tasks=TASKS)
        experiment(
            workspace, hub.env(tmp_path / "cache"), "model=1b",
            f"evaluation.tasks=[{','.join(TASKS)}]", f"data.heldout=[{','.join(TASKS)}]", *SMALL,
        )  # fmt: skip
    scores = read(workspace, "metrics/mteb.json")
    assert {key.split(".")[0] for key in scores} == set(TASKS), "part of a benchmark has no average"
    checkpoint = read(workspace, "models/base/checkpoint.json")
    assert checkpoint["source"] == "jhu-clsp/ettin-encoder-1b"
    assert checkpoint["revision"] == commits["jhu-clsp/ettin-encoder-1b"]
    train = read(workspace, "data/training/train/manifest.json")
    assert train["source"] == "microsoft/ms_marco v1.1"
    assert train["revision"] == commits["microsoft/ms_marco"]
    entry = read(workspace, "results/1b/finetuned-guide-seed42.json")
    assert entry["tasks"]["SciFact"]["source"] == "mteb/scifact"
    for task, count in {
        "ArguAna": "judgments_of_missing_passages",
        "FiQA2018": "passages_without_text",
        "TRECCOVID": "passages_without_text",
    }.items():
        assert read(workspace, f"data/benchmark/{task}/manifest.json")["counts"][count] == 1
    fetched = [path for path in hub.requests if "ettin-encoder" in path]
    assert any(path.endswith("model.safetensors") for path in fetched)
    assert not any(path.endswith((".bin", ".py")) for path in fetched), "no pickles, no code"


@pytest.mark.parametrize(
    ("first", "second", "heldout"),
    [
        (["SciFact", "ArguAna"], ["ArguAna", "FiQA2018"], ["SciFact", "ArguAna", "FiQA2018"]),
        pytest.param("guide", "eng-v2", "auto", marks=pytest.mark.acceptance),
    ],
    ids=["some", "guide-eng-v2"],
)
def test_scoring_other_tasks_leaves_the_checkpoint_and_fills_one_entry(
    workspace: Workspace,
    tmp_path: Path,
    first: list[str] | str,
    second: list[str] | str,
    heldout: list[str] | str,
) -> None:
    entry = "results/17m/finetuned-guide-seed42.json"
    kept = ("data/training", "data/negatives", "models/base", "models/finetuned")

    def score(tasks: list[str] | str) -> dict[str, bytes]:
        wanted, names = (str(t).replace("'", "").replace(" ", "") for t in (tasks, heldout))
        experiment(
            workspace, hub.env(tmp_path / "cache"), "model=17m", f"data.heldout={names}", *SMALL,
            f"evaluation.tasks={wanted}",
        )  # fmt: skip
        files = [file for path in kept for file in sorted((workspace.path / path).rglob("*.*"))]
        return {str(file): file.read_bytes() for file in files if file.is_file()}

    with LoopbackHub() as hub:
        populate(hub, tasks=BENCHMARK_TASKS if heldout == "auto" else heldout)
        before = score(first)
        alone = read(workspace, entry)
        after = score(second)
    assert before == after
    both = read(workspace, entry)
    assert both["weights"] == alone["weights"]
    scored = set(in_parts([*mteb_names(first), *mteb_names(second)]))
    assert set(alone["tasks"]) == set(in_parts(mteb_names(first)))
    assert set(both["tasks"]) == scored
    averages = {key for key in both["scores"] if "." not in key}
    assert averages == ({AVERAGE, AVERAGE_ENG_V2} if first == "guide" else set())
    assert alone["scores"].items() <= both["scores"].items()
    runs = read(workspace, "results/17m/run-guide-seed42.json")["runs"]
    notes = [run["training_data"]["notes"] for run in runs.values()]
    assert {note["heldout"] for note in notes} == {notes[0]["heldout"]}
    assert all(set(note["heldout_tasks"]) == scored for note in notes)
    assert not any("not_held_out" in run for run in runs.values())


def test_another_size(workspace: Workspace, tmp_path: Path) -> None:
    """What `-S model=150m` changes before the data: which encoder is fetched."""
    with LoopbackHub() as hub:
        commits = populate(hub, tasks=())
        env = hub.env(tmp_path / "cache")
        experiment(workspace, env, "model=150m", stages=("settings", "base_encoder"))
    checkpoint = read(workspace, "models/base/checkpoint.json")
    assert checkpoint["revision"] == commits["jhu-clsp/ettin-encoder-150m"]
    settings = read(workspace, "metrics/settings.json")
    assert settings["encoder"]["source"] == "jhu-clsp/ettin-encoder-150m"


@pytest.mark.parametrize(
    ("recipe", "source", "last"),
    [
        ("guide", "microsoft/ms_marco v1.1", "training_data"),
        # As far as the negatives, which are the triplets' own.
        ("paper", TRIPLETS, "negatives"),
    ],
)
def test_the_training_data_of_a_recipe(
    workspace: Workspace, tmp_path: Path, recipe: str, source: str, last: str
) -> None:
    with LoopbackHub() as hub:
        populate(hub, tasks=("SciFact",), rows=40)
        experiment(
            workspace, hub.env(tmp_path / "cache"), "model=17m", f"recipe={recipe}",
            "evaluation.tasks=[SciFact]", "data.heldout=[SciFact]", "data.decontaminate=false",
            stages=("settings", last),
        )  # fmt: skip
    resolved = read(workspace, "metrics/settings.json")
    assert resolved["recipe"] == recipe
    values = [*resolved["finetuning"].items(), *resolved["negatives"].items()]
    assert [key for key, value in values if value == "auto"] in ([], ["mini_batch_size"])
    train = read(workspace, "data/training/train/manifest.json")
    assert train["source"] == source
    if recipe == "paper":
        dev = read(workspace, "data/training/dev/manifest.json")
        assert (train["split"], dev["split"]) == ("train", "train (held out)")
        counts = train["counts"]
        assert counts["queries"] == 36, "four of forty rows are held out"
        assert (counts["positives"], counts["qrels"]) == (36, 72), "one positive, one negative each"
        chosen = pq.read_table(workspace.path / "data/negatives/negatives.parquet").to_pylist()
        own = pq.read_table(workspace.path / "data/training/train/qrels.parquet").to_pylist()
        negatives = {row["query_id"]: [row["corpus_id"]] for row in own if row["score"] == 0}
        assert {row["query_id"]: row["negative_ids"] for row in chosen} == negatives


@pytest.mark.acceptance
def test_the_command_of_the_readme_with_all_tasks(workspace: Workspace, tmp_path: Path) -> None:
    with LoopbackHub() as hub:
        populate(hub)
        experiment(workspace, hub.env(tmp_path / "cache"), "model=1b")
    scores = read(workspace, "metrics/mteb.json")
    assert {key.split(".")[0] for key in scores} == {"mteb_avg_ndcg_at_10", *GUIDE_TASKS}
    entry = read(workspace, "results/1b/finetuned-guide-seed42.json")
    parts = [task for task in entry["tasks"] if task.startswith("CQADupstack")]
    assert len(parts) == 12, "reported as one task, the mean of its twelve parts"
    guide = (workspace.path / "tables/guide.md").read_text(encoding="utf-8")
    row = next(line for line in guide.splitlines() if line.startswith("| 1b | measured |"))
    assert "not run" not in row
