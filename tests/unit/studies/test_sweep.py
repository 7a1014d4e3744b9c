"""The sweep of the learning rate: which rate it picks, what it records, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ettin_retrieval.encoders import checkpoint
from ettin_retrieval.runtime.errors import InputError, LossNotFiniteError
from ettin_retrieval.studies import sweep
from ettin_retrieval.studies.sweep import Choice, Run, page, pick, rates_from
from ettin_retrieval.training import finetune
from tests.unit.studies.inputs import SETTINGS, material

FACTS: dict[str, Any] = {
    "model": "tiny",
    "recipe": "guide",
    "development_queries": 100,
    "training_data": {"counts": {"queries": 1600}},
    "settings": {"finetuning": {"objective": "triplet"}},
}


def test_the_best_rate_wins_and_an_edge_is_noted() -> None:
    runs = [Run(1e-3, 0.6, 4, []), Run(2e-3, 0.8, 8, []), Run(4e-3, 0.8, 8, [])]
    assert pick(runs) == Choice(2e-3, 0.8, at_edge=False), "of equal ones the lowest"
    assert pick(runs[:2]).at_edge
    diverged = Run(8e-3, None, None, [], "the loss was not finite by step 3")
    assert not pick([*runs[:2], diverged]).at_edge, "a rate that diverges is a bound too"
    with pytest.raises(InputError, match="diverged at every rate"):
        pick([diverged])


def test_the_page_names_bounds_and_every_run() -> None:
    runs = [Run(1e-3, 0.6, 4, []), Run(2e-3, None, None, [], "not finite")]
    text = page(FACTS, runs, pick(runs))
    assert "objective triplet: 1,600 training and 100 development queries" in text
    assert "| 0.001 | 60.0 | 4 | chosen |" in text
    assert "| 0.002 | diverged | -- |  |" in text
    assert "Bounds: 0.001 to 0.002." in text
    assert "at the edge of the bounds" in text
    assert "was interrupted" in page(FACTS, runs[:1], None)


def test_recorded_runs_that_differ_in_the_rate_alone_are_kept(tmp_path: Path) -> None:
    runs = [Run(1e-3, 0.6, 4, [(0, 0.1), (4, 0.6)])]
    sweep.write(tmp_path, FACTS, runs, None)
    assert [run.dev_ndcg_at_10 for run in sweep.recorded(tmp_path, FACTS)] == [0.6]
    assert sweep.recorded(tmp_path, FACTS | {"development_queries": 4}) == []
    assert sweep.recorded(tmp_path, FACTS | {"model": "17m"}) == []
    assert {path.name for path in tmp_path.iterdir()} == {
        "tiny-guide-triplet.json", "tiny-guide-triplet.md",
    }, "the contrastive objective's record is another"  # fmt: skip


@pytest.mark.parametrize("text", ["1e-3", "1e-3,1e-3", "0,1e-3", "a,b", "1e-3,inf"])
def test_rates_that_cannot_be_swept(text: str) -> None:
    with pytest.raises(InputError, match="--rates"):
        rates_from(text)


def test_the_encoder_of_another_model_is_refused(tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    record = {"fingerprint": checkpoint.fingerprint(base), "source": "tiny"}
    (base / "checkpoint.json").write_text(json.dumps(record))
    selected = SETTINGS.with_changes({"model": "17m", "strict": False})
    with pytest.raises(InputError) as refused:
        sweep.sweep(selected, [1e-3, 2e-3], None, tmp_path, tmp_path, base, tmp_path / "sweeps")
    assert str(refused.value) == (
        f"{base} comes from tiny, but params.yaml selects model 17m "
        "(jhu-clsp/ettin-encoder-17m); run `dvc repro negatives` first"
    )
    assert not (tmp_path / "sweeps").exists()


def test_only_a_loss_that_is_not_finite_is_an_outcome_of_the_rate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def training_fails_with(error: Exception) -> None:
        def fails(*_: object) -> None:
            raise error

        monkeypatch.setattr(finetune, "finetune", fails)

    monkeypatch.setattr(checkpoint, "load_checkpoint", lambda _: None)
    settings = SETTINGS.with_changes({"strict": False})
    training_fails_with(LossNotFiniteError("finetuning: the loss is nan at step 3"))
    run = sweep._train(1e-3, settings, material(), Path("never read"))
    assert run.dev_ndcg_at_10 is None and "nan at step 3" in str(run.failure)
    training_fails_with(InputError("finetuning: out of memory with 16 rows at a time"))
    with pytest.raises(InputError, match="out of memory"):
        sweep._train(1e-3, settings, material(), Path("never read"))
