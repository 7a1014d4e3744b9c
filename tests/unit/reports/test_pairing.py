"""Aligning two systems by query, and what cannot be aligned."""

from __future__ import annotations

import pandas as pd
import pytest

from ettin_retrieval.reports.pairing import folded, paired, together
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


def test_queries_are_aligned_by_id_whatever_the_order_of_the_rows() -> None:
    aligned = paired(THREE, frame(c=0.6, a=0.4, b=0.5), "ndcg_at_10")["T"]
    assert (aligned["base"].tolist(), aligned["other"].tolist()) == (
        [0.1, 0.2, 0.3],
        [0.4, 0.5, 0.6],
    )
    assert aligned["weight"].tolist() == [1, 1, 1]


def test_each_task_counts_equally_whatever_its_number_of_queries() -> None:
    more = frame("U", a=0.9)
    both = pd.concat([THREE, more])
    joined = together(list(paired(both, both, "ndcg_at_10").values()))
    assert joined["weight"].tolist() == pytest.approx([2 / 3, 2 / 3, 2 / 3, 2])
    assert joined["weight"].mean() == pytest.approx(1)
    assert (joined["base"] * joined["weight"]).mean() == pytest.approx((0.2 + 0.9) / 2)


def test_twelve_forums_are_folded_into_their_task_and_eleven_are_not() -> None:
    base, other = forums([0.6, *[0.0] * 11], [3, *[1] * 11])
    whole = folded(paired(base, other, "ndcg_at_10"))
    assert list(whole) == [CQADUPSTACK]
    rows = whole[CQADUPSTACK]
    assert (rows["other"] * rows["weight"]).mean() == pytest.approx(0.05)
    left, right = (f[f["task"] != "CQADupstackTexRetrieval"] for f in (base, other))
    some = paired(left, right, "ndcg_at_10")
    assert folded(some) == some
