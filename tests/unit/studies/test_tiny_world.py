"""Claims about the tiny world from hand-made scores."""

from __future__ import annotations

import pytest

from ettin_retrieval.studies.report import ndcg_rows
from ettin_retrieval.studies.tiny_world import CLAIMS, ENCODERS, claim_table
from tests.unit.studies.inputs import arm

ARMS = {
    "web, hard": arm((0.8, 0.5), (0.6, 0.7)),
    "web, random": arm((0.7, 0.5), (0.6, 0.6)),
    "scientific, hard": arm((0.5, 0.9), (0.7, 0.8)),
    "base": arm((0.1, 0.1), (0.1, 0.1)),
}


def test_claims_are_about_encoders_that_are_trained() -> None:
    assert {name for claim in CLAIMS for name in (claim.winner, claim.loser)} == set(ENCODERS)


@pytest.mark.parametrize(
    ("title", "tasks", "last"),
    [
        (
            "Fine-tuning beats base",
            ["TinyDBPedia", "TinyMSMARCO", "TinyNFCorpus", "TinySciFact"],
            ("average", "65.0", "10.0", "+55.0", "+55.0 to +55.0", "holds"),
        ),
        (
            "In-domain wins, web",
            ["TinyDBPedia", "TinyMSMARCO"],
            ("web", "70.0 ± 14.1", "60.0 ± 14.1", "+10.0", "-173.4 to +193.4", "inconclusive"),
        ),
        (
            "In-domain wins, scientific",
            ["TinyNFCorpus", "TinySciFact"],
            (
                "scientific",
                "85.0 ± 7.1",
                "60.0 ± 14.1",
                "+25.0",
                "-112.5 to +162.5",
                "inconclusive",
            ),
        ),
    ],
)
def test_a_claim_holds_where_the_interval_over_seeds_excludes_0(
    title: str, tasks: list[str], last: tuple[str, ...]
) -> None:
    (claim,) = [claim for claim in CLAIMS if claim.title == title]
    table = claim_table(claim, ndcg_rows(ARMS), ARMS)
    assert table.columns[:4] == ("Task", claim.winner, claim.loser, "Difference")
    assert [row[0] for row in table.rows] == [*tasks, last[0]]
    assert table.rows[-1] == last
