"""Token ids are those of sentence-transformers."""

from __future__ import annotations

import operator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from ettin_retrieval.encoders.tokenise import Role, Tokenised, cut_at, tokenise
from ettin_retrieval.sources import tiny


@pytest.mark.parametrize("prompts", [{}, {"query": "find: ", "document": "text: "}])
def test_token_ids_are_those_of_preprocess(model: Any, prompts: dict[str, str]) -> None:
    model.prompts = prompts
    passages = tiny.benchmark()["TinySciFact"].passage_texts()[:60]
    texts = [*passages, "", "  two  words ", "é\u2028[SEP] x", "word " * 300]
    for role, task, longest in (("query", "query", 32), ("passage", "document", 64)):
        tokens = tokenise(model, texts, role)  # type: ignore[arg-type]
        assert isinstance(tokens, Tokenised)
        assert tokens.ends[-1] - tokens.ends[-2] == longest
        for rows in (list(range(len(texts))), [29, 13, 13]):
            chosen = [texts[row] for row in rows]
            theirs = model.preprocess(chosen, prompt=prompts.get(task), task=task)
            ours = tokens.features(rows)
            assert ours.keys() == theirs.keys()
            for name, value in theirs.items():
                same = torch.equal if name in {"input_ids", "attention_mask"} else operator.eq
                assert same(ours[name], value), name


def test_a_model_that_changes_its_texts_is_tokenised_by_preprocess(model: Any) -> None:
    class AddsWord:
        prompts = model.prompts
        tokenizer = model.tokenizer
        max_seq_length = None

        def __getitem__(self, module: int) -> Any:
            return model[module]

        def preprocess(self, texts: list[str], **options: Any) -> Any:
            return model.preprocess([f"river {text}" for text in texts], **options)

    changed: Any = AddsWord()
    expected = tokenise(model, ["river a", "river sea"], "passage")
    found = tokenise(changed, ["a", "sea"], "passage")
    assert isinstance(expected, Tokenised) and isinstance(found, Tokenised)
    assert found.ids.tolist() == expected.ids.tolist()
    assert found.ends.tolist() == expected.ends.tolist()


class Slow:
    """A model without a fast tokenizer: `preprocess` makes its tokens."""

    def __init__(self, model: Any) -> None:
        self.prompts, self.preprocess = model.prompts, model.preprocess
        self.max_seq_length, self._transformer = model.max_seq_length, model[0]
        self.tokenizer = SimpleNamespace(pad_token_id=0)

    def __getitem__(self, _: int) -> Any:
        return self._transformer


@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize(("role", "longest"), [("query", 32), ("passage", 64)])
def test_a_text_is_cut_if_it_has_more_tokens_than_its_role(
    model: Any, role: Role, longest: int, slow: bool
) -> None:
    # Of one token each, between two special ones.
    texts = ["a " * words for words in (1, longest - 3, longest - 2, longest - 1, 500, 0)]
    tokens = tokenise(Slow(model) if slow else model, texts, role)  # type: ignore[arg-type]
    assert tokens.whole.tolist() == [3, longest - 1, longest, longest + 1, 502, 2]
    assert tokens.lengths == [3, longest - 1, longest, longest, longest, 2]


def test_lengths_before_cutting_are_those_of_the_uncut_text(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Words of several pieces, a prompt, and texts of many times the length of the role."""
    words = ["Heating", "costs", "of", "a", "xylophone,", "7.5", "percent"]
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(words, size=size)) for size in rng.integers(1, 400, size=40)]
    monkeypatch.setattr(model, "prompts", {"document": "passage: "})
    tokens = tokenise(model, texts, "passage")
    whole = model.tokenizer([f"passage: {text}" for text in texts], truncation=False)
    assert isinstance(tokens, Tokenised)
    assert tokens.whole.tolist() == [len(ids) for ids in whole["input_ids"]]
    assert tokens.lengths == [min(length, 64) for length in tokens.whole.tolist()]


def test_other_lengths_hold_for_a_while(model: Any) -> None:
    texts = ["a " * 300]
    with pytest.raises(KeyError), cut_at(model, {"query": 5, "passage": 40}):
        assert tokenise(model, texts, "query").lengths == [5]
        assert tokenise(model, texts, "passage").lengths == [40]
        raise KeyError
    assert tokenise(model, texts, "query").lengths == [32]
    assert tokenise(model, texts, "passage").lengths == [64]
