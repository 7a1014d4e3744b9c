"""One factor at a time: what an encoder differs in, its negatives, its rate, the table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ettin_retrieval.studies.ablations import (
    HEADINGS,
    Change,
    ablations_table,
    reference_values,
    weak_objectives,
    with_negatives,
)
from tests.unit.studies.inputs import SETTINGS, STUDIES, material, scores
from tests.workspace import ROOT

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
    reference, other = scores(0.5, 0.7), scores(0.4, 0.9)
    changes = [Change("pooling", "mean"), Change("objective", "triplet")]
    scored = {
        "base": scores(0.1, 0.3), "reference": reference,
        "pooling-mean": reference, "objective-triplet": other,
    }  # fmt: skip
    table = ablations_table(changes, scored)
    assert table.columns == ("Factor", "Value", "Average", "Web", "Scientific", "Difference")
    assert table.rows == (
        ("Base encoder", "", "20.0", "10.0", "30.0", "-40.0"),
        ("Pooling", "mean", "60.0", "50.0", "70.0", "reference"),
        ("Objective", "triplet", "65.0", "40.0", "90.0", "+5.0"),
    )
    assert weak_objectives(changes, scored) == []
    (note,) = weak_objectives(changes, scored | {"base": scores(0.4, 0.88)})
    assert note.startswith("triplet: less than 2.0 points above the base encoder")


@pytest.mark.parametrize("objective", ["triplet", "cosine_similarity", "margin_mse"])
def test_an_objective_brings_the_rate_that_a_sweep_picked(objective: str) -> None:
    record = json.loads((ROOT / f"studies/sweeps/tiny-guide-{objective}.json").read_text())
    assert record["settings"]["finetuning"]["objective"] == objective
    assert not record["chosen"]["at_edge"]
    assert Change("objective", objective).settings(SETTINGS, STUDIES.ablations) == {
        "finetuning.objective": objective,
        "finetuning.learning_rate": pytest.approx(record["chosen"]["learning_rate"]),
    }


def test_the_other_factors_keep_the_rate() -> None:
    def changed(factor: str, value: object) -> dict[str, object]:
        return Change(factor, value).settings(SETTINGS, STUDIES.ablations)

    assert changed("num_negatives", 1) == {"negatives.num_negatives": 1}
    assert changed("sampling", "random") == {"negatives.sampling": "random"}
    assert changed("pooling", "cls") == {}
    assert changed("objective", "contrastive")["finetuning.learning_rate"] == SETTINGS.learning_rate
