"""TODO: studies.material."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ettin_retrieval.data.dataset import RetrievalDataset
from ettin_retrieval.data.storage import read_dataset

if TYPE_CHECKING:
    from ettin_retrieval.data.negatives import Pair

Scores = dict[str, float]
"""Flat metrics, such as `SciFact.ndcg_at_10`; fractions."""


@dataclass(frozen=True)
class Material:
    """A domain's training set, development set and mined negatives."""

    train: RetrievalDataset
    dev: RetrievalDataset
    pairs: list[Pair]


def read_material(training: Path, negatives: Path) -> Material:
    """What the stages training_data and negatives wrote."""
    from ettin_retrieval.data.negatives import read_negatives

    return Material(
        read_dataset(training / "train"), read_dataset(training / "dev"), read_negatives(negatives)
    )


def read_scores(path: Path) -> Scores:
    """Flat metrics as a stage `evaluation` wrote them."""
    scores: Scores = json.loads(path.read_text(encoding="utf-8"))
    return scores


def only(material: Material, query_ids: list[str]) -> Material:
    """The material of some of the training queries; development set and passages stay."""
    chosen = set(query_ids)
    return Material(
        material.train.with_queries(query_ids),
        material.dev,
        [pair for pair in material.pairs if pair[0] in chosen],
    )


def drawn(material: Material, seed: int) -> list[str]:
    """The training queries in the order in which a seed draws them."""
    ids = sorted(material.train.positives())
    return [ids[i] for i in np.random.default_rng(seed).permutation(len(ids))]
