"""One factor at a time: what an encoder differs in, its negatives, its rate, the table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ettin_retrieval.encoders import checkpoint
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.studies.ablations import (
    HEADINGS,
    Change,
    ablations_table,
    reference_values,
    run,
    with_negatives,
)
from ettin_retrieval.studies.difference import Arm
from ettin_retrieval.studies.study import Rate
from tests.unit.studies.inputs import SETTINGS, STUDIES, TwoDomainStudy, arm, material

NEVER_READ = Path("never read")


def test_the_reference_has_the_pipeline_s_value_of_every_factor() -> None:
    own = reference_values(SETTINGS, "mean")
    assert own == {
        "pooling": "mean", "objective": "contrastive", "sampling": "hard", "num_negatives": 7,
    }  # fmt: skip
    assert own["pooling"] != Change("pooling", "cls").value
    assert list(own) == list(HEADINGS) == [factor for factor, _ in STUDIES.ablations.grid]


def test_negatives_are_cut_or_mined_again() -> None:
    given = material()
    same = with_negatives(given, STUDIES.varied(SETTINGS, {}), SETTINGS, NEVER_READ)
    assert same is given
    fewer = STUDIES.varied(SETTINGS, {"negatives.num_negatives": 1})
    cut = with_negatives(given, fewer, SETTINGS, NEVER_READ).pairs
    assert cut is not None
    assert cut[0] == ("q0", "d0", ["d1"]), "the nearest of those that were mined"
    random = STUDIES.varied(SETTINGS, {"negatives.sampling": "random"})
    sampled = with_negatives(given, random, SETTINGS, NEVER_READ).pairs
    assert sampled is not None
    assert len(sampled[0][2]) == 7


def test_a_table_shows_every_change_against_the_reference() -> None:
    changes = [Change("pooling", "mean"), Change("pooling", "cls"), Change("objective", "triplet")]
    reference = arm((0.5, 0.7), (0.5, 0.7))
    arms: dict[str, Arm] = {
        "base": arm((0.1, 0.3), (0.1, 0.3)), "reference": reference, "pooling-mean": reference,
        "pooling-cls": arm((0.5, 0.6), (0.5, 0.9)), "objective-triplet": arm((0.4, 0.9), (0.4, 1)),
    }  # fmt: skip
    swept, untuned = Rate(0.002, True), Rate(0.002, False)
    rates = dict.fromkeys(arms, swept) | {"objective-triplet": untuned}
    table = ablations_table(changes, arms, rates)
    assert table.columns == (
        "Factor", "Value", "Rate", "Average", "Web", "Scientific", "Difference", "95% interval",
    )  # fmt: skip
    assert [row[:4] + row[6:] for row in table.rows] == [
        ("Base encoder", "", "", "20.0", "-40.0", "-40.0 to -40.0"),
        ("Pooling", "mean", "0.002 (swept)", "60.0", "reference", ""),
        ("Pooling", "cls", "0.002 (reference's)", "62.5 ± 10.6", "+2.5", "-66.3 to +71.3"),
        ("Objective", "triplet", "0.002 (untuned)", "67.5 ± 3.5", "+7.5", "-15.4 to +30.4"),
    ]


def test_the_other_factors_keep_the_rate() -> None:
    def changed(factor: str, value: object) -> dict[str, object]:
        return Change(factor, value).settings(Rate(0.5, True))

    assert changed("num_negatives", 1) == {"negatives.num_negatives": 1}
    assert changed("sampling", "random") == {"negatives.sampling": "random"}
    assert changed("pooling", "cls") == {}
    assert changed("objective", "triplet") == {
        "finetuning.objective": "triplet", "finetuning.learning_rate": 0.5
    }  # fmt: skip


def test_a_grid_that_does_not_fit_is_refused_before_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = SETTINGS.with_changes({"finetuning.objective": "triplet"})
    study: Any = TwoDomainStudy()
    study.settings, study.material = given, material()
    study.paths, study.rate = {"encoder": NEVER_READ}, lambda _: Rate(0.002, False)
    monkeypatch.setattr(checkpoint, "read_checkpoint", lambda _: {"pooling": "mean"})
    with pytest.raises(InputError, match="the triplet objective needs 1 or more, not 0"):
        run(study)
    assert not study.trained
