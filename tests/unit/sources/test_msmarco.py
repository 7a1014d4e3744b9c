"""MS MARCO rows: what they become, and which row an error names."""

from __future__ import annotations

from typing import Any

import pytest

from ettin_retrieval.data.dataset import Origin
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.sources.training_data import msmarco

ORIGIN = Origin("microsoft/ms_marco v1.1", "c0ffee", "terms", "train")


def row(query_id: int, passages: list[tuple[str, int]]) -> dict[str, Any]:
    return {
        "query": f"query {query_id}",
        "query_id": query_id,
        "passages": {
            "passage_text": [text for text, _ in passages],
            "is_selected": [selected for _, selected in passages],
            "url": [""] * len(passages),
        },
    }


def test_equal_passages_are_merged_and_empty_ones_dropped() -> None:
    rows = [row(7, [("a", 0), ("b", 1)]), row(8, [("b", 0), ("c", 1), ("", 0)])]
    dataset = msmarco.from_rows(rows, ORIGIN, skip_without_positive=False)
    ids = dict(zip(dataset.corpus["text"], dataset.corpus["id"], strict=True))
    assert ids == {"a": "7-0", "b": "7-1", "c": "8-1"}
    assert dataset.judgments() == {"7": {"7-0": 0, "7-1": 1}, "8": {"7-1": 0, "8-1": 1}}


def test_a_row_without_a_selected_passage_is_refused_or_counted() -> None:
    rows = [row(7, [("a", 1)]), row(9, [("b", 0)])]
    with pytest.raises(InputError, match=r"train row 2: query_id 9 has no selected passage"):
        msmarco.from_rows(rows, ORIGIN, skip_without_positive=False)
    dataset = msmarco.from_rows(rows, ORIGIN, skip_without_positive=True)
    assert dataset.queries["id"].tolist() == ["7"]
    assert dataset.origin.notes == {"rows_without_selected_passage_left_out": 1}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"passages": None},
            "passages: None is not allowed; it must be a mapping with passage_text",
        ),
        ({"passages": {}}, "passages.passage_text: missing; write a value for it (and 1 more)"),
        ({"query": None}, "query: None is not allowed; it must be text"),
        (
            {"passages": {"passage_text": [None], "is_selected": [1]}},
            "passages.passage_text.0: None is not allowed; it must be text",
        ),
        (
            {"passages": {"passage_text": ["a"], "is_selected": None}},
            "passages.is_selected: None is not allowed; it must be a list",
        ),
        (
            {"passages": {"passage_text": ["a", "b"], "is_selected": [1]}},
            "passages: 2 passage_text but 1 is_selected",
        ),
    ],
)
def test_a_row_of_another_schema_is_refused(change: dict[str, Any], message: str) -> None:
    rows = [row(7, [("a", 1)]), row(8, [("b", 1)]) | change]
    with pytest.raises(InputError) as refused:
        msmarco.from_rows(rows, ORIGIN, skip_without_positive=True)
    assert f"train row 2: {message}" in str(refused.value)


def test_a_row_without_passages_is_refused() -> None:
    with pytest.raises(InputError, match="train row 1: passages: missing"):
        msmarco.from_rows([{"query": "q", "query_id": 1}], ORIGIN, skip_without_positive=True)
