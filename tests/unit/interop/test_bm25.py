"""BM25 in the ledger."""

from __future__ import annotations

from pathlib import Path

from ettin_retrieval.cli import main
from ettin_retrieval.data.storage import write_dataset
from ettin_retrieval.ledger.store import read_ledger, read_queries
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
