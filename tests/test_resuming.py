"""An evaluation continues where it was killed, and two checkpoints never share a result."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ettin_retrieval.base_encoder.random_weights import random_encoder
from ettin_retrieval.data.storage import write_dataset
from ettin_retrieval.encoders import encode as encoding
from ettin_retrieval.encoders.checkpoint import load_checkpoint, save_checkpoint
from ettin_retrieval.evaluation import resume as resuming
from ettin_retrieval.evaluation.resume import collect, forget, read_means, result_key, score_tasks
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.settings.load import load_settings
from ettin_retrieval.settings.schema import Settings, Shape
from ettin_retrieval.sources.subsampling import subsampled
from ettin_retrieval.sources.tiny import generator as synthetic

ROOT = Path(__file__).resolve().parents[1]
SHAPE = Shape(layers=1, hidden_size=32, intermediate_size=32, heads=2, vocabulary=1024)


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load_settings(ROOT / "params.yaml")


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four small tasks."""
    directory = tmp_path_factory.mktemp("benchmark")
    for name, dataset in sorted(synthetic.benchmark().items())[:4]:
        _, small = subsampled(name, dataset.with_queries(dataset.queries["id"].tolist()[:5]), 150)
        write_dataset(small, directory / name)
    return directory


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, settings: Settings) -> Path:
    scratch, directory = (tmp_path_factory.mktemp(name) for name in ("scratch", "checkpoint"))
    texts = synthetic.benchmark()["TinySciFact"].passage_texts()
    model = random_encoder(SHAPE, texts, settings.encoder, seed=1, scratch=scratch)
    save_checkpoint(model, directory, {})
    return directory


def files(done: dict[str, Path], target: Path) -> dict[str, bytes]:
    target.mkdir()
    collect(done, target)
    return {path.name: path.read_bytes() for path in sorted(target.iterdir())}


@pytest.fixture(scope="module")
def undisturbed(
    checkpoint: Path, benchmark: Path, settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    work = tmp_path_factory.mktemp("undisturbed")
    done = score_tasks(checkpoint, benchmark, settings, "n/m", work / "unfinished")
    return files(done, work / "scores")


def test_an_interrupted_evaluation_continues_with_the_missing_tasks(
    checkpoint: Path,
    benchmark: Path,
    settings: Settings,
    undisturbed: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scored: list[str] = []
    real = resuming.score_task

    def failing(search: object, name: str, dataset: object) -> object:
        if len(scored) == 1:
            raise KeyboardInterrupt
        scored.append(name)
        return real(search, name, dataset)  # type: ignore[arg-type]

    unfinished = tmp_path / "unfinished"
    with monkeypatch.context() as patch:
        patch.setattr(resuming, "score_task", failing)
        with pytest.raises(KeyboardInterrupt):
            score_tasks(checkpoint, benchmark, settings, "n/m", unfinished)
    monkeypatch.setattr(resuming, "score_task", lambda s, n, d: scored.append(n) or real(s, n, d))
    done = score_tasks(checkpoint, benchmark, settings, "n/m", unfinished)
    assert scored == list(done)  # each task once, over both runs
    assert files(done, tmp_path / "scores") == undisturbed
    assert set(read_means(done)) == set(done)
    forget(done)
    assert not unfinished.exists()


EVALUATED = """
import os, signal, sys
from pathlib import Path
from ettin_retrieval.determinism import pin_arithmetic
pin_arithmetic(True)
from ettin_retrieval.evaluation import resuming
from ettin_retrieval.params import load_settings
write = resuming.write_scores
def write_and_die(*arguments):
    write(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)
checkpoint, benchmark, params, unfinished, target = map(Path, sys.argv[1:6])
if "--die" in sys.argv:
    resuming.write_scores = write_and_die
done = resuming.score_tasks(checkpoint, benchmark, load_settings(params), "n/m", unfinished)
target.mkdir()
resuming.collect(done, target)
"""


def test_a_killed_evaluation_ends_in_the_same_bytes(
    checkpoint: Path, benchmark: Path, tmp_path: Path
) -> None:
    """Every run is a process of its own: here, threads are as other tests have left them."""

    def evaluated(name: str, *options: str) -> subprocess.CompletedProcess[str]:
        paths = (checkpoint, benchmark, ROOT / "params.yaml", tmp_path / name, tmp_path / "done")
        return subprocess.run(
            [sys.executable, "-c", EVALUATED, *map(str, paths), *options],
            env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
            capture_output=True,
            text=True,
            check=False,
        )

    def written() -> dict[str, bytes]:
        return {p.name: p.read_bytes() for p in sorted((tmp_path / "done").iterdir())}

    killed = evaluated("unfinished", "--die")
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    assert len(list((tmp_path / "unfinished").iterdir())) == 1
    assert evaluated("unfinished").returncode == 0
    resumed = written()
    shutil.rmtree(tmp_path / "done")
    assert evaluated("undisturbed").returncode == 0
    assert resumed == written()


def test_an_evaluation_killed_in_the_middle_of_a_corpus_continues_there(
    checkpoint: Path, benchmark: Path, settings: Settings, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from ettin_retrieval.evaluation import search

    keeping = settings.evaluation.model_copy(update={"keep_embeddings": True})
    kept = settings.model_copy(update={"evaluation": keeping})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(search, "SHARD", 40)
    encoded: list[int] = []
    real = encoding._encode_shard

    def dying(model: object, shard: Any, *rest: Any) -> object:
        if len(encoded) == 3:
            raise KeyboardInterrupt
        encoded.append(len(shard.texts))
        return real(model, shard, *rest)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(encoding, "_encode_shard", dying)
        with pytest.raises(KeyboardInterrupt):
            score_tasks(checkpoint, benchmark, kept, "n/m")
    assert len(list(Path("data/embeddings").glob("*.npy"))) == 2  # queries are encoded anew
    first = set(Path("data/embeddings").glob("*.npy"))
    times = {path: path.stat().st_mtime_ns for path in first}
    done = score_tasks(checkpoint, benchmark, kept, "n/m")
    assert {path: path.stat().st_mtime_ns for path in first} == times
    assert set(done) == {path.name for path in benchmark.iterdir()}


def changed_weights(model: torch.nn.Module) -> None:
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] += 1


def changed_dtype(model: torch.nn.Module) -> None:
    model.bfloat16()


def changed_pooling(model: torch.nn.Module) -> None:
    model[1].pooling_mode = "cls"  # type: ignore[index]


def changed_length(model: torch.nn.Module) -> None:
    model[0].document_length = 17  # type: ignore[index]


@pytest.mark.parametrize(
    "change", [changed_weights, changed_dtype, changed_pooling, changed_length]
)
def test_a_changed_checkpoint_at_the_same_path_has_results_of_its_own(
    checkpoint: Path,
    benchmark: Path,
    settings: Settings,
    tmp_path: Path,
    change: Callable[[torch.nn.Module], None],
) -> None:
    place, unfinished = tmp_path / "models", tmp_path / "unfinished"
    shutil.copytree(checkpoint, place)
    one = {path.name: path for path in [benchmark / "TinyDBPedia"]}
    small = tmp_path / "benchmark"
    shutil.copytree(one["TinyDBPedia"], small / "TinyDBPedia")
    before = score_tasks(place, small, settings, "n/m", unfinished)
    model = load_checkpoint(place)
    change(model)
    shutil.rmtree(place)
    save_checkpoint(model, place, {})
    after = score_tasks(place, small, settings, "n/m", unfinished)
    assert after["TinyDBPedia"] != before["TinyDBPedia"]
    shutil.copytree(checkpoint, tmp_path / "elsewhere")
    # The same checkpoint at another path is the same checkpoint.
    assert score_tasks(tmp_path / "elsewhere", small, settings, "n/m", unfinished) == before


def test_the_key_is_of_dataset_and_settings_too(
    benchmark: Path, settings: Settings, tmp_path: Path
) -> None:
    def key(dataset: Path, **evaluation: object) -> str:
        chosen = settings.evaluation.model_copy(update=evaluation)
        return result_key("id", dataset, settings.model_copy(update={"evaluation": chosen}))

    other = tmp_path / "TinyDBPedia"
    shutil.copytree(benchmark / "TinyDBPedia", other)
    manifest = (other / "manifest.json").read_text()
    same = key(other)
    assert same == key(benchmark / "TinyDBPedia")
    (other / "manifest.json").write_text(manifest.replace('"revision": "1"', '"revision": "2"'))
    keys = {same, key(other), key(benchmark / "TinyNFCorpus"), key(other, precision="bf16")}
    assert len(keys) == 4


def test_an_empty_benchmark_is_told_in_one_line(
    checkpoint: Path, settings: Settings, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="no task in it"):
        score_tasks(checkpoint, tmp_path, settings, "n/m")


TWO_PROCESSES = """
import sys
from pathlib import Path
from ettin_retrieval.determinism import pin_arithmetic
pin_arithmetic(False)
from ettin_retrieval import encoding
from ettin_retrieval.evaluation import ranks, resuming
from ettin_retrieval.evaluation import search
from ettin_retrieval.params import load_settings
search.SHARD = 60
checkpoint, benchmark, params, unfinished = map(Path, sys.argv[1:])
encoded = []
real = encoding._encode_batches
def counted(model, tokenised, batches, role):
    encoded.append((role, sum(map(len, batches)), len(tokenised.ids)))
    return real(model, tokenised, batches, role)
encoding._encode_batches = counted
resuming.score_tasks(checkpoint, benchmark, load_settings(params), "n/m", unfinished)
rank, count = ranks.rank_and_ranks()
own = sum(texts for role, texts, _ in encoded if role == "passage")
asked = sum(texts for role, texts, _ in encoded if role == "query")
print(f"encoded {own} passages {asked} queries")
print("rank", rank, "of", count)
"""


def test_two_processes_share_the_work_and_give_the_same_bytes(
    checkpoint: Path, benchmark: Path, settings: Settings, tmp_path: Path
) -> None:
    script = tmp_path / "two.py"
    script.write_text(TWO_PROCESSES)
    scores, encoded = [], []
    for count in (1, 2):
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
        unfinished = tmp_path / f"unfinished{count}"
        paths = (checkpoint, benchmark, ROOT / "params.yaml", unfinished)
        done = subprocess.run(
            [sys.executable, *(launcher if count > 1 else []), str(script), *map(str, paths)],
            env=os.environ
            | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        assert done.stdout.count(f"of {count}") == count
        encoded.append(re.findall(r"encoded (\d+) passages (\d+) queries", done.stdout))
        directories = {path.name: path for path in unfinished.iterdir()}
        scores.append({
            path.name: path.read_bytes()
            for directory in directories.values()
            for path in directory.iterdir()
        })  # fmt: skip
    assert len(scores[0]) == 12
    assert scores[0] == scores[1]
    # Of three shards of a corpus each encodes one alone, and of the third, as of the queries, some
    # batches.
    [[passages, queries]], two = encoded
    assert sum(int(p) for p, _ in two) == int(passages)
    assert sum(int(q) for _, q in two) == int(queries)
    assert min(int(p) for p, _ in two) > int(passages) / 3
