"""Tables and curve of growth over numbers of queries and seeds."""

from __future__ import annotations

import numpy as np
import pytest

from ettin_retrieval.studies.few_shot import curve, growth, guide_table
from tests.unit.studies.inputs import scores

SCORED = {
    0: {1: scores(0.1, 0.1), 2: scores(0.1, 0.1)},
    100: {1: scores(0.4, 0.6), 2: scores(0.6, 0.8)},
}


def test_growth_has_mean_and_deviation_over_seeds() -> None:
    rows = growth(SCORED).rows
    assert rows[0][:3] == ("0", "10.0", "10.0"), "no training, no seeds"
    assert rows[1][:3] == ("100", "60.0 ± 14.1", "50.0 ± 14.1")


def test_the_guide_s_columns_show_the_improvement() -> None:
    table = guide_table(SCORED)
    assert table.columns == (
        "Queries", "Avg nDCG@10", "TinyMSMARCO MRR@10", "TinyNFCorpus nDCG@10",
        "TinySciFact nDCG@10",
    )  # fmt: skip
    assert table.rows == (
        ("0", "10.0", "5.0", "10.0", "10.0"),
        ("100", "60.0 (+50.0)", "25.0 (+20.0)", "70.0 (+60.0)", "70.0 (+60.0)"),
    )


def test_the_curve_has_the_guide_s_tasks_and_a_band_over_seeds() -> None:
    (axes,) = curve(SCORED, "tiny").axes
    lines = {line.get_label(): np.asarray(line.get_ydata()) for line in axes.lines}
    assert list(lines) == ["mean of all tasks", "TinyMSMARCO", "TinyNFCorpus", "TinySciFact"]
    assert lines["TinyMSMARCO"] == pytest.approx([10, 50])
    band = np.asarray(axes.collections[1].get_paths()[0].vertices)
    at_last = band[band[:, 0] == 1, 1]
    assert (at_last.min(), at_last.max()) == pytest.approx((40, 60))
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "100"]
