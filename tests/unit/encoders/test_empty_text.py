"""Texts without tokens."""

from __future__ import annotations

import numpy as np
from tokenizers.processors import TemplateProcessing

from ettin_retrieval.encoders.encode import encode
from tests.collections import minilm


def test_an_empty_text_is_embedded() -> None:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(minilm(), device="cpu", local_files_only=True)
    vectors = encode(model, ["", "an anchor", ""], "passage", batch_size=2)
    expected = model.encode([""])[0]
    assert np.allclose(vectors[0], expected, atol=1e-5) and np.array_equal(vectors[0], vectors[2])

    # A tokenizer without special tokens makes no token of an empty text.
    plain = TemplateProcessing(single="$A", pair="$A $B", special_tokens=[])
    model.tokenizer.backend_tokenizer.post_processor = plain
    assert np.isfinite(encode(model, ["", "an anchor"], "passage", batch_size=2)).all()
