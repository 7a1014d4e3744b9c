"""An interrupted evaluation continues, and two checkpoints never share a result."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from ettin_retrieval.encoders import encode as encoding
from ettin_retrieval.encoders.checkpoint import load_checkpoint, save_checkpoint
from ettin_retrieval.evaluation import resume
from ettin_retrieval.evaluation import search as search_module
from ettin_retrieval.evaluation.resume import forget, result_key, score_tasks
from ettin_retrieval.evaluation.score import score_task
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.settings.load import load_settings
from ettin_retrieval.settings.schema import Settings
from tests.small import CHANGES, ROOT, write_small_benchmark


@pytest.fixture(autouse=True)
def _in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unfinished evaluations and cached embeddings lie below the working directory."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load_settings(ROOT / "params.yaml")


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_benchmark(tmp_path_factory.mktemp("benchmark"))


def files(done: dict[str, Path]) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for task in done.values() for path in task.iterdir()}


def test_an_interrupted_evaluation_continues_with_the_missing_tasks(
    checkpoint: Path, benchmark: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = score_tasks(checkpoint, benchmark, settings)
    expected = files(undisturbed)
    forget(undisturbed.values())
    scored: list[str] = []

    def interrupted(search: Any, name: str, dataset: Any) -> Any:
        if len(scored) == 1:
            raise KeyboardInterrupt
        scored.append(name)
        return score_task(search, name, dataset)

    def counted(search: Any, name: str, dataset: Any) -> Any:
        scored.append(name)
        return score_task(search, name, dataset)

    monkeypatch.setattr(resume, "score_task", interrupted)
    with pytest.raises(KeyboardInterrupt):
        score_tasks(checkpoint, benchmark, settings)
    monkeypatch.setattr(resume, "score_task", counted)
    done = score_tasks(checkpoint, benchmark, settings)
    assert scored == list(done)  # each task once over both runs
    assert len(done) == 4
    assert files(done) == expected
    forget(done.values())
    assert not resume.UNFINISHED.exists()


def test_an_evaluation_killed_in_the_middle_of_a_corpus_continues_there(
    checkpoint: Path, benchmark: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = settings.with_changes({"evaluation.cache_embeddings": True})
    monkeypatch.setattr(search_module, "SHARD", 40)
    encoded: list[int] = []
    encode_shard = encoding._encode_shard

    def killed(model: Any, shard: Any, *rest: Any) -> Any:
        if len(encoded) == 3:
            raise KeyboardInterrupt
        encoded.append(len(shard.texts))
        return encode_shard(model, shard, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(encoding, "_encode_shard", killed)
        with pytest.raises(KeyboardInterrupt):
            score_tasks(checkpoint, benchmark, cached)
    before = {path: path.stat().st_mtime_ns for path in Path("data/embeddings").glob("*.npy")}
    assert len(before) == 2  # queries are encoded again
    done = score_tasks(checkpoint, benchmark, cached)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert set(done) == {path.name for path in benchmark.iterdir()}


@pytest.mark.parametrize("change", ["weights", "dtype", "pooling", "passage length"])
def test_a_changed_checkpoint_at_the_same_path_has_its_own_results(
    checkpoint: Path, benchmark: Path, settings: Settings, tmp_path: Path, change: str
) -> None:
    model_directory, one_task = tmp_path / "models", tmp_path / "benchmark"
    shutil.copytree(checkpoint, model_directory)
    shutil.copytree(benchmark / "TinyDBPedia", one_task / "TinyDBPedia")
    before = score_tasks(model_directory, one_task, settings)
    model = load_checkpoint(model_directory)
    CHANGES[change](model)
    shutil.rmtree(model_directory)
    save_checkpoint(model, model_directory, {})
    after = score_tasks(model_directory, one_task, settings)
    assert after["TinyDBPedia"] != before["TinyDBPedia"]
    # The same checkpoint at another path is the same checkpoint.
    shutil.copytree(checkpoint, tmp_path / "elsewhere")
    assert score_tasks(tmp_path / "elsewhere", one_task, settings) == before


def test_the_key_covers_dataset_and_settings(
    benchmark: Path, settings: Settings, tmp_path: Path
) -> None:
    copy = tmp_path / "TinyDBPedia"
    shutil.copytree(benchmark / "TinyDBPedia", copy)
    same = result_key("id", copy, settings)
    assert same == result_key("id", benchmark / "TinyDBPedia", settings)
    manifest = (copy / "manifest.json").read_text()
    changed = manifest.replace('"revision": "', '"revision": "another ')
    (copy / "manifest.json").write_text(changed)
    keys = {
        same,
        result_key("id", copy, settings),
        result_key("id", benchmark / "TinyNFCorpus", settings),
        result_key("id", copy, settings.with_changes({"evaluation.precision": "bf16"})),
        result_key("id", copy, settings.with_changes({"strict": False})),
        result_key("other", copy, settings),
    }
    assert len(keys) == 6


def test_an_empty_benchmark_is_an_error(
    checkpoint: Path, settings: Settings, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="no task in it"):
        score_tasks(checkpoint, tmp_path, settings)
