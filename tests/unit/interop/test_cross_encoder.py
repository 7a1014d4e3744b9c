"""A cross-encoder as a teacher: its scores, and the directories that are refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from ettin_retrieval.interop import cross_encoder
from ettin_retrieval.interop.cross_encoder import load_cross_encoder
from ettin_retrieval.runtime.errors import InputError
from tests.collections import minilm

PAIRS = [
    ("who pays for repairs", "The tenant pays for small repairs."),
    ("who pays for repairs", "Pets are allowed."),
    ("may I have a cat", "Pets are allowed."),
]


def write(directory: Path, scores: int = 1, bias: float = 0.0) -> Path:
    """A small BERT with random weights, and the bias of its head."""
    tokenizer = AutoTokenizer.from_pretrained(minilm())
    torch.manual_seed(0)
    small: Any = BertConfig
    config = small(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, num_labels=scores,
    )  # fmt: skip
    model = BertForSequenceClassification(config)
    model.classifier.bias.data += bias
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def change(directory: Path, key: str, value: torch.Tensor | None) -> Path:
    """Replace a weight, or leave it out."""
    path = directory / "model.safetensors"
    weights = load_file(path)
    weights.pop(key)
    if value is not None:
        weights[key] = value
    save_file(weights, path, metadata={"format": "pt"})
    return directory


def test_scores_are_the_logits_that_transformers_gives(tmp_path: Path) -> None:
    # After a sigmoid, all of them would be 1.0 in fp32, and every negative as high as its positive.
    directory = write(tmp_path, bias=20.0)
    model: Any = BertForSequenceClassification.from_pretrained(directory)
    model.eval()
    tokenizer = AutoTokenizer.from_pretrained(directory)
    with torch.inference_mode():
        expected = [float(model(**tokenizer(q, p, return_tensors="pt")).logits) for q, p in PAIRS]
    scores = load_cross_encoder(directory)(PAIRS)
    assert np.allclose(scores, expected, atol=1e-5)
    assert len(set(scores.tolist())) == 3 and scores.min() > 17


def test_all_parts_are_scored_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    score = load_cross_encoder(write(tmp_path))
    whole = score(PAIRS)
    monkeypatch.setattr(cross_encoder, "AT_ONCE", 2)
    assert np.allclose(score(PAIRS), whole, atol=1e-6)


def test_a_score_that_is_not_finite_is_refused_with_its_texts(tmp_path: Path) -> None:
    broken = change(write(tmp_path), "classifier.bias", torch.tensor([float("nan")]))
    with pytest.raises(
        InputError, match=r"'who pays for repairs' and the passage 'The tenant .* is"
    ):
        load_cross_encoder(broken)(PAIRS)


def test_an_encoder_for_retrieval_is_refused() -> None:
    """transformers gives it a head of random weights."""
    with pytest.raises(InputError, match=r"lack 'classifier.bias' \(and 1 more\) of BertForSeq"):
        load_cross_encoder(Path(minilm()))


def test_a_classifier_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="gives 3 scores for a pair"):
        load_cross_encoder(write(tmp_path, scores=3))


def test_missing_weights_are_refused(tmp_path: Path) -> None:
    key = "bert.encoder.layer.0.output.dense.weight"
    with pytest.raises(InputError, match=f"the weights lack '{key}' \\(and 0 more\\)"):
        load_cross_encoder(change(write(tmp_path), key, None))


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    broken = change(write(tmp_path), "classifier.weight", torch.zeros(1, 7))
    with pytest.raises(InputError, match="not a cross-encoder that can be loaded"):
        load_cross_encoder(broken)


def test_code_of_the_directory_is_not_run(tmp_path: Path) -> None:
    path = write(tmp_path) / "config.json"
    config = json.loads(path.read_text()) | {
        "model_type": "mine", "auto_map": {"AutoConfig": "code.Config"},
    }  # fmt: skip
    path.write_text(json.dumps(config))
    ran = tmp_path / "ran"
    (tmp_path / "code.py").write_text(f"open({str(ran)!r}, 'w')")
    with pytest.raises(InputError, match="not a cross-encoder that can be loaded"):
        load_cross_encoder(tmp_path)
    assert not ran.exists()


def test_a_directory_that_is_none_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such directory; give that of a cross-encoder"):
        load_cross_encoder(tmp_path / "nowhere")
    shutil.move(write(tmp_path / "pickled") / "model.safetensors", tmp_path / "weights.bin")
    with pytest.raises(InputError, match=r"no .safetensors weights in it"):
        load_cross_encoder(tmp_path / "pickled")
