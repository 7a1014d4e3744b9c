"""Files of a task's scores: fixed bytes that mteb reads."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
from mteb import TaskResult

from ettin_retrieval.data.dataset import RetrievalDataset
from ettin_retrieval.data.storage import write_dataset
from ettin_retrieval.evaluation.result_files import read_means, run_table, write_scores
from ettin_retrieval.evaluation.score import TaskScores, score_checkpoint
from ettin_retrieval.runtime.files import read_json
from ettin_retrieval.settings.load import load_settings
from tests.small import ROOT


def test_files_of_one_task(checkpoint: Path, dataset: RetrievalDataset, tmp_path: Path) -> None:
    few = dataset.with_queries(dataset.queries["id"].tolist()[:10])
    write_dataset(few, tmp_path / "benchmark" / "TinySciFact")
    settings = load_settings(ROOT / "params.yaml")
    [scored] = score_checkpoint(checkpoint, tmp_path / "benchmark", settings)
    for name in ("once", "again"):
        (tmp_path / name).mkdir()
        write_scores(scored, tmp_path / name)
    once, again = (
        {path.name: path.read_bytes() for path in sorted((tmp_path / name).iterdir())}
        for name in ("once", "again")
    )
    assert once == again
    assert list(once) == [f"TinySciFact.{s}" for s in ("json", "queries.parquet", "run.parquet")]
    assert read_means(tmp_path / "once", "TinySciFact") == scored.scores
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
