"""Texts tokenised in advance are those that sentence-transformers would tokenise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from ettin_retrieval.encoders.checkpoint import load_checkpoint
from ettin_retrieval.sources import tiny
from ettin_retrieval.training.token_store import TokenisedTexts
from tests.small import save_small_checkpoint


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load_checkpoint(save_small_checkpoint(tmp_path_factory.mktemp("checkpoint")))


def test_features_are_those_of_preprocess(model: Any) -> None:
    dataset = tiny.benchmark()["TinySciFact"]
    texts = [*dataset.queries["text"].tolist()[:10], *dataset.passage_texts()[:40]]
    numbers = np.arange(50, dtype=np.int32)
    store = TokenisedTexts(model, texts, {"query": numbers[:10], "passage": numbers[10:]})
    tensors = {"input_ids", "attention_mask"}
    for batch, task in ((numbers[[29, 13, 13]], "document"), (numbers[:4], "query")):
        theirs = model.preprocess([texts[number] for number in batch], task=task)
        ours = store(batch, task)
        assert all(torch.equal(ours[key], theirs[key]) for key in tensors)
        rest = [
            {key: value for key, value in features.items() if key not in tensors}
            for features in (ours, theirs)
        ]
        assert rest[0] == rest[1]


def test_training_and_evaluation_use_the_same_prompts(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = np.zeros(1, dtype=np.int32)
    with monkeypatch.context() as patch:
        patch.setattr(model, "prompts", {"query": "find: "})
        store = TokenisedTexts(model, ["a river"], {"query": one, "passage": one})
    query, passage = (store(one, task) for task in ("query", "document"))
    prompted = model.preprocess(["find: a river"], task="query")
    assert torch.equal(query["input_ids"], prompted["input_ids"])
    assert query["input_ids"].shape[1] > passage["input_ids"].shape[1]
