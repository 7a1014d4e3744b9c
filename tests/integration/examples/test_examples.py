"""The examples make what the stages of the pipeline make."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ettin_retrieval.data.storage import write_dataset
from ettin_retrieval.runtime.files import read_json, sha256_file
from ettin_retrieval.settings.load import load_settings
from ettin_retrieval.sources.training_data import load_tiny, training_and_dev
from tests.settings_files import write_settings
from tests.small import save_small_checkpoint, write_small_benchmark
from tests.workspace import ROOT

CHANGES = {
    "data.dev_queries": 10,
    "data.dev_passages": 40,
    "data.max_train_queries": 60,
    "negatives.num_negatives": 1,
    "finetuning.epochs": 1,
    "finetuning.batch_size": 16,
}


def run(directory: Path, *command: str) -> str:
    """Run a Python program in a directory; its output."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=directory,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src"), "TQDM_DISABLE": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the pipeline makes up to `evaluate`, small."""
    directory = tmp_path_factory.mktemp("workspace")
    settings = load_settings(write_settings(directory, CHANGES))
    save_small_checkpoint(directory / "models" / "base", layers=1)
    write_small_benchmark(directory / "data" / "benchmark")
    for name, dataset in training_and_dev(load_tiny("web", settings), settings).items():
        write_dataset(dataset, directory / "data" / "training" / name)
    stages = ["negatives", "finetuning", "evaluate@base", "evaluate@finetuned"]
    run(directory, str(Path(__file__).with_name("stages.py")), *stages)
    return directory


def test_the_examples_end_in_the_bytes_and_scores_of_the_stages(workspace: Path) -> None:
    trained = run(workspace, str(ROOT / "examples" / "train.py"))
    models, metrics = workspace / "models", workspace / "metrics"
    made, expected = (models / name / "model.safetensors" for name in ("example", "finetuned"))
    assert sha256_file(made) == sha256_file(expected)
    assert sha256_file(made) != sha256_file(models / "base" / "model.safetensors")
    curve = read_json(metrics / "finetuning.json")
    assert f"-> {curve['dev_ndcg_at_10']:.4f}" in trained
    assert f"the weights of step {curve['step']}" in trained

    evaluated = run(workspace, str(ROOT / "examples" / "evaluate.py"))
    base, finetuned = (read_json(metrics / f"{name}.json") for name in ("base", "finetuned"))
    assert read_json(models / "example.json") == {"base": base, "example": finetuned}
    assert base != finetuned
    for task in ("TinyDBPedia", "TinyMSMARCO", "TinyNFCorpus", "TinySciFact"):
        assert f"{task}.ndcg_at_10" in evaluated and f"{task}: " in evaluated
