"""Encoders with random weights."""

from __future__ import annotations

import random
from pathlib import Path

import torch

from ettin_retrieval.base_encoder.random_weights import random_encoder
from ettin_retrieval.sources import tiny
from tests.small import small_encoder


def test_drawing_weights_leaves_the_global_generators_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    random.seed(5)
    expected = (torch.initial_seed(), random.Random(5).random())
    random_encoder(small_encoder(), tiny.lexicon(), 1, tmp_path)
    assert (torch.initial_seed(), random.random()) == expected
