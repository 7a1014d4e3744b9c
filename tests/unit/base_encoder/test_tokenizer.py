"""The tokenizer made from texts."""

from __future__ import annotations

import pytest

from ettin_retrieval.base_encoder.tokenizer import train_tokenizer
from ettin_retrieval.sources.tiny import lexicon


def test_the_vocabulary_does_not_depend_on_the_order_of_texts() -> None:
    texts = lexicon()
    forwards, backwards = (train_tokenizer(t, 300) for t in (texts, texts[::-1]))
    assert forwards.backend_tokenizer.to_str() == backwards.backend_tokenizer.to_str()
    assert len(forwards) == 300


def test_unseen_words_are_spelt() -> None:
    tokenizer = train_tokenizer(["sofas cost less", "a b c d e f"], 64)
    assert tokenizer.tokenize("Sofas cede") == ["sofas", "c", "##e", "##d", "##e"]


def test_a_vocabulary_too_small_for_the_characters_is_refused() -> None:
    with pytest.raises(ValueError, match="vocabulary 10 is too small"):
        train_tokenizer(["sofas"], 10)
