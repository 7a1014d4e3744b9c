"""Aligning two systems by query, and what cannot be aligned."""

from __future__ import annotations

import pandas as pd
import pytest

from ettin_retrieval.reports.pairing import Pairs, folded, paired, together
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.tasks import CQADUPSTACK
from tests.unit.reports.frames import forums, frame

THREE = frame(a=0.1, b=0.2, c=0.3)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (frame(a=0.1, b=0.2), "T: query 'c' was scored by the first only"),
        (frame(a=0.1, b=0.2, c=0.3, d=0.4), "T: query 'd' was scored by the second only"),
        (frame("U", a=0.1, b=0.2, c=0.3), "task 'T' was scored by the first only"),
        (frame(a=0.1), r"query 'b' was scored by the first only \(and 1 more\)"),
        (
            frame(a=0.1, b=0.2, c=float("nan")),
            "the second system has no ndcg_at_10 for T, query 'c'",
        ),
        (pd.concat([THREE, frame(a=0.1)]), "the second system has query 'a' of T twice"),
        (THREE.rename(columns={"ndcg_at_10": "map"}), "has no column 'ndcg_at_10'; it has"),
    ],
)
def test_what_cannot_be_paired_is_refused(other: pd.DataFrame, message: str) -> None:
    with pytest.raises(InputError, match=message):
        paired(THREE, other, "ndcg_at_10")


def score(pairs: Pairs) -> float:
    """The other system's score on a task: the mean of its strata's means, by their shares."""
    return float(sum(s.share * s.other.mean() for s in pairs))


def test_queries_are_aligned_by_id_whatever_the_order_of_the_rows() -> None:
    [aligned] = paired(THREE, frame(c=0.6, a=0.4, b=0.5), "ndcg_at_10")["T"]
    assert aligned.base.tolist() == [[0.1], [0.2], [0.3]]
    assert aligned.other.tolist() == [[0.4], [0.5], [0.6]]
    assert (aligned.name, aligned.share) == ("T", 1)


def test_seeds_are_columns_and_have_the_same_queries() -> None:
    [aligned] = paired(THREE, [THREE, frame(c=0.6, a=0.4, b=0.5)], "ndcg_at_10")["T"]
    assert aligned.other.tolist() == [[0.1, 0.4], [0.2, 0.5], [0.3, 0.6]]
    with pytest.raises(InputError, match="T: query 'c' was scored by the first only"):
        paired(THREE, [THREE, frame(a=0.1, b=0.2)], "ndcg_at_10")


def test_each_task_counts_equally_whatever_its_number_of_queries() -> None:
    both = pd.concat([THREE, frame("U", a=0.9)])
    joined = together(paired(both, both, "ndcg_at_10").values())
    assert [(s.name, s.share, len(s.base)) for s in joined] == [("T", 0.5, 3), ("U", 0.5, 1)]
    assert score(joined) == pytest.approx((0.2 + 0.9) / 2)


def test_twelve_forums_are_folded_into_their_task_and_eleven_are_not() -> None:
    base, other = forums([0.6, *[0.0] * 11], [3, *[1] * 11])
    whole = folded(paired(base, other, "ndcg_at_10"))
    assert list(whole) == [CQADUPSTACK]
    assert score(whole[CQADUPSTACK]) == pytest.approx(0.05)
    # A forum counts as a twelfth of one task, in an average of two as a twelfth of a half.
    shares = [s.share for s in together([*whole.values()] * 2)]
    assert shares == pytest.approx([1 / 24] * 24)
    left, right = (f[f["task"] != "CQADupstackTexRetrieval"] for f in (base, other))
    some = paired(left, right, "ndcg_at_10")
    assert folded(some) is some
