"""The table of the stages, what the second one forgot, and whose negatives it trains on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ettin_retrieval.data.dataset import RetrievalDataset
from ettin_retrieval.encoders import checkpoint
from ettin_retrieval.experiment import Material
from ettin_retrieval.mining import mine as mining
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.studies import multi_stage
from ettin_retrieval.studies.difference import Arm
from ettin_retrieval.studies.multi_stage import forgotten, mined_by, stages_table
from ettin_retrieval.studies.report import ndcg_rows
from tests.unit.studies.inputs import SETTINGS, STUDIES, TwoDomainStudy, arm, material


def arms(*after: float) -> dict[str, Arm]:
    """The web's scores with each seed after stage 2."""
    seeds = len(after)
    return {
        "base": arm(*[(0.1, 0.1)] * seeds),
        "stage1": arm(*[(0.8, 0.5)] * seeds),
        "stage2": arm(*[(score, 0.7) for score in after]),
    }


def test_stages_stand_side_by_side() -> None:
    given = arms(0.729, 0.731)
    cells = stages_table(ndcg_rows(given), given, "caption").rows
    assert cells[0] == (
        "TinyDBPedia", "web", "10.0", "80.0", "73.0 ± 0.1", "-7.0", "-7.9 to -6.1", "forgot",
    )  # fmt: skip
    assert (
        "Mean", "scientific", "10.0", "50.0", "70.0", "+20.0", "+20.0 to +20.0", "gained",
    ) in cells  # fmt: skip
    assert cells[-1][:6] == ("Mean", "average", "10.0", "65.0", "71.5 ± 0.1", "+6.5")


@pytest.mark.parametrize(
    ("after", "said"),
    [
        ((0.729, 0.731), "forgot, -7.0 points (-7.9 to -6.1)"),
        ((0.899, 0.901), "gained, +10.0 points (+9.1 to +10.9)"),
        # The mean rises, but one seed forgot.
        ((0.75, 0.90), "inconclusive, +2.5 points (-66.3 to +71.3)"),
    ],
)
def test_forgetting_is_read_from_the_interval_and_not_from_a_sign(
    after: tuple[float, ...], said: str
) -> None:
    given = arms(*after)
    assert forgotten(ndcg_rows(given), given) == said


def test_the_second_stage_mines_with_the_first_one_s_encoder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def mine(train: RetrievalDataset, model: object, _: object) -> object:
        assert model == ("loaded", tmp_path)
        return [
            (query, of, ["mined"]) for query in train.queries["id"] for of in ("d0", "d1")
        ], None

    monkeypatch.setattr(checkpoint, "load_checkpoint", lambda path: ("loaded", path))
    monkeypatch.setattr(mining, "mine", mine)
    given = replace(material(2), pairs=[("q0", "d0", ["of the base"]), ("q1", "d1", [])])
    mined = mined_by(tmp_path, given, SETTINGS)
    assert mined.pairs == [("q0", "d0", ["mined"]), ("q1", "d1", ["mined"])], "the capped pairs"


def test_every_seed_trains_both_stages_on_as_much(monkeypatch: pytest.MonkeyPatch) -> None:
    def mined_by(checkpoint: Path, given: Material, _: object) -> Material:
        mined.append(str(checkpoint))
        return given

    study: Any = TwoDomainStudy()
    mined: list[str] = []
    monkeypatch.setattr(multi_stage, "mined_by", mined_by)
    sets = {"web": material(30), "scientific": material(20)}
    monkeypatch.setattr(multi_stage, "two_domains", lambda _: sets)
    report = multi_stage.run(study)
    seeds = STUDIES.seeds
    assert mined == [f"stage1-{seed}" for seed in seeds], "not by the base encoder"
    stages = [
        (name, settings.seed, str(start), settings.learning_rate, len(given.pairs or []))
        for name, settings, given, start in study.trained
    ]
    assert stages == [
        stage
        for seed in seeds
        for stage in [
            ("stage1", seed, "None", 0.002, 20), ("stage2", seed, f"stage1-{seed}", 0.001, 20),
        ]
    ]  # fmt: skip
    assert report.summary == (
        "on the web, stage 2 against stage 1: inconclusive, +0.0 points (+0.0 to +0.0)"
    )


def test_tasks_of_one_domain_are_refused_before_training() -> None:
    study: Any = TwoDomainStudy(["SciFact"])
    with pytest.raises(InputError, match="no task of the domain web"):
        multi_stage.run(study)
    assert not study.trained
