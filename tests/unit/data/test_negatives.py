"""Training pairs with their negatives on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from ettin_retrieval.data.negatives import Pair, read_negatives, write_negatives


@pytest.mark.parametrize(
    "pairs", [[], [("q1", "d1", ["d3", "d2"]), ("q1", "d2", ["d3"]), ("q2", "d3", [])]]
)
def test_pairs_are_read_as_they_were_written(pairs: list[Pair], tmp_path: Path) -> None:
    write_negatives(pairs, tmp_path)
    assert read_negatives(tmp_path) == pairs
