"""Tables and curve of growth over numbers of queries and seeds."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.studies.few_shot import Arms, curve, growth, guide_table, run, sizes
from ettin_retrieval.tasks import AVERAGE_ENG_V2, ENG_V2_TASKS
from tests.unit.studies.inputs import SETTINGS, STUDIES, arm, material, outcome

ARMS: Arms = {0: arm((0.1, 0.1), (0.1, 0.1)), 100: arm((0.4, 0.6), (0.6, 0.8))}


def study(examples: list[Any], **methods: Any) -> Any:
    """A study of 20 training queries."""
    few = STUDIES.few_shot.model_copy(update={"examples": examples})
    params = STUDIES.model_copy(update={"few_shot": few})
    given = {"settings": SETTINGS, "paths": {"training": "data/training"}, "material": material()}
    return SimpleNamespace(params=params, **given, **methods)


def test_growth_has_deviation_over_seeds_and_the_gain_with_its_interval() -> None:
    rows = growth(ARMS, {0: [0], 100: [104, 106]}).rows
    assert rows[0][:6] == ("0", "0", "10.0", "", "", "10.0"), "no training, no seeds"
    # By domain and seed the gains are 0.3, 0.5 and 0.5, 0.7.
    assert rows[1][:6] == ("100", "105", "60.0 ± 14.1", "+50.0", "-41.7 to +141.7", "50.0 ± 14.1")


def test_the_guide_s_columns_show_the_improvement() -> None:
    (table,) = guide_table(ARMS)
    assert table.columns == (
        "Queries", "Avg nDCG@10", "TinyMSMARCO MRR@10", "TinyNFCorpus nDCG@10",
        "TinySciFact nDCG@10",
    )  # fmt: skip
    assert table.rows == (
        ("0", "10.0", "5.0", "10.0", "10.0"),
        ("100", "60.0 (+50.0)", "25.0 (+20.0)", "70.0 (+60.0)", "70.0 (+60.0)"),
    )


def test_the_tasks_of_another_benchmark_have_its_average_alone() -> None:
    def of(score: float) -> Any:
        flat = {AVERAGE_ENG_V2: score} | {f"{t}.ndcg_at_10": score for t in ENG_V2_TASKS}
        return {1: outcome({task: [score] * 2 for task in ENG_V2_TASKS}, flat)}

    arms: Arms = {0: of(0.2), 8: of(0.3)}
    (table,) = guide_table(arms)
    assert table.columns == ("Queries", "Avg nDCG@10 (eng, v2)")
    assert growth(arms, {0: [0], 8: [8]}).rows[1][2:4] == ("30.0", "+10.0")
    some: Arms = {
        n: {1: outcome({"SciFact": [0.1, 0.2]}, {"SCIDOCS.ndcg_at_10": 0.1})} for n in (0, 8)
    }
    assert guide_table(some) == [], "no column of the guide is scored"


def test_all_is_the_number_of_queries() -> None:
    assert sizes(study([0, 8, "all"])) == [0, 8, 20]
    assert sizes(study(["all", 20])) == [20]
    with pytest.raises(InputError) as refused:
        sizes(study([8, 21]))
    assert str(refused.value) == (
        "studies/params.yaml: few_shot.examples: 21 is more than the 20 queries of data/training"
    )


def test_every_number_of_queries_takes_the_same_steps_and_no_development_label() -> None:
    trained: list[Any] = []

    def train(name: str, settings: Any, given: Any) -> Any:
        tuning = settings.finetuning
        trained.append((name, settings.seed, tuning.max_steps, tuning.keep))
        return arm((0.5, 0.5))[1]

    def base() -> Any:
        return dict.fromkeys(STUDIES.seeds, arm((0.1, 0.1))[1])

    run(study([0, 8, "all"], train=train, base=base, rate_in_words=lambda: ""))
    assert trained == [
        (name, seed, 120, "last") for name in ("shots8", "shots20") for seed in (42, 43, 44)
    ]


def test_the_curve_has_the_guide_s_tasks_and_a_band_over_seeds() -> None:
    (axes,) = curve(ARMS, "tiny").axes
    lines = {line.get_label(): np.asarray(line.get_ydata()) for line in axes.lines}
    assert list(lines) == ["mean of all tasks", "TinyMSMARCO", "TinyNFCorpus", "TinySciFact"]
    assert lines["TinyMSMARCO"] == pytest.approx([10, 50])
    band = np.asarray(axes.collections[1].get_paths()[0].vertices)
    at_last = band[band[:, 0] == 1, 1]
    assert (at_last.min(), at_last.max()) == pytest.approx((40, 60))
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "100"]
