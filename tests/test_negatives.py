"""The benchmark of mining's memory."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks import mining_memory

from ettin_retrieval.data.storage import write_dataset
from tests.workspace import ROOT


def test_the_memory_benchmark_mines(tmp_path: Path) -> None:
    write_dataset(mining_memory.collection(passages=120, queries=5), tmp_path / "collection")
    measured = mining_memory.measure(tmp_path / "collection", 8, ROOT / "params.yaml")
    assert (measured["passages"], measured["queries"], measured["pairs"]) == (120, 5, 5)
    above = measured["peak_gib"] - measured["index_gib"]
    assert measured["above_index_gib"] == pytest.approx(above, abs=2e-3)
