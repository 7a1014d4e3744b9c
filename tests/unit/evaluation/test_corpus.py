"""A corpus on disk and one in memory are read alike, and texts that are repeated are found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from datasets import Dataset

from ettin_retrieval.data.dataset import RetrievalDataset
from ettin_retrieval.data.storage import open_dataset, write_dataset
from ettin_retrieval.evaluation.corpus import Corpus, DistinctTexts


@pytest.fixture(params=["stored", "loaded"])
def corpus(request: pytest.FixtureRequest, tmp_path: Path, dataset: RetrievalDataset) -> Corpus:
    if request.param == "stored":
        write_dataset(dataset, tmp_path)
        return Corpus(open_dataset(tmp_path).corpus)
    return Corpus(Dataset.from_pandas(dataset.corpus, preserve_index=False))


def test_the_shards_of_all_ranks_are_the_corpus(corpus: Corpus, dataset: RetrievalDataset) -> None:
    assert len(corpus) == len(dataset.corpus)
    shards: dict[int, list[str]] = {}
    for rank in range(3):
        numbers = range(rank, -(-len(corpus) // 100), 3)
        shards |= dict(zip(numbers, corpus.shards(100, numbers), strict=True))
    assert [text for _, shard in sorted(shards.items()) for text in shard] == (
        dataset.passage_texts()
    )


def test_ids_of_rows(corpus: Corpus, dataset: RetrievalDataset) -> None:
    rows = np.array([0, 3, len(dataset.corpus) - 1])
    assert corpus.ids(rows) == dataset.corpus["id"].iloc[rows].tolist()
    assert corpus.ids(np.array([], dtype=np.int64)) == []


def test_a_corpus_without_titles() -> None:
    corpus = Corpus(Dataset.from_pandas(pd.DataFrame({"id": ["a"], "text": [" b "]})))
    assert list(corpus.shards(10, [0])) == [["b"]]


@pytest.mark.parametrize("seed", range(5))
def test_repeated_texts_are_those_that_a_loop_finds(seed: int) -> None:
    """test_search.py restores them in results."""
    texts = [str(n) for n in np.random.default_rng(seed).integers(0, 8, size=25)]
    distinct = DistinctTexts([texts[:10], texts[10:11], texts[11:]])
    assert distinct.first.tolist() == [texts.index(text) for text in texts]
    originals = np.concatenate([distinct.shard(number, 7) for number in range(4)])
    assert originals.tolist() == [row for row in range(25) if texts.index(texts[row]) == row]


def test_an_empty_corpus_has_no_texts() -> None:
    assert not len(DistinctTexts([]).first)
