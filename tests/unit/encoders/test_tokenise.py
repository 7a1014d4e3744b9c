"""Token ids are those of sentence-transformers."""

from __future__ import annotations

from typing import Any

import pytest

from ettin_retrieval.encoders.tokenise import tokenise
from ettin_retrieval.sources import tiny


@pytest.mark.parametrize("prompts", [{}, {"query": "find: ", "document": "text: "}])
def test_token_ids_are_those_of_preprocess(model: Any, prompts: dict[str, str]) -> None:
    model.prompts = prompts
    passages = tiny.benchmark()["TinySciFact"].passage_texts()[:60]
    texts = [*passages, "", "  two  words ", "é\u2028[SEP] x", "word " * 300]
    for role, task, longest in (("query", "query", 32), ("passage", "document", 64)):
        ours = tokenise(model, texts, role)  # type: ignore[arg-type]
        theirs = model.preprocess(texts, prompt=prompts.get(task), task=task)
        for row, ids in enumerate(ours.ids):
            mask = theirs["attention_mask"][row].bool()
            assert ids.tolist() == theirs["input_ids"][row][mask].tolist()
        assert len(ours.ids[-1]) == longest
        assert ours.extra.get("prompt_length") == theirs.get("prompt_length")


def test_a_model_that_changes_its_texts_is_tokenised_by_preprocess(model: Any) -> None:
    class AddsWord:
        prompts = model.prompts
        tokenizer = model.tokenizer
        max_seq_length = None

        def preprocess(self, texts: list[str], **options: Any) -> Any:
            return model.preprocess([f"river {text}" for text in texts], **options)

    changed: Any = AddsWord()
    expected = tokenise(model, ["river a", "river sea"], "passage").ids
    found = tokenise(changed, ["a", "sea"], "passage").ids
    assert [ids.tolist() for ids in found] == [ids.tolist() for ids in expected]
