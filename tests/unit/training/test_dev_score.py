"""The development score, and the checkpoint that it picks."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers.base.evaluation import BaseEvaluator

from ettin_retrieval.encoders.checkpoint import load_checkpoint, save_checkpoint
from ettin_retrieval.training import finetune
from ettin_retrieval.training.finetune import Curve
from ettin_retrieval.training.trainer import DEV_METRIC, DevEvaluator
from tests.training_inputs import development, settings, trained


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"precision": "bf16"},
        {"objective": "triplet"},
        {"normalize": False},
        {"gradient_checkpointing": True},
        {"learning_rate": 0.5},
    ],
    ids=str,
)
def test_the_recorded_score_is_that_of_the_saved_weights(
    changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the last digit, as are the embeddings, whatever the model's state in training."""
    embedded: list[torch.Tensor] = []
    embed = DevEvaluator.embed_inputs

    def watched(*given: Any, **named: Any) -> torch.Tensor:
        vectors: torch.Tensor = embed(*given, **named)
        embedded.append(vectors)
        return vectors

    monkeypatch.setattr(DevEvaluator, "embed_inputs", watched)
    model, curve = trained(tmp_path, settings(**{"learning_rate": 0.01} | changes))
    assert model[0].model.config._attn_implementation == "eager", "as in strict mode"
    assert embedded[2].shape == (10, 32), "queries and passages by turns, before training first"
    point = [step for step, _ in curve.dev].index(curve.best_step)
    (tmp_path / "saved").mkdir()
    save_checkpoint(model, tmp_path / "saved", {})
    loaded = load_checkpoint(tmp_path / "saved")
    again = DevEvaluator(development(), 32, str(loaded.similarity_fn_name))
    assert again(loaded)[DEV_METRIC] == curve.score == curve.metrics()["dev_ndcg_at_10"]
    for ours, theirs in zip(embedded[2 * point : 2 * point + 2], embedded[-2:], strict=True):
        assert torch.equal(ours, theirs)


def test_training_that_only_makes_it_worse_is_said_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, curve = trained(tmp_path, settings(epochs=3, learning_rate=0.5))
    assert curve.best_step > 0, "trained weights are kept"
    assert curve.score == max(score for _, score in curve.dev[1:]) < curve.before == 1
    assert curve.metrics()["dev_ndcg_at_10_gain"] == curve.score - 1
    (said,) = [record.message for record in caplog.records if "training only" in record.message]
    assert f"1.0000 before and {curve.score:.4f} at step {curve.best_step}" in said


@pytest.mark.parametrize(
    ("after", "said"),
    [
        ([0.25, 0.5], "only made the encoder worse"),
        ([0.75, 0.5], "did not make the encoder better"),
        ([0.5, 0.8], None),
    ],
)
def test_the_verdict_on_training(after: list[float], said: str | None) -> None:
    best = after.index(max(after)) + 1
    warning = Curve([], [(0, 0.75), *enumerate(after, start=1)], best, {}).warning()
    assert warning is None if said is None else warning is not None and said in warning


@pytest.mark.parametrize(("before", "warned"), [(0.95, False), (0.96, True)])
def test_a_development_set_that_cannot_choose_is_warned_of(
    before: float,
    warned: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Constant(BaseEvaluator):
        def __call__(self, *_: Any, **__: Any) -> dict[str, float]:
            return {DEV_METRIC: before}

    evaluator: Any = Constant
    monkeypatch.setattr(finetune, "DevEvaluator", lambda *_: evaluator())
    trained(tmp_path, settings(epochs=1))
    assert ("scores 0.9600 on the development set before training" in caplog.text) == warned


def test_an_encoder_without_normalisation_is_scored_by_dot_product(tmp_path: Path) -> None:
    """As its evaluation does."""
    model, curve = trained(tmp_path, settings("mean", normalize=False, epochs=1))
    dev = development()
    queries = model.encode_query(dev.queries["text"].tolist())
    order = (-queries @ model.encode_document(dev.passage_texts()).T).argsort(axis=1)
    ranks = [order[row].tolist().index(row) for row in range(len(dev.queries))]
    gains = [1 / math.log2(rank + 2) for rank in ranks]
    assert model.similarity_fn_name == "dot"
    assert curve.dev[-1][1] == pytest.approx(sum(gains) / len(gains), abs=1e-6)


def test_the_weights_of_the_best_score_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scores rise, then fall twice: the first checkpoint's weights stay, and training stops."""
    scores = [0.1, 0.5, 0.4, 0.3, 0.9]
    seen: list[torch.Tensor] = []

    class Scripted(BaseEvaluator):
        def __call__(self, model: Any, *_: Any, **__: Any) -> dict[str, float]:
            seen.append(next(model.parameters()).detach().clone())
            return {DEV_METRIC: scores[len(seen) - 1]}

    evaluator: Any = Scripted
    monkeypatch.setattr(finetune, "DevEvaluator", lambda *_: evaluator())
    model, curve = trained(tmp_path, settings(epochs=4, early_stopping=2))
    assert curve.dev == [(0, 0.1), (5, 0.5), (10, 0.4), (15, 0.3)]
    assert curve.best_step == 5
    assert torch.equal(next(model.parameters()), seen[1])


def test_the_last_weights_are_kept_if_they_are_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scores fall from the first evaluation on; the last step falls between two of them."""
    scores = [0.1, 0.9, 0.5, 0.4, 0.3, 0.2]
    seen: list[torch.Tensor] = []

    class Scripted(BaseEvaluator):
        def __call__(self, model: Any, *_: Any, **__: Any) -> dict[str, float]:
            seen.append(next(model.parameters()).detach().clone())
            return {DEV_METRIC: scores[len(seen) - 1]}

    evaluator: Any = Scripted
    monkeypatch.setattr(finetune, "DevEvaluator", lambda *_: evaluator())
    model, curve = trained(tmp_path, settings(epochs=1, evaluations_per_epoch=2, keep="last"))
    assert curve.dev == [(0, 0.1), (2, 0.9), (4, 0.5), (5, 0.4)]
    assert (curve.best_step, dict(curve.dev)[curve.best_step]) == (5, 0.4)
    assert torch.equal(next(model.parameters()), seen[3])
    assert not torch.equal(seen[3], seen[2])
    assert curve.conditions["keep"] == "last"
    # No earlier checkpoint stays for its score.
    assert [path.name for path in (tmp_path / "work").glob("checkpoint-*")] == ["checkpoint-5"]
