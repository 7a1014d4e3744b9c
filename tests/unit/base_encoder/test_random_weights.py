"""The encoder with random weights, and its tokenizer made from texts."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from ettin_retrieval.base_encoder.random_weights import random_encoder, train_tokenizer
from ettin_retrieval.sources import tiny
from tests.small import small_encoder


def test_drawing_weights_leaves_the_global_generators_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    random.seed(5)
    expected = (torch.initial_seed(), random.Random(5).random())
    random_encoder(small_encoder(), tiny.lexicon(), 1, tmp_path)
    assert (torch.initial_seed(), random.random()) == expected


def test_the_vocabulary_does_not_depend_on_the_order_of_texts() -> None:
    texts = tiny.lexicon()
    forwards, backwards = (train_tokenizer(t, 300) for t in (texts, texts[::-1]))
    assert forwards.backend_tokenizer.to_str() == backwards.backend_tokenizer.to_str()
    assert len(forwards) == 300


def test_unseen_words_are_spelt() -> None:
    tokenizer = train_tokenizer(["sofas cost less", "a b c d e f"], 64)
    assert tokenizer.tokenize("Sofas cede") == ["sofas", "c", "##e", "##d", "##e"]


def test_a_vocabulary_too_small_for_the_characters_is_refused() -> None:
    with pytest.raises(ValueError, match="vocabulary 10 is too small"):
        train_tokenizer(["sofas"], 10)
