"""What is said of a collection's judgments, and what of them can be trained on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ettin_retrieval.data.dataset import SCHEMAS, RetrievalDataset, frame
from ettin_retrieval.data.judgments import flaws, trainable
from ettin_retrieval.runtime.errors import InputError
from tests.unit.data.example import DATASET, WITH_TEACHER


def changed(dataset: RetrievalDataset = DATASET, **rows: list[tuple[Any, ...]]) -> RetrievalDataset:
    tables: dict[str, Any] = {name: frame(table, SCHEMAS[name]) for name, table in rows.items()}
    return replace(dataset, **tables)


MISSING = changed(qrels=[("q1", "d1", 2), ("q1", "lost", 1), ("q2", "d2", 1), ("q2", "gone", 0)])
EMPTY = changed(
    WITH_TEACHER,
    corpus=[("d1", "", " "), ("d2", "", "no title"), ("d3", "", "")],
    qrels=[("q1", "d1", 2), ("q1", "d2", 1), ("q2", "d2", 1)],
)


def test_a_sound_dataset_has_no_flaws_and_is_trained_on_as_it_is() -> None:
    assert flaws(DATASET) == []
    assert trainable(DATASET) is DATASET


def test_a_missing_relevant_passage_is_said_and_left_out_of_training() -> None:
    [flaw] = flaws(MISSING)
    assert flaw.startswith(
        "judgments of a passage that is not in the corpus: 2, relevant: 1 (the first: query 'q1', "
        "passage 'lost'); not found, as in mteb; "
    )
    assert "left out of training" in flaws(MISSING, training=True)[0]
    counts = MISSING.validate(as_published=True).manifest()["counts"]
    assert counts["judgments_of_missing_passages"] == 2
    assert counts["relevant_judgments_of_missing_passages"] == 1
    trained = trainable(MISSING)
    assert trained.judgments() == {"q1": {"d1": 2}, "q2": {"d2": 1}}
    assert trained.origin.notes == {"left_out": 3, "pairs_left_out_passage_missing": 1}


def test_an_empty_relevant_passage_is_neither_a_positive_nor_a_negative() -> None:
    [flaw] = flaws(EMPTY)
    assert flaw.startswith(
        "relevant passages without text: 1 (the first: 'd1'); encoded as the empty text, as in mteb"
    )
    counts = EMPTY.validate(as_published=True).manifest()["counts"]
    assert counts["passages_without_text"] == 2
    assert counts["relevant_passages_without_text"] == 1
    trained = trainable(EMPTY)
    assert trained.corpus["id"].tolist() == ["d2", "d3"]
    assert trained.judgments() == {"q1": {"d2": 1}, "q2": {"d2": 1}}
    assert trained.teacher_scores() == {"q1": {"d2": -0.5}, "q2": {"d2": 1.0}}
    assert trained.origin.notes == {"left_out": 3, "pairs_left_out_passage_without_text": 1}
    trained.validate()


def test_a_query_without_a_relevant_passage_is_said_where_it_is_scored() -> None:
    unanswered = changed(qrels=[("q1", "d1", 1), ("q2", "d2", 0)])
    assert flaws(unanswered) == ["queries without a relevant passage: 1; they score 0, as in mteb"]
    assert flaws(unanswered, training=True) == []


def test_scores_below_0_become_0_and_are_counted() -> None:
    rows = [("q1", "d1", 2), ("q1", "d2", -1), ("q2", "d1", -2), ("q2", "d2", 1)]
    read = changed(qrels=rows).validate()
    assert read.judgments() == {"q1": {"d1": 2, "d2": 0}, "q2": {"d1": 0, "d2": 1}}
    assert read.manifest()["notes"] == {"left_out": 3, "negative_scores_as_0": 2}
    assert flaws(read) == ["judgments with a score below 0: 2; not relevant, as a score of 0"]
    assert read.validate() is read


def test_a_score_may_be_1000_and_no_more() -> None:
    assert changed(qrels=[("q1", "d1", 1000)]).validate().judgments() == {"q1": {"d1": 1000}}
    with pytest.raises(InputError, match=r"qrels row 1: score 1001 is above 1,000"):
        changed(qrels=[("q1", "d1", 1001)]).validate(as_published=True)


@pytest.mark.parametrize(
    ("table", "rows", "where"),
    [
        ("corpus", [("d1", "", "a"), ("d\0", "", "b")], "corpus row 2: id 'd\\x00'"),
        ("queries", [("q1", "a"), ("\0", "b")], "queries row 2: id '\\x00'"),
        ("qrels", [("q1", "d1", 1), ("q1", "d\0", 1)], "qrels row 2: corpus_id 'd\\x00'"),
    ],
)
@pytest.mark.parametrize("as_published", [True, False])
def test_a_nul_in_an_id_is_refused(
    table: str, rows: list[tuple[Any, ...]], where: str, as_published: bool
) -> None:
    with pytest.raises(InputError) as refused:
        changed(DATASET, **{table: rows}).validate(as_published=as_published)
    assert str(refused.value).startswith(f"{where} contains NUL")


def test_ids_that_never_match_are_refused_even_as_published() -> None:
    with pytest.raises(InputError, match=r"none of the 2 relevant passages is in the corpus"):
        changed(qrels=[("q1", "D1", 1), ("q2", "D2", 1)]).validate(as_published=True)


@pytest.mark.parametrize("score", [float("nan"), float("inf"), float("-inf"), 1.01])
def test_a_teacher_score_that_is_not_a_cosine_is_refused(score: float) -> None:
    rows = [("q1", "d1", 0.5), ("q1", "d2", score)]
    with pytest.raises(InputError, match=r"teacher row 2: score \S+ is not between -1 and 1"):
        changed(WITH_TEACHER, teacher=rows).validate()
