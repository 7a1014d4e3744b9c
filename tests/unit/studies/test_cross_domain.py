"""The matrix of domains and what a transfer loses."""

from __future__ import annotations

from matplotlib.patches import Rectangle

from ettin_retrieval.studies.cross_domain import heat_map, matrix, transfer
from ettin_retrieval.studies.report import ndcg_rows
from tests.unit.studies.inputs import scores

ROWS = ndcg_rows(
    {"nothing": scores(0.1, 0.2), "web": scores(0.8, 0.5), "scientific": scores(0.4, 0.9)}
)


def test_a_star_marks_in_domain_scores() -> None:
    rows = matrix(ROWS, "caption").rows
    assert rows[0] == ("TinyDBPedia", "web", "10.0", "80.0*", "40.0")
    assert rows[-1] == ("TinySciFact", "scientific", "20.0", "50.0", "90.0*")


def test_a_transfer_loses_what_training_in_the_domain_gains() -> None:
    both = (
        ("scientific to web", "10.0", "80.0", "40.0", "40.0"),
        ("web to scientific", "20.0", "90.0", "50.0", "40.0"),
    )
    assert transfer(ROWS).rows == both
    assert transfer(ROWS[:2]).rows == both[:1], "a domain without tasks has no row"


def test_the_heat_map_frames_in_domain_cells() -> None:
    (axes, _) = heat_map(ROWS, "caption").axes
    assert [text.get_text() for text in axes.texts[:3]] == ["10.0", "80.0", "40.0"]
    frames = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    assert [(round(frame.get_x()), round(frame.get_y())) for frame in frames] == [
        (1, 0), (1, 1), (2, 2), (2, 3),
    ]  # fmt: skip
