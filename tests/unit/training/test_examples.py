"""From pairs to the rows of a loss."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ettin_retrieval.data.dataset import (
    CORPUS,
    QRELS,
    QUERIES,
    TEACHER,
    Origin,
    RetrievalDataset,
    frame,
)
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.training.examples import Example, training_examples, training_rows
from tests.training_inputs import WORDS, development


def test_examples_carry_the_teachers_scores_of_their_passages() -> None:
    scores = [("0", "0", 0.9), ("0", "1", -0.5), ("1", "1", 1.0)]
    dataset = replace(development(), teacher=frame(scores, TEACHER))
    complete, incomplete = training_examples(dataset, [("0", "0", ["1"]), ("0", "0", ["1", "2"])])
    passages = [f"{word} and trees" for word in WORDS]
    assert complete == Example(WORDS[0], passages[0], [passages[1]], "0", [0.9, -0.5])
    assert incomplete.scores is None, "passage 2 has no score"
    (without_teacher,) = training_examples(development(), [("0", "0", ["1"])])
    assert without_teacher.scores is None


def test_a_margin_mse_row_is_a_negative_with_its_margin() -> None:
    examples = [
        Example("q", "p", ["n", "m"], scores=[1.0, 0.5, -0.25]),
        Example("r", "s", [], scores=[0.5]),
    ]
    rows = training_rows(examples, "margin_mse")
    texts = [[rows.texts[number] for number in row] for row in rows.numbers]
    assert texts == [["q", "p", "n"], ["q", "p", "m"]]
    assert rows.labels is not None and rows.labels.tolist() == [0.5, 1.25]
    with pytest.raises(InputError, match="query 'q' lacks one"):
        training_rows([Example("q", "p", ["n"])], "margin_mse")


def test_equal_texts_have_one_number_and_rows_keep_their_query_id() -> None:
    examples = [Example("same", "p", ["n"], "q1"), Example("same", "n", ["p"], "q2")]
    rows = training_rows(examples, "contrastive")
    assert rows.numbers.tolist() == [[0, 1, 2], [0, 2, 1]] and rows.texts == ["same", "p", "n"]
    assert rows.query_ids == ["q1", "q2"]


def test_different_numbers_of_negatives_are_refused() -> None:
    examples = [Example("q", "p", ["n"]), Example("r", "p", ["n", "m"])]
    with pytest.raises(InputError, match=r"num_negatives: .* only 1 .* others 2; set at most 1"):
        training_rows(examples, "contrastive")


def judged() -> RetrievalDataset:
    """One question under two ids, with an answer under two ids; and another question."""
    return RetrievalDataset(
        frame([(i, "", t) for i, t in [*zip("abcd", "ABCD", strict=True), ("b2", "b ")]], CORPUS),
        frame([("q1", "Why?"), ("q2", "why?"), ("r", "how?")], QUERIES),
        frame(
            [("q1", "a", 1), ("q2", "b", 2), ("q2", "c", 0), ("q1", "gone", 1), ("r", "d", 1)],
            QRELS,
        ),
        Origin("test", "1", "CC0-1.0", "train"),
    )


def test_what_is_relevant_to_a_question_is_known_under_each_of_its_ids() -> None:
    """By text, from all judgments: q1 has no pair here, and b2 is judged nowhere."""
    pairs = [("q2", "b", ["c"]), ("r", "d", ["b2"]), ("r", "d", ["a"])]
    examples = training_examples(judged(), pairs)
    one, other, again = examples
    assert len(one.relevant) == 2 and not other.relevant and not again.relevant
    numbers, known = training_rows(examples, "contrastive").compared()
    assert numbers.tolist() == [[0, 1, 2], [3, 4, 1], [3, 4, 5]]
    assert known == {0: {1, 5}}, "C is judged 0"
    (without_pairs,) = training_examples(judged(), [("q1", "a", [])])
    assert without_pairs.relevant == one.relevant


def test_only_passages_of_some_row_are_known() -> None:
    examples = training_examples(judged(), [("q2", "b", ["c"])])
    _, known = training_rows(examples, "contrastive").compared()
    assert known == {0: {1}}, "A is in no row"
