"""Duplicates are found; test_search.py restores them in results."""

from __future__ import annotations

import numpy as np
import pytest

from ettin_retrieval.evaluation.duplicates import Duplicates


@pytest.mark.parametrize("seed", range(5))
def test_duplicates_are_those_that_a_loop_finds(seed: int) -> None:
    texts = [str(n) for n in np.random.default_rng(seed).integers(0, 8, size=25)]
    duplicates = Duplicates.among([texts[:10], texts[10:11], texts[11:]])
    assert dict(zip(duplicates.rows.tolist(), duplicates.originals.tolist(), strict=True)) == {
        row: texts.index(text) for row, text in enumerate(texts) if texts.index(text) < row
    }
    originals = np.concatenate([duplicates.originals_in(shard, 7) for shard in range(4)])
    assert originals.tolist() == [row for row in range(25) if texts.index(texts[row]) == row]


def test_an_empty_corpus_has_no_duplicates() -> None:
    assert not len(Duplicates.among([]).rows)
