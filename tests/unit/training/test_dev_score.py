"""The development score, and the checkpoint that it picks."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers.base.evaluation import BaseEvaluator

from ettin_retrieval.training import finetune
from ettin_retrieval.training.trainer import DEV_METRIC
from tests.training_inputs import development, settings, trained


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
    """Scores fall from the first evaluation on; the last step is no multiple of their interval."""
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
