"""The table of the stages, and what the second one forgot."""

from __future__ import annotations

from ettin_retrieval.studies.multi_stage import forgotten, stages_table
from ettin_retrieval.studies.report import Row, ndcg_rows
from tests.unit.studies.inputs import scores


def rows(after: float) -> list[Row]:
    """Stage 2 ends with a score on the web."""
    return ndcg_rows(
        {"base": scores(0.1, 0.1), "stage1": scores(0.8, 0.5), "stage2": scores(after, 0.7)}
    )


def test_stages_stand_side_by_side() -> None:
    cells = stages_table(rows(0.73), "caption").rows
    assert cells[0] == ("TinyDBPedia", "web", "10.0", "80.0", "73.0", "-7.0")
    assert ("Mean", "scientific", "10.0", "50.0", "70.0", "+20.0") in cells
    assert cells[-1] == ("Mean", "average", "10.0", "65.0", "71.5", "+6.5")


def test_what_was_forgotten_is_a_share_of_what_was_gained() -> None:
    assert forgotten(rows(0.73)) == ("stage 2 forgot 7.0 points on the web, 10% of stage 1's gain")
    assert "forgot nothing" in forgotten(rows(0.9))
    worse = ndcg_rows({"base": scores(0.9, 0), "stage1": scores(0.8, 0), "stage2": scores(0.7, 0)})
    assert forgotten(worse) == "stage 2 forgot 10.0 points on the web", "nothing was gained"
