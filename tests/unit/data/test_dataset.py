"""What a dataset may lack."""

from __future__ import annotations

import pytest

from ettin_retrieval.data.dataset import CORPUS, QRELS, QUERIES, Origin, RetrievalDataset, frame
from ettin_retrieval.runtime.errors import InputError


@pytest.mark.parametrize(
    ("corpus", "count"),
    [
        ([("d1", "", ""), ("d2", "", "b")], "passages_without_text"),
        ([("d2", "", "b")], "judgments_of_missing_passages"),
    ],
)
def test_published_data_may_lack_a_relevant_passage_or_its_text(
    corpus: list[tuple[str, str, str]], count: str
) -> None:
    dataset = RetrievalDataset(
        corpus=frame(corpus, CORPUS),
        queries=frame([("q1", "when")], QUERIES),
        qrels=frame([("q1", "d1", 2)], QRELS),
        origin=Origin("example", "1", "CC0-1.0", "test"),
    )
    assert dataset.validate(as_published=True).manifest()["counts"][count] == 1
    with pytest.raises(InputError, match="'d1' is (judged relevant|not in the corpus)"):
        dataset.validate()
