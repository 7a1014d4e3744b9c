"""studies/params.yaml: its values, as DVC sets them, and one line for a mistake in it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from dvc.utils.hydra import apply_overrides

from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.studies.settings import load_study_settings
from tests.unit.studies.inputs import SETTINGS, STUDIES
from tests.workspace import ROOT


@pytest.fixture
def params(tmp_path: Path) -> Path:
    return Path(shutil.copy(ROOT / "studies/params.yaml", tmp_path))


def test_the_committed_values() -> None:
    assert STUDIES.seeds == [42, 43, 44]
    assert STUDIES.few_shot.examples == [0, 8, 32, 128, 512, "all"]
    assert (STUDIES.two_domains.queries, STUDIES.two_domains.pairs_per_query) == (None, 1)
    assert (STUDIES.multi_stage.rate, STUDIES.multi_stage.epochs) == (0.5, 1)
    assert STUDIES.ablations.grid.sampling == ["hard", "random", "semi_hard"]


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("seeds=[1,2]", [1, 2]),
        ("few_shot.examples=[0,all]", [0, "all"]),
        ("multi_stage.rate=1e-1", 0.1),
        ("multi_stage.rate=1", 1.0),
        ("ablations.queries=null", None),
        ("ablations.grid.pooling=[cls]", ["cls"]),
    ],
)
def test_a_value_that_dvc_set(params: Path, override: str, value: object) -> None:
    apply_overrides(params, [override])
    found: object = load_study_settings(params)
    for key in override.partition("=")[0].split("."):
        found = found[key] if isinstance(found, dict) else getattr(found, key)
    assert found == value


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("few_shot:", "few_shots:", "few_shots: unknown key; did you mean few_shot? allowed: "),
        ("seeds: [42", "sedes: [42", "sedes: unknown key; did you mean seeds? allowed: a"),
        ("pooling:", "pool:", "ablations.grid.pool: unknown key; did you mean pooling? allowed: n"),
        ("num_negatives", "per_pair", "ablations.grid.per_pair: unknown key; allowed: num_"),
        ("epochs: 1", "epochs: 0", "multi_stage.epochs: 0 is not allowed; it must be greater than"),
        ("[mean,", "[median,", "ablations.grid.pooling.0: 'median' is not allowed; it must be mea"),
        ("ablations:", "ablations:\n  rates: {triplet: 0.5}", "ablations.rates: unknown key"),
        ("[42, 43, 44]", "[42, 43, 42]", "seeds: a seed is listed twice"),
        ("  epochs: 1\n", "", "multi_stage.epochs: missing; write a value for it"),
        ("seeds: [42, 43, 44]", "seeds: []", "seeds: [] is not "),
        ("queries: 400", "queries: all", "ablations.queries: 'all' is not allowed; it must be a"),
    ],
)
def test_a_mistake_is_one_line(params: Path, before: str, after: str, said: str) -> None:
    text = params.read_text(encoding="utf-8")
    assert before in text
    params.write_text(text.replace(before, after), encoding="utf-8")
    with pytest.raises(InputError) as refused:
        load_study_settings(params)
    assert str(refused.value).startswith(f"{params}: {said}")
    assert "\n" not in str(refused.value)


def test_no_study_chooses_weights_by_development_queries() -> None:
    given = SETTINGS.with_changes({"finetuning.early_stopping": 2})
    assert given.finetuning.keep == "best"
    varied = STUDIES.varied(given, {"seed": 7})
    assert (varied.finetuning.keep, varied.finetuning.early_stopping) == ("last", None)
    assert varied.seed == 7


def test_changes_that_do_not_fit_together_are_one_line() -> None:
    none = STUDIES.varied(SETTINGS, {"negatives.num_negatives": 0})
    with pytest.raises(InputError) as refused:
        STUDIES.varied(none, {"finetuning.objective": "triplet"})
    assert str(refused.value) == (
        "studies/params.yaml: finetuning.objective=triplet: negatives.num_negatives: the triplet "
        "objective needs 1 or more, not 0"
    )
