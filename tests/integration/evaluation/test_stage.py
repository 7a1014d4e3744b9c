"""Stage evaluate as a process: killed and continued, shared by ranks, against mteb's own search."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ettin_retrieval.base_encoder.pretrained import pretrained
from ettin_retrieval.base_encoder.random_weights import random_encoder
from ettin_retrieval.encoders.checkpoint import save_checkpoint
from ettin_retrieval.settings.load import load_settings
from ettin_retrieval.sources import beir, tiny
from ettin_retrieval.sources.benchmark_data import subsampled
from tests.collections import minilm
from tests.mteb_search import assert_scores_are_mtebs
from tests.small import ROOT, save_small_checkpoint, write_small_benchmark

CHANGED = ROOT / "tests" / "integration" / "evaluation" / "stage_evaluate.py"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A checkpoint and a benchmark, and the place of the outputs."""
    save_small_checkpoint(tmp_path / "checkpoint", layers=1)
    write_small_benchmark(tmp_path / "benchmark")
    return tmp_path


def run(directory: Path, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        cwd=directory,
        env=os.environ | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"} | env,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def evaluate(directory: Path) -> str:
    """Run the stage's command; return its log."""
    paths = [f"--{name}={name}" for name in ("checkpoint", "benchmark", "scores")]
    paths += ["--metrics=metrics.json", f"--params={ROOT / 'params.yaml'}"]
    done = run(directory, "-m", "ettin_retrieval.evaluation", *paths)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stderr


def outputs(directory: Path) -> dict[str, bytes]:
    paths = [*sorted((directory / "scores").iterdir()), directory / "metrics.json"]
    return {path.name: path.read_bytes() for path in paths}


def test_a_killed_evaluation_ends_in_the_same_bytes(directory: Path) -> None:
    unfinished = directory / "data" / "unfinished-evaluation"
    killed = run(directory, str(CHANGED), "kill", str(directory))
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    assert not (directory / "scores").exists()
    assert sorted(path.suffix for path in unfinished.iterdir()) == ["", ".partial"]
    assert "already scored: TinyDBPedia\n" in evaluate(directory)
    resumed = outputs(directory)
    assert not unfinished.exists()
    assert "already scored" not in evaluate(directory)
    assert outputs(directory) == resumed
    assert len(resumed) == 17


def test_two_ranks_share_the_work_and_write_the_same_bytes(directory: Path) -> None:
    written, encoded = [], []
    for world_size in (1, 2):
        torchrun = f"-m torch.distributed.run --standalone --nproc-per-node={world_size}".split()
        launcher = torchrun if world_size > 1 else []
        done = run(
            directory, *launcher, str(CHANGED), "count", str(directory),
            OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        assert done.stdout.count(f"of {world_size}: ") == world_size
        encoded.append(re.findall(r"(\d+) passages (\d+) queries", done.stdout))
        written.append(outputs(directory))
    assert len(written[0]) == 17
    assert written[0] == written[1]
    # Each rank encodes one of three shards alone, and batches of the third and of the queries.
    [[passages, queries]], two = encoded
    assert sum(int(p) for p, _ in two) == int(passages)
    assert sum(int(q) for _, q in two) == int(queries)
    assert min(int(p) for p, _ in two) > int(passages) / 3


@pytest.mark.acceptance
def test_the_tiny_base_encoder_scores_as_in_mtebs_own_search(tmp_path: Path) -> None:
    """On every task with all queries, as `dvc repro` evaluates it."""
    entry = load_settings(ROOT / "params.yaml").encoders["ettin_tiny"]
    (tmp_path / "scratch").mkdir()
    model = random_encoder(entry, tiny.lexicon(), 42, tmp_path / "scratch")
    save_checkpoint(model, tmp_path / "base", {"source": "tiny", "revision": "seed 42"})
    for name, dataset in tiny.benchmark().items():
        assert_scores_are_mtebs(tmp_path / "base", name, dataset)


SCIFACT = os.environ.get("ETTIN_BENCHMARK_SCIFACT")
"""SciFact as a BEIR directory; without it, passages of the tiny world."""

PASSAGES = 400
"""Judged ones and a seeded sample: a minute or two on two cores."""


@pytest.mark.acceptance
def test_a_real_encoder_scores_as_in_mtebs_own_search(tmp_path: Path) -> None:
    local = load_settings(ROOT / "params.yaml").encoders["ettin_local"]
    model, origin = pretrained(local, minilm())
    save_checkpoint(model, tmp_path, origin)
    whole = beir.load(Path(SCIFACT), "test") if SCIFACT else tiny.benchmark()["TinySciFact"]
    name, dataset = subsampled("SciFact", whole, PASSAGES)
    assert len(dataset.corpus) == PASSAGES
    assert_scores_are_mtebs(tmp_path, name, dataset)
