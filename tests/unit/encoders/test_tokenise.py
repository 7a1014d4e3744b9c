"""Token ids are those of sentence-transformers."""

from __future__ import annotations

import operator
from typing import Any

import pytest
import torch

from ettin_retrieval.encoders.tokenise import Tokenised, tokenise
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
