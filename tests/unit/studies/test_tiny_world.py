"""Claims about the tiny world from hand-made scores."""

from __future__ import annotations

import pytest

from ettin_retrieval.studies.report import ndcg_rows
from ettin_retrieval.studies.tiny_world import CLAIMS, ENCODERS, claim_table
from tests.unit.studies.inputs import scores

SEEDS = [1, 2]
SCORED = {
    ("web, hard", 1): scores(0.8, 0.5),
    ("web, hard", 2): scores(0.6, 0.7),
    ("scientific, hard", 1): scores(0.5, 0.9),
    ("scientific, hard", 2): scores(0.7, 0.8),
    ("base", 1): scores(0.1, 0.1),
    ("base", 2): scores(0.1, 0.1),
}


def test_claims_are_about_encoders_that_are_trained() -> None:
    assert {name for claim in CLAIMS for name in (claim.winner, claim.loser)} == set(ENCODERS)


@pytest.mark.parametrize(
    ("title", "tasks", "last"),
    [
        (
            "Fine-tuning beats base",
            ["TinyDBPedia", "TinyMSMARCO", "TinyNFCorpus", "TinySciFact"],
            ("average", "65.0 (65.0 to 65.0)", "10.0 (10.0 to 10.0)", "55.0 (55.0 to 55.0)"),
        ),
        (
            "In-domain wins, web",
            ["TinyDBPedia", "TinyMSMARCO"],
            ("web", "70.0 (60.0 to 80.0)", "60.0 (50.0 to 70.0)", "10.0 (-10.0 to 30.0)"),
        ),
        (
            "In-domain wins, scientific",
            ["TinyNFCorpus", "TinySciFact"],
            ("scientific", "85.0 (80.0 to 90.0)", "60.0 (50.0 to 70.0)", "25.0 (10.0 to 40.0)"),
        ),
    ],
)
def test_differences_are_paired_by_seed(
    title: str, tasks: list[str], last: tuple[str, ...]
) -> None:
    (claim,) = [claim for claim in CLAIMS if claim.title == title]
    table = claim_table(claim, ndcg_rows(SCORED), SEEDS)
    assert table.columns == ("Task", claim.winner, claim.loser, "Difference", "Seeds won")
    assert [row[0] for row in table.rows] == [*tasks, last[0]]
    won = "1 of 2" if claim.domain == "web" else "2 of 2"
    assert table.rows[-1] == (*last, won)
