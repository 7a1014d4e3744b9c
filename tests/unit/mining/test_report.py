"""The report accounts for every candidate and every score."""

from __future__ import annotations

import json

import pytest

from tests.unit.mining.plane import POSITIVE, dataset, mined, settings


def test_the_report_accounts_for_every_candidate() -> None:
    few = settings(sampling="semi_hard", num_negatives=5)
    _, report = mined(dataset([*POSITIVE, ("q", "a", 1)]), few)
    content = json.loads(json.dumps(report.content(), allow_nan=False))
    assert (content["pairs"], content["wanted"], content["candidates"]) == (2, 10, 12)
    # Of the six candidates of each pair: two positives; twin and b are allowed for both.
    assert content["skipped"] == {
        "positive": 4,
        "below the positive by the margin or more (semi_hard)": 4,
    }
    # Only four passages of the corpus may be negatives.
    assert content["filled_at_random"] == 4
    assert content["shortfall"] == 10 - 2 * 4
    assert report.summary(few.negatives) == (
        "5 semi_hard negatives for 2 pairs, 4 of them filled at random, 2 missing"
    )
    scores = content["scores"]
    assert len(scores["edges"]) == len(scores["positives"]) + 1
    assert (scores["edges"][0], scores["edges"][-1]) == pytest.approx((0.017452, 0.984808))
    assert (sum(scores["positives"]), sum(scores["negatives"])) == (2, 8)
    assert scores["positives"][-1] == 1
    assert scores["negatives"][0] == 2
    shares = report.histogram()
    assert sum(row["negatives"] for row in shares) == pytest.approx(1, abs=1e-4)
    assert shares[0]["negatives"] == 2 / 8


def test_random_negatives_have_no_scores() -> None:
    _, report = mined(dataset(), settings(sampling="random"))
    assert report.histogram() == []
    assert report.content()["scores"] == {"edges": [], "positives": [], "negatives": []}
    assert report.filled_at_random == 0
