"""Small checkpoints with random weights, and a small benchmark."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ettin_retrieval.base_encoder.random_weights import random_encoder
from ettin_retrieval.data.storage import write_dataset
from ettin_retrieval.encoders.checkpoint import save_checkpoint
from ettin_retrieval.settings.load import load_settings
from ettin_retrieval.settings.sections import Encoder, Shape
from ettin_retrieval.sources import tiny
from ettin_retrieval.sources.benchmark_data import subsampled

ROOT = Path(__file__).resolve().parents[1]


def small_encoder(layers: int = 2) -> Encoder:
    """The entry of `tiny` in encoders.yaml, smaller."""
    shape = Shape(layers=layers, hidden_size=32, intermediate_size=64, heads=2, vocabulary=2048)
    entry = load_settings(ROOT / "params.yaml").encoders["ettin_tiny"]
    return entry.model_copy(update={"shape": shape})


def save_small_checkpoint(directory: Path, layers: int = 2) -> Path:
    """Save a checkpoint of `small_encoder` whose tokenizer knows the tiny world's words."""
    with tempfile.TemporaryDirectory() as scratch:
        model = random_encoder(small_encoder(layers), tiny.lexicon(), 1, Path(scratch))
    save_checkpoint(model, directory, {"source": "tiny", "revision": "seed 1"})
    return directory


def write_small_benchmark(directory: Path) -> Path:
    """Write the tiny world's four tasks with 5 queries over about 150 passages each."""
    for name, dataset in tiny.benchmark().items():
        few = dataset.with_queries(dataset.queries["id"].tolist()[:5])
        _, small = subsampled(name, few, 150)
        write_dataset(small, directory / name)
    return directory


class LetterCounts:
    """An encoder without a model: how often a text has the letters a and b."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def encode_document(self, texts: list[str], batch_size: int) -> npt.NDArray[np.float32]:
        """Shape (len(texts), 2)."""
        self.texts += texts
        return np.array([[text.count("a"), text.count("b")] for text in texts], dtype=np.float32)

    encode_query = encode_document


def _change_weights(model: Any) -> None:
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] += 1


CHANGES: dict[str, Callable[[Any], object]] = {
    "weights": _change_weights,
    "dtype": lambda model: model.bfloat16(),
    "pooling": lambda model: setattr(model[1], "pooling_mode", "cls"),
    "normalisation": lambda model: model.__delitem__(2),
    "query length": lambda model: setattr(model[0], "query_length", 17),
    "passage length": lambda model: setattr(model[0], "document_length", 17),
}
"""What makes another checkpoint of a model."""
