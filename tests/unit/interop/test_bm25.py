"""BM25 in the ledger."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mteb
import pandas as pd
import pytest

from ettin_retrieval.cli import main
from ettin_retrieval.data.storage import write_dataset
from ettin_retrieval.evaluation.score import score_task
from ettin_retrieval.interop import BM25_MODEL, bm25
from ettin_retrieval.ledger.store import read_ledger, read_queries
from ettin_retrieval.sources import tiny
from ettin_retrieval.sources.beir import load


def test_bm25_joins_the_ledger_and_keeps_what_it_scored_before(beir: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    for name in ("one", "two"):
        write_dataset(load(beir, "test"), tmp_path / name / name)
        options = ["--benchmark", str(tmp_path / name), "--results", str(results)]
        assert main(["bm25", *options]) == 0
    [entry] = read_ledger(results)
    assert entry.name == "bm25/base-seed0"
    assert entry.scores["one.mrr_at_10"] == entry.scores["two.mrr_at_10"] == 0.75, "ranks 1 and 2"
    assert sorted(read_queries(results, entry)["task"]) == ["one", "one", "two", "two"]
    assert all("." in key for key in entry.scores), "an average of some collections"
    before = (results / "bm25" / "base-seed0.json").read_bytes()
    assert main(["bm25", *options]) == 0
    assert (results / "bm25" / "base-seed0.json").read_bytes() == before


def test_the_ranking_is_this_repository_s_and_the_scores_are_mteb_s(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Over several shards, with queries in several parts; passages without a word tie anywhere."""
    monkeypatch.setattr(bm25, "SHARD", 300)
    data = tiny.benchmark()["TinySciFact"]
    theirs: Any = mteb.get_model(BM25_MODEL)
    ours, expected = bm25.score_bm25("collection", data), score_task(theirs, "collection", data)
    compared = ["query_id", "ndcg_at_10", "mrr_at_10"]
    pd.testing.assert_frame_equal(ours.per_query[compared], expected.per_query[compared])
    for query, hits in ours.run.items():
        for passage, score in hits.items():
            assert score == pytest.approx(expected.run[query].get(passage, 0), abs=1e-5)
    assert max(map(len, ours.run.values())) == 1000
