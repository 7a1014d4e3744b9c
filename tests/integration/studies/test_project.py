"""The studies as their DVC project runs them, on a small collection."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from dvc.utils.hydra import apply_overrides

from ettin_retrieval.data.heldout import write_heldout
from ettin_retrieval.data.negatives import write_negatives
from ettin_retrieval.data.storage import read_dataset, write_dataset
from ettin_retrieval.evaluation.result_files import write_scores
from ettin_retrieval.evaluation.score import score_checkpoint
from ettin_retrieval.ledger.store import index_problem, read_ledger, read_measurement
from ettin_retrieval.mining.mine import mine
from ettin_retrieval.settings.load import load_settings
from ettin_retrieval.sources import tiny
from ettin_retrieval.sources.training_data import load_tiny, training_and_dev
from tests.small import save_small_checkpoint, write_small_benchmark
from tests.workspace import Workspace

OVERRIDES = {
    "params.yaml": [
        "data.max_train_queries=12", "data.dev_queries=2", "data.dev_passages=20",
        "data.max_corpus_size=150", "negatives.sampling=random", "negatives.num_negatives=2",
    ],
    "encoders.yaml": ["ettin_tiny.base.shape.hidden_size=32", "ettin_tiny.base.shape.heads=2"],
    "studies/params.yaml": [
        "seeds=[1,2]", "few_shot.examples=[0,8]", "few_shot.steps=5", "ablations.queries=10",
        "ablations.grid.pooling=[mean,cls]", "ablations.grid.sampling=[hard,random]",
        "ablations.grid.objective=[contrastive,margin_mse]",
        "ablations.grid.num_negatives=[0,2,3]",
    ],
}  # fmt: skip

ARMS = {
    "multi_stage": ["stage1", "stage2"],
    "few_shot": ["shots8"],
    "cross_domain": ["web", "scientific"],
    "contamination": [],  # the tiny world's training queries share nothing with its tasks
    "ablations": [
        "num_negatives-0", "num_negatives-3", "objective-margin_mse", "pooling-cls", "reference",
        "sampling-hard",
    ],
}  # fmt: skip
"""What each study trains, with each of two seeds."""

SHARED_TASK = "data/benchmark/TinySciFact"

WITH_PICTURE = {"few_shot", "cross_domain"}


@pytest.fixture(scope="module")
def studied(repository: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A repository in which `dvc repro` has run in studies/."""
    workspace = Workspace(tmp_path_factory.mktemp("studies") / "repository")
    shutil.copytree(repository.path, workspace.path)
    for file, overrides in OVERRIDES.items():
        apply_overrides(workspace.path / file, overrides)
    write_pipeline(workspace.path)
    (workspace.path / "studies/dvc.lock").unlink(missing_ok=True)
    done = workspace.run("dvc", "--cd", "studies", "repro", timeout=1800)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return workspace


def write_pipeline(root: Path) -> None:
    """Write what the pipeline leaves for the studies."""
    settings = load_settings(root / "params.yaml")
    write_small_benchmark(root / "data/benchmark")
    write_heldout(tiny.benchmark().items(), "auto", root / "data/heldout")
    for name in ("base", "finetuned"):
        checkpoint = save_small_checkpoint(root / "models" / name)
        scores = root / "data/scores" / name
        scores.mkdir(parents=True)
        for task in score_checkpoint(checkpoint, root / "data/benchmark", settings):
            write_scores(task, scores)
    data = training_and_dev(load_tiny("web", settings), settings)
    for name, dataset in data.items():
        write_dataset(dataset, root / "data/training" / name)
    write_dataset(data["dev"], root / "data/negatives/dev")
    write_negatives(mine(data["train"], None, settings)[0], root / "data/negatives")


@pytest.mark.parametrize("study", [*ARMS, "tiny_world", "lengths"])
def test_a_study_writes_every_format(studied: Workspace, study: str) -> None:
    written = {path.name for path in (studied.path / "studies" / study / "tables").iterdir()}
    formats = ["md", "tex", "csv", "json"] + ["png"] * (study in WITH_PICTURE)
    assert written == {f"{study}.{suffix}" for suffix in formats}


@pytest.mark.parametrize("study", ARMS)
def test_a_study_has_a_ledger_of_its_own(studied: Workspace, study: str) -> None:
    results = studied.path / "studies" / study / "results"
    names = [f"tiny/{arm}-seed{seed}" for arm in sorted(ARMS[study]) for seed in (1, 2)]
    assert [entry.name for entry in read_ledger(results)] == names
    assert index_problem(results) is None


@pytest.mark.parametrize(
    "study", [study for study in [*ARMS, "tiny_world"] if study != "contamination"]
)
def test_a_table_names_seeds_intervals_and_whether_rates_are_tuned(
    studied: Workspace, study: str
) -> None:
    page = (studied.path / f"studies/{study}/tables/{study}.md").read_text(encoding="utf-8")
    assert "Seeds 1, 2." in page and "| 95% interval |" in page
    assert "untuned" in page, "no sweep is of this encoder"


def test_queries_that_share_an_answer_are_tested_against_as_many_others(studied: Workspace) -> None:
    root = studied.path
    train, task = (read_dataset(root / name) for name in ("data/training/train", SHARED_TASK))
    some = task.with_queries(task.queries["id"].tolist()[:3])
    asked_again = some.queries.assign(
        id="s" + some.queries["id"], text="so " + some.queries["text"]
    )
    both = replace(
        train,
        corpus=pd.concat([train.corpus, some.corpus.assign(id="s" + some.corpus["id"])]),
        queries=pd.concat([train.queries, asked_again]),
        qrels=pd.concat(
            [train.qrels, some.qrels.assign(query_id="s" + some.qrels["query_id"],
                                            corpus_id="s" + some.qrels["corpus_id"])]
        ),
        teacher=None,
    ).validate()  # fmt: skip
    write_dataset(both, root / "shared/train")
    write_dataset(read_dataset(root / "data/negatives/dev"), root / "shared/dev")
    write_negatives(mine(both, None, load_settings(root / "params.yaml"))[0], root / "shared")
    done = studied.stage(
        *("studies.contamination", "--benchmark", "data/benchmark", "--encoder", "models/base"),
        *("--training", "shared", "--negatives", "shared", "--base-scores", "data/scores/base"),
        *(
            "--heldout",
            "data/heldout",
            "--output",
            "tables-of-shared",
            "--results",
            "results-of-shared",
        ),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    arms = ("all", "without-overlap", "without-random")
    names = [f"tiny/{arm}-seed{seed}" for arm in arms for seed in (1, 2)]
    assert [entry.name for entry in read_ledger(root / "results-of-shared")] == names
    page = (root / "tables-of-shared/contamination.md").read_text(encoding="utf-8")
    assert "| all | 15 |" in page
    assert "| without-overlap | 12 |" in page and "| without-random | 12 |" in page
    assert "| TinySciFact | without-overlap - without-random |" in page


def test_an_entry_says_what_it_was_trained_on(studied: Workspace) -> None:
    results = studied.path / "studies/few_shot/results"
    (record,) = read_measurement(results, "tiny/shots8-seed1").records.values()
    assert record["settings"]["seed"] == 1
    assert record["settings"]["finetuning"]["max_steps"] == 5
    assert record["learning_rate"] == {"value": 0.002, "tuned": False}, "no sweep of this encoder"
    assert record["training_data"]["counts"]["queries"] == 8


def test_nothing_is_left_but_the_reports(studied: Workspace) -> None:
    assert not (studied.path / "studies/work").exists()
    status = studied.run("git", "status", "--porcelain", "--untracked-files=all").stdout
    changed = {line[3:] for line in status.splitlines()}
    assert not [path for path in changed if path.startswith(("results/", "metrics/"))], (
        "the pipeline's ledger does not know the studies"
    )
    assert {path.split("/")[1] for path in changed if path.startswith("studies/")} == {
        *ARMS.keys() - {"contamination"}, "tiny_world", "lengths", "params.yaml", "dvc.lock",
    }, "contamination has nothing to test here, as in the committed tables"  # fmt: skip


def test_a_second_run_has_nothing_to_do(studied: Workspace) -> None:
    done = studied.run("dvc", "--cd", "studies", "status", "--json")
    assert (done.returncode, json.loads(done.stdout)) == (0, {}), done.stdout + done.stderr


def test_a_study_gives_the_same_bytes_twice(studied: Workspace) -> None:
    read = [
        *("--benchmark", "data/benchmark", "--encoder", "models/base"),
        *("--training", "data/training", "--negatives", "data/negatives"),
        *("--base-scores", "data/scores/base"),
    ]
    done = studied.stage("studies.few_shot", *read, "--output", "again", "--results", "ledger")
    assert done.returncode == 0, done.stderr[-3000:]
    first = studied.path / "studies/few_shot/tables"
    for path in first.iterdir():
        assert path.read_bytes() == (studied.path / "again" / path.name).read_bytes(), path.name
    for entry in read_ledger(studied.path / "ledger"):
        file = f"{entry.name}.queries.parquet"
        one, other = (
            studied.path / place / file for place in ("studies/few_shot/results", "ledger")
        )
        assert one.read_bytes() == other.read_bytes(), file


def test_more_queries_than_there_are_is_one_line(studied: Workspace) -> None:
    apply_overrides(studied.path / "studies/params.yaml", ["few_shot.examples=[0,13]"])
    done = studied.run("dvc", "--cd", "studies", "repro", "few_shot")
    apply_overrides(studied.path / "studies/params.yaml", ["few_shot.examples=[0,8]"])
    assert done.returncode != 0
    assert (
        "error: studies/params.yaml: few_shot.examples: 13 is more than the 12 queries of "
        "data/training" in done.stderr
    )
