"""What a dataset says of itself, and which datasets are refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from ettin_retrieval.data.dataset import QRELS, SCHEMAS, RetrievalDataset, frame
from ettin_retrieval.runtime.errors import InputError
from tests.unit.data.example import DATASET, WITH_TEACHER


def changed(table: str, rows: list[tuple[Any, ...]]) -> RetrievalDataset:
    tables: dict[str, Any] = {table: frame(rows, SCHEMAS[table])}
    return replace(DATASET, **tables)


def test_a_valid_dataset_passes() -> None:
    assert DATASET.validate() is DATASET
    assert WITH_TEACHER.validate() is WITH_TEACHER


def test_titles_are_joined_to_texts() -> None:
    assert DATASET.passage_texts() == ["Rent is due\u2028on the first", "no title"]
    untitled = changed("corpus", [("d1", "", " a "), ("d2", "", "b")])
    assert untitled.passage_texts() == ["a", "b"]


def test_judgments_and_scores_are_grouped_by_query() -> None:
    assert DATASET.judgments() == {"q1": {"d1": 2, "d2": 0}, "q2": {"d2": 1}}
    assert DATASET.positives() == {"q1": {"d1": 2}, "q2": {"d2": 1}}
    assert WITH_TEACHER.teacher_scores() == {"q1": {"d1": 0.9, "d2": -0.5}, "q2": {"d2": 1.0}}
    assert DATASET.teacher_scores() == {}


def test_some_queries_keep_their_judgments_and_scores() -> None:
    some = WITH_TEACHER.with_queries(["q2"], sampled=1)
    assert some.corpus is DATASET.corpus
    assert some.queries["id"].tolist() == ["q2"]
    assert some.judgments() == {"q2": {"d2": 1}}
    assert some.teacher_scores() == {"q2": {"d2": 1.0}}
    assert some.origin.notes == {"left_out": 3, "sampled": 1}
    assert DATASET.with_queries(["q2"]).teacher is None


def test_the_manifest_has_origin_and_counts() -> None:
    assert WITH_TEACHER.manifest() == {
        "source": "example",
        "revision": "c0ffee",
        "licence": "CC0-1.0",
        "split": "test",
        "title_policy": "title and text joined by a space, as mteb does",
        "counts": {
            "corpus": 2,
            "queries": 2,
            "queries_with_positive": 2,
            "qrels": 3,
            "positives": 2,
            "teacher": 3,
        },
        "notes": {"left_out": 3},
    }
    assert "teacher" not in DATASET.manifest()["counts"]


def test_an_unjudged_passage_without_text_is_kept_and_counted() -> None:
    rows = [("d1", "a", ""), ("d2", "", "b"), ("d3", "", " ")]
    empty = changed("corpus", rows).validate()
    assert empty.passage_texts() == ["a", "b", ""]
    assert empty.manifest()["counts"]["passages_without_text"] == 1
    assert "judgments_of_missing_passages" not in empty.manifest()["counts"]


def test_a_published_revision_is_taken_as_it_is() -> None:
    empty = changed("corpus", [("d1", "", ""), ("d2", "", "b")]).validate(as_published=True)
    assert empty.manifest()["counts"]["passages_without_text"] == 1
    missing = changed("corpus", [("d2", "", "b")])
    counts = missing.validate(as_published=True).manifest()["counts"]
    assert counts["judgments_of_missing_passages"] == 1
    with pytest.raises(InputError, match="'d1' is not in the corpus"):
        missing.validate()


@pytest.mark.parametrize(
    ("table", "rows", "message"),
    [
        ("corpus", [], "corpus row 1: corpus is empty; it needs at least one row"),
        ("queries", [], "queries row 1: queries is empty; it needs at least one row"),
        (
            "corpus",
            [("d1", "", "a"), ("d2", "", "b"), ("d1", "", "c")],
            "corpus row 3: id 'd1' occurs twice; ids must be unique",
        ),
        ("corpus", [("d1", "", "a"), ("", "", "b")], "corpus row 2: the id is empty"),
        ("queries", [("q1", "a"), ("q1", "b")], "queries row 2: id 'q1' occurs twice"),
        (
            "queries",
            [("q1", " "), ("q2", "")],
            "queries row 1: query 'q1' has no text (and 1 more)",
        ),
        (
            "corpus",
            [("d1", "", " "), ("d2", "", "{b}")],
            "corpus row 1: passage 'd1' is judged relevant and has no text",
        ),
        ("qrels", [("q9", "d1", 1)], "qrels row 1: query_id 'q9' is not in the queries"),
        (
            "qrels",
            [("q1", "d1", 1), ("q1", "d9", 1), ("q1", "d8", 1)],
            "qrels row 2: corpus_id 'd9' is not in the corpus (and 1 more)",
        ),
        (
            "qrels",
            [("q1", "d1", 1), ("q1", "d1", 2)],
            "qrels row 2: ('q1', 'd1') is judged twice",
        ),
        ("qrels", [("q1", "d1", 0)], "qrels row 1: no judgment has a score above 0"),
        ("teacher", [("q1", "d9", 0.5)], "teacher row 1: corpus_id 'd9' is not in the corpus"),
        (
            "teacher",
            [("q1", "d1", 0.5), ("q1", "d1", 0.6)],
            "teacher row 2: ('q1', 'd1') is scored twice",
        ),
        (
            "teacher",
            [("q1", "d1", 0.5), ("q1", "d2", 7.5)],
            "teacher row 2: score 7.5 is not between -1 and 1",
        ),
    ],
)
def test_a_malformed_dataset_is_refused_with_the_row(
    table: str, rows: list[tuple[Any, ...]], message: str
) -> None:
    with pytest.raises(InputError) as refused:
        changed(table, rows).validate()
    assert str(refused.value).startswith(message)


def test_a_message_names_the_source_of_the_row() -> None:
    with pytest.raises(InputError, match=r"^qrels.tsv:7: query_id 'q9' is not in the queries$"):
        changed("qrels", [("q9", "d1", 1)]).validate(lambda table, row: f"{table}.tsv:{row + 7}")


def test_a_frame_without_rows_has_the_schemas_types() -> None:
    assert pa.Schema.from_pandas(frame([], QRELS)).field("score").type == pa.int64()
