"""What is known to be relevant is never a negative, however negatives are chosen; it is counted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ettin_retrieval.data.dataset import QUERIES, RetrievalDataset, frame
from ettin_retrieval.mining.candidates import check_negatives
from ettin_retrieval.mining.report import MiningReport
from ettin_retrieval.runtime.errors import InputError
from tests.unit.mining.plane import CORPUS_ROWS, PASSAGES, QUERY, dataset, mined, settings

Corpus = list[tuple[str, str, str]]

# By similarity to the query: a 0.985 (its positive), p 0.866, twin 0.857, b 0.766, c, d.
QUESTION = "query q"
ANOTHER_ID = "relevant to the same question under another id"
OWN_TEXT = "the query's own text"
SAME_AS_POSITIVE = "same text as a positive"


def instead(name: str, title: str, text: str) -> Corpus:
    """The corpus with another text of one passage."""
    return [(name, title, text) if row[0] == name else row for row in CORPUS_ROWS]


FALSE = {
    # Which passage is relevant under a second id of the question, how that one is spelt, the
    # corpus, and the reason to leave out p.
    "judged under another id": ("p", QUESTION, CORPUS_ROWS, ANOTHER_ID),
    "the question in other letters": ("p", "ＱUERY\u00a0 Q\n", CORPUS_ROWS, ANOTHER_ID),
    "a copy of what was judged under another id": (
        "lost", QUESTION, [*instead("p", "", "LOST  passage"), ("lost", "", "lost passage")],
        ANOTHER_ID,
    ),
    "the query itself": ("a", "another", instead("p", "", "Query  Q"), OWN_TEXT),
    "the query itself under a title": ("a", "another", instead("p", "On q", QUESTION), OWN_TEXT),
    "the query divided into title and text": (
        "a", "another", instead("p", "query", "q"), OWN_TEXT
    ),
    "a copy of the positive": (
        "a", "another", instead("p", "", "ＰASSAGE\u2003a"), SAME_AS_POSITIVE
    ),
}  # fmt: skip

WAYS: dict[str, dict[str, Any]] = {
    "hard": {},
    "hard, sampled": {"sampling_strategy": "random"},
    "semi-hard": {"sampling": "semi_hard"},
    "random": {"sampling": "random"},
    "row": {"source": "row"},
    "row, random": {"source": "row", "sampling": "random"},
    "row_or_corpus": {"source": "row_or_corpus"},
    "margin_mse": {"objective": "margin_mse"},
    "margin_mse, row": {"objective": "margin_mse", "source": "row"},
    # Nothing is far enough below the positive: all are filled at random.
    "filled": {"absolute_margin": 1.5},
}


def collection(false: str) -> RetrievalDataset:
    """The query q, whose positive is a; everything else is judged 0 for it and has a score."""
    relevant, second, corpus, _ = FALSE[false]
    others = [name for name, _, _ in corpus if name != "a"]
    qrels = [("q", "a", 1), *(("q", name, 0) for name in others), ("second", relevant, 1)]
    teacher = [("q", name, n / 100) for n, (name, _, _) in enumerate(corpus)]
    teacher.append(("second", relevant, 0.5))
    made = dataset(qrels, corpus, teacher, queries=("q", "second"))
    return replace(made, queries=frame([("q", QUESTION), ("second", second)], QUERIES))


def negatives_of_q(false: str, changes: dict[str, Any]) -> tuple[list[str], MiningReport]:
    given = collection(false)
    # A passage that q may not have is added where nothing else is near: behind all others.
    behind = np.array([[-1.0, 0.0]], dtype=np.float32)[: len(given.corpus) - len(PASSAGES)]
    passages = np.concatenate([PASSAGES, behind])
    # One more than there are, so that every passage is looked at.
    wanted = settings(**{"num_negatives": 5, "range_max": 7} | changes)
    pairs, report = mined(given, wanted, np.repeat(QUERY, 2, axis=0), passages)
    [negatives] = [negatives for query, _, negatives in pairs if query == "q"]
    return negatives, report


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("false", FALSE)
def test_a_relevant_passage_is_never_a_negative(false: str, way: str) -> None:
    negatives, report = negatives_of_q(false, WAYS[way])
    assert sorted(negatives) == ["b", "c", "d", "twin"]
    reason = FALSE[false][3]
    assert report.skipped[reason] + report.skipped_at_random[reason] >= 1


@pytest.mark.parametrize(
    ("way", "skipped", "at_random"),
    [
        # q leaves out p, and the second id leaves out a. Each is looked at again for the fifth
        # negative, which does not exist.
        ("hard", 2, 2),
        ("random", 0, 2),
        # The second id has no passages judged 0: its negatives are random.
        ("row", 1, 2),
        ("margin_mse", 1, 0),
    ],
)
def test_the_report_counts_what_is_left_out_by_reason(
    way: str, skipped: int, at_random: int
) -> None:
    content = negatives_of_q("judged under another id", WAYS[way])[1].content()
    assert content["skipped"].get(ANOTHER_ID, 0) == skipped
    assert content["skipped_at_random"].get(ANOTHER_ID, 0) == at_random


def test_random_passages_after_the_last_one_needed_are_not_counted() -> None:
    given = dataset([("q", "a", 1)])
    for seed in range(8):
        [(_, _, [drawn])], report = mined(
            given, settings(sampling="random", num_negatives=1, seed=seed)
        )
        order = [
            CORPUS_ROWS[row][0] for row in np.random.default_rng([seed, 0]).choice(6, 6, False)
        ]
        before = order[: order.index(drawn)]
        assert report.skipped_at_random == ({"positive": 1} if before == ["a"] else {})
        assert before in ([], ["a"])


def test_another_question_keeps_its_negatives() -> None:
    given = dataset([("q", "a", 1), ("r", "p", 1)], queries=("q", "r"))
    pairs, report = mined(given, settings())
    assert pairs == [("q", "a", ["p", "twin"]), ("r", "p", ["a", "twin"])]
    assert report.skipped == {"positive": 2}


def test_a_judged_passage_that_the_corpus_lacks_is_nothing_to_train_on() -> None:
    # As in ArguAna. It is not taken for a passage of another query.
    given = dataset([("q", "p", 1), ("r", "lost", 1), ("r", "a", 1)], queries=("q", "r"))
    pairs, _ = mined(given, settings())
    assert pairs == [("q", "p", ["a", "twin"]), ("r", "a", ["p", "twin"])]
    check_negatives(given, settings(num_negatives=5))


def test_the_passages_of_all_ids_count_against_the_number_of_negatives() -> None:
    given = collection("judged under another id")
    check_negatives(given, settings(num_negatives=4))
    with pytest.raises(InputError, match="has 4 others than its positives; ask for 4 or fewer"):
        check_negatives(given, settings(num_negatives=5))
