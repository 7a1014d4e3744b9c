"""Files of a task's scores: fixed bytes that mteb reads, and an evaluation that continues."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mteb import TaskResult

from ettin_retrieval.data.dataset import RetrievalDataset
from ettin_retrieval.data.storage import write_dataset
from ettin_retrieval.encoders.checkpoint import load_checkpoint, save_checkpoint
from ettin_retrieval.encoders.encode import TextEncoder
from ettin_retrieval.evaluation import result_files
from ettin_retrieval.evaluation import search as search_module
from ettin_retrieval.evaluation.result_files import (
    forget,
    result_key,
    run_table,
    score_tasks,
    write_scores,
)
from ettin_retrieval.evaluation.score import TaskScores, means, score_checkpoint, score_task
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.runtime.files import read_json
from ettin_retrieval.settings.load import load_settings
from ettin_retrieval.settings.schema import Settings
from tests.small import CHANGES, ROOT, write_small_benchmark


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load_settings(ROOT / "params.yaml")


def test_files_of_one_task(
    checkpoint: Path, dataset: RetrievalDataset, settings: Settings, tmp_path: Path
) -> None:
    few = dataset.with_queries(dataset.queries["id"].tolist()[:10])
    write_dataset(few, tmp_path / "benchmark" / "TinySciFact")
    [scored] = score_checkpoint(checkpoint, tmp_path / "benchmark", settings)
    for name in ("once", "again"):
        (tmp_path / name).mkdir()
        write_scores(scored, tmp_path / name)
    once, again = (
        {path.name: path.read_bytes() for path in sorted((tmp_path / name).iterdir())}
        for name in ("once", "again")
    )
    assert once == again
    suffixes = ("cut.json", "json", "queries.parquet", "run.parquet")
    assert list(once) == [f"TinySciFact.{suffix}" for suffix in suffixes]
    per_query = pd.read_parquet(tmp_path / "once" / "TinySciFact.queries.parquet")
    assert means(per_query) == scored.scores
    result = TaskResult.from_disk(tmp_path / "once" / "TinySciFact.json")
    assert result.scores["test"][0]["ndcg_at_10"] == round(scored.scores["ndcg_at_10"], 5)
    assert result.date is None


def test_a_score_that_is_not_a_number_becomes_null(tmp_path: Path) -> None:
    scores = {"hf_subset": "default", "languages": ["eng-Latn"], "main_score": 0.5}
    result = TaskResult(
        dataset_revision="1",
        task_name="SciFact",
        mteb_version="2",
        scores={"test": [scores | {"nauc": math.nan}]},
        evaluation_time=1.5,
        kg_co2_emissions=None,
    )
    write_scores(TaskScores("SciFact", pd.DataFrame(), {}, result), tmp_path)
    content = read_json(tmp_path / "SciFact.json")
    assert content["scores"]["test"][0]["nauc"] is None
    assert content["evaluation_time"] is None


def test_a_run_is_ordered_by_score_then_by_descending_passage_id() -> None:
    ties = {"a": 1.0, "c": 0.5, "b": 0.5, "d": 0.25}
    table = run_table(
        {"q2": {"z": 3.0}, "q1": ties, "q10": {}, "q3": {"a": 1.0, "b": 1.0, "c": 2.0}}
    )
    rows = [
        ("q1", "a", 1, 1.0), ("q1", "c", 2, 0.5), ("q1", "b", 3, 0.5), ("q1", "d", 4, 0.25),
        ("q2", "z", 1, 3.0),
        ("q3", "c", 1, 2.0), ("q3", "b", 2, 1.0), ("q3", "a", 3, 1.0),
    ]  # fmt: skip
    assert [tuple(row.values()) for row in table.to_pylist()] == rows
    assert table.column_names == ["query_id", "corpus_id", "rank", "score"]
    assert run_table({}).num_rows == 0


@pytest.fixture(autouse=True)
def _in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unfinished evaluations and cached embeddings lie below the working directory."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_benchmark(tmp_path_factory.mktemp("benchmark"))


def contents(done: dict[str, Path]) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for task in done.values() for path in task.iterdir()}


def test_an_interrupted_evaluation_continues_with_the_missing_tasks(
    checkpoint: Path, benchmark: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = score_tasks(checkpoint, benchmark, settings)
    expected = contents(undisturbed)
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

    monkeypatch.setattr(result_files, "score_task", interrupted)
    with pytest.raises(KeyboardInterrupt):
        score_tasks(checkpoint, benchmark, settings)
    monkeypatch.setattr(result_files, "score_task", counted)
    done = score_tasks(checkpoint, benchmark, settings)
    assert scored == list(done)  # each task once over both runs
    assert len(done) == 4
    assert contents(done) == expected
    forget(done.values())
    assert not result_files.UNFINISHED.exists()


def test_an_evaluation_killed_in_the_middle_of_a_corpus_continues_there(
    checkpoint: Path, benchmark: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = settings.with_changes({"evaluation.cache_embeddings": True})
    monkeypatch.setattr(search_module, "SHARD", 40)
    encoded: list[int] = []
    encode_shard = TextEncoder._encode_shard

    def killed(self: TextEncoder, texts: list[str], *rest: Any) -> Any:
        if len(encoded) == 3:
            raise KeyboardInterrupt
        encoded.append(len(texts))
        return encode_shard(self, texts, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(TextEncoder, "_encode_shard", killed)
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
