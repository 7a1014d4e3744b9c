"""The matrix of domains and what a transfer loses."""

from __future__ import annotations

from typing import Any

import pytest
from matplotlib.patches import Rectangle

from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.studies import cross_domain
from ettin_retrieval.studies.cross_domain import heat_map, matrix, transfer
from ettin_retrieval.studies.difference import Arm
from ettin_retrieval.studies.report import ndcg_rows
from tests.unit.studies.inputs import STUDIES, TwoDomainStudy, arm, material

ARMS: dict[str, Arm] = {
    "nothing": arm((0.1, 0.2), (0.1, 0.2)),
    "web": arm((0.8, 0.7), (0.8, 0.9)),
    "scientific": arm((0.3, 0.9), (0.32, 0.9)),
}
ROWS = ndcg_rows(ARMS)


def test_a_star_marks_in_domain_scores() -> None:
    rows = matrix(ROWS, "caption").rows
    assert rows[0] == ("TinyDBPedia", "web", "10.0", "80.0*", "31.0 ± 1.4")
    assert rows[-1] == ("TinySciFact", "scientific", "20.0", "80.0 ± 14.1", "90.0*")


def test_a_transfer_loses_only_what_the_interval_shows() -> None:
    assert transfer(ROWS, ARMS).rows == (
        ("scientific to web", "10.0", "80.0", "31.0 ± 1.4", "-49.0", "-58.2 to -39.8", "loses"),
        # One seed loses 20 points and the other none.
        ("web to scientific", "20.0", "90.0", "80.0 ± 14.1", "-10.0", "-101.7 to +81.7",
         "inconclusive"),
    )  # fmt: skip


def test_the_heat_map_frames_in_domain_cells() -> None:
    (axes, _) = heat_map(ROWS, "caption").axes
    assert [text.get_text() for text in axes.texts[:3]] == ["10.0", "80.0", "31.0"]
    frames = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    assert [(round(frame.get_x()), round(frame.get_y())) for frame in frames] == [
        (1, 0), (1, 1), (2, 2), (2, 3),
    ]  # fmt: skip


def test_both_domains_are_trained_alike_on_as_much(monkeypatch: pytest.MonkeyPatch) -> None:
    study: Any = TwoDomainStudy()
    sets = {"web": material(30), "scientific": material(20)}
    monkeypatch.setattr(cross_domain, "two_domains", lambda _: sets)
    report = cross_domain.run(study)
    trained = [
        (name, settings.seed, len(given.train.queries), len(given.pairs or []), start)
        for name, settings, given, start in study.trained
    ]
    assert trained == [
        (domain, seed, 20, 20, None) for seed in STUDIES.seeds for domain in ("web", "scientific")
    ]
    one, other = (settings for _, settings, *_ in study.trained[:2])
    assert one == other
    assert report.summary.startswith("scientific to web: inconclusive +0.0 (+0.0 to +0.0), web")


def test_tasks_of_one_domain_are_refused_before_training() -> None:
    study: Any = TwoDomainStudy(["MSMARCO", "FEVER"])
    with pytest.raises(InputError, match="no task of the domain scientific"):
        cross_domain.run(study)
    assert not study.trained
