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


def test_a_withheld_label_is_not_a_selection() -> None:
    rows = [row(7, [("a", -1), ("b", 1)]), row(8, [("c", -1), ("d", -1)])]
    with pytest.raises(InputError, match=r"train row 2: query_id 8 has no selected passage"):
        msmarco.from_rows(rows, ORIGIN, skip_without_positive=False)
    dataset = msmarco.from_rows(rows, ORIGIN, skip_without_positive=True)
    assert dataset.positives() == {"7": {"7-1": 1}}
    assert dataset.judgments() == {"7": {"7-0": 0, "7-1": 1}}
    assert dataset.origin.notes == {
        "rows_without_selected_passage_left_out": 1, "withheld_labels": 3,
    }  # fmt: skip


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
        *(
            (
                {"passages": {"passage_text": ["a", "b"], "is_selected": [1, label]}},
                f"passages.is_selected.1: {label!r} is not allowed; it must be {wanted}",
            )
            for label, wanted in (
                (2, "less than or equal to 1"),
                (-2, "greater than or equal to -1"),
                (1.0, "a whole number"),
                (True, "a whole number"),
                ("1", "a whole number"),
                (None, "a whole number"),
                (float("nan"), "a whole number"),
            )
        ),
        ({"query": " "}, "query: has no text"),
        ({"query": "\ud800"}, "query: contains half of a surrogate pair"),
        ({"query_id": "a\0"}, "query_id: contains NUL"),
        ({"query_id": 1.5}, "query_id: 1.5 is not allowed; it must be a whole number or text"),
        (
            {"passages": {"passage_text": ["a\udfff"], "is_selected": [1]}},
            "passages.passage_text: contains half of a surrogate pair",
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


TRIPLET = {"query": "q", "positive": "p", "negative": "n"}


@pytest.mark.parametrize("column", TRIPLET)
@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (None, "None is not allowed; it must be text"),
        (7, "7 is not allowed; it must be text"),
        (True, "True is not allowed; it must be text"),
        (float("nan"), "nan is not allowed; it must be text"),
        (["a"], "['a'] is not allowed; it must be text"),
        (b"a", "b'a' is not allowed; it must be text"),
        ("a\ud800", "contains half of a surrogate pair, which is not a character"),
    ],
)
def test_a_triplet_of_another_kind_is_refused_by_row_and_column(
    column: str, value: Any, problem: str
) -> None:
    with pytest.raises(InputError) as refused:
        msmarco.from_triplets([TRIPLET, TRIPLET | {column: value}], ORIGIN)
    assert str(refused.value) == f"microsoft/ms_marco v1.1 train row 2: {column}: {problem}"


@pytest.mark.parametrize("column", ["query", "positive"])
def test_a_triplet_without_text_or_column_is_refused(column: str) -> None:
    with pytest.raises(InputError, match=rf"train row 1: {column}: has no text$"):
        msmarco.from_triplets([TRIPLET | {column: " "}], ORIGIN)
    with pytest.raises(InputError, match=rf"train row 1: {column}: missing"):
        msmarco.from_triplets([{k: v for k, v in TRIPLET.items() if k != column}], ORIGIN)


def test_other_columns_of_a_triplet_are_ignored() -> None:
    dataset = msmarco.from_triplets([TRIPLET | {"score": None}], ORIGIN)
    assert dataset.judgments() == {"q0": {"p0": 1, "p1": 0}}
