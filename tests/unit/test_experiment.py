"""What a measurement outside the pipeline says of the run that made it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ettin_retrieval.evaluation.score import TaskScores
from ettin_retrieval.experiment import measurement
from ettin_retrieval.runtime.files import write_json
from tests.unit.studies.inputs import SETTINGS


def rate_of(weights: dict[str, Any]) -> dict[str, Any] | None:
    """The learning rate in the record of a run that ended with these weights."""
    manifest: dict[str, Any] = {"split": "test", "source": "s", "revision": "1", "notes": {}}
    manifest["counts"] = {"corpus": 3, "queries_with_positive": 1}
    write_json(Path("benchmark/T/manifest.json"), manifest)
    queries = pd.DataFrame({"query_id": ["q"], "ndcg_at_10": [0.5], "mrr_at_10": [0.5]})
    queries = queries.assign(recall_at_100=1.0, map_at_100=0.5)
    tasks = [TaskScores("T", queries, {}, None)]
    record: dict[str, Any] = {"settings": SETTINGS.resolved()}
    made = measurement(("tiny", "arm", 1), tasks, Path("benchmark"), record, weights)
    assert "learning_rate" not in record, "the caller's stays as it is"
    rate: dict[str, Any] | None = next(iter(made.records.values())).get("learning_rate")
    return rate


def test_a_study_s_run_says_whether_its_rate_was_tuned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the sweep of the checkpoint that it started from; BM25 has no rate."""
    monkeypatch.chdir(tmp_path)
    sweep = {"encoder": "base", "chosen": {"learning_rate": SETTINGS.learning_rate}}
    write_json(Path("studies/sweeps/tiny-guide.json"), sweep)
    rate = SETTINGS.learning_rate
    assert rate_of({"source": "finetuned", "revision": "base"}) == {"value": rate, "tuned": True}
    assert rate_of({"source": "finetuned", "revision": "stage1"}) == {"value": rate, "tuned": False}
    assert rate_of({"source": "bm25s"}) is None
