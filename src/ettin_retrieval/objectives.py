"""Training objectives: what a training row looks like, and the loss over a batch of them.

The losses are sentence-transformers' own; this module joins each to the rows it needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ettin_retrieval.errors import InputError
from ettin_retrieval.params import Settings

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer


@dataclass(frozen=True)
class Example:
    """A query with a positive and its negatives, as texts."""

    query: str
    positive: str
    negatives: list[str]
    query_id: str = ""


def training_rows(examples: list[Example], objective: str) -> dict[str, list[Any]]:
    """Columns of the training set that an objective's loss reads.

    >>> one = Example("q", "p", ["n1", "n2"])
    >>> training_rows([one], "contrastive")
    {'query': ['q'], 'positive': ['p'], 'negative_1': ['n1'], 'negative_2': ['n2']}
    >>> training_rows([one], "triplet")
    {'query': ['q', 'q'], 'positive': ['p', 'p'], 'negative': ['n1', 'n2']}
    >>> training_rows([one], "cosine_similarity")
    {'query': ['q', 'q', 'q'], 'passage': ['p', 'n1', 'n2'], 'label': [1.0, 0.0, 0.0]}

    Raises
    ------
    InputError
        Rows of different numbers of negatives (a corpus smaller than what was asked for).
    """
    if objective == "triplet":
        triplets = [(e.query, e.positive, n) for e in examples for n in e.negatives]
        return _columns(["query", "positive", "negative"], triplets)
    if objective == "cosine_similarity":
        labelled = [
            (e.query, text, label)
            for e in examples
            for text, label in [(e.positive, 1.0), *((n, 0.0) for n in e.negatives)]
        ]
        return _columns(["query", "passage", "label"], labelled)
    counts = {len(e.negatives) for e in examples}
    if len(counts) > 1:
        raise InputError(
            f"negatives.per_query: some queries have only {min(counts)} possible negatives, "
            f"others {max(counts)}; ask for at most {min(counts)}"
        )
    names = ["query", "positive", *(f"negative_{i + 1}" for i in range(max(counts)))]
    return _columns(names, [(e.query, e.positive, *e.negatives) for e in examples])


def loss_for(
    model: SentenceTransformer,
    settings: Settings,
    mini_batch: int | None = None,
    gather: bool = False,
) -> torch.nn.Module:
    """The loss of the configured objective.

    - contrastive: cross-entropy of softmax(cos(query, passage) / temperature) over the batch's
      positives and all mined negatives (InfoNCE; van den Oord et al., 2018).
    - triplet: max(0, cos(query, negative) - cos(query, positive) + margin).
    - cosine_similarity: (cos(query, passage) - label)^2, label 1 for positives, 0 for negatives.

    Parameters
    ----------
    mini_batch
        Rows that the contrastive loss embeds at a time; None embeds the batch at once.
    gather
        Contrast with the passages of all processes.
    """
    from sentence_transformers.sentence_transformer import losses

    finetuning = settings.finetuning
    if finetuning.objective == "contrastive":
        scale = 1 / finetuning.temperature
        if mini_batch is None:
            return losses.MultipleNegativesRankingLoss(
                model, scale=scale, gather_across_devices=gather
            )
        return losses.CachedMultipleNegativesRankingLoss(
            model, scale=scale, mini_batch_size=mini_batch, gather_across_devices=gather
        )
    if finetuning.objective == "triplet":
        return losses.TripletLoss(
            model,
            distance_metric=losses.TripletDistanceMetric.COSINE,
            triplet_margin=finetuning.margin,
        )
    return losses.CosineSimilarityLoss(model)


def _columns(names: list[str], rows: list[tuple[Any, ...]]) -> dict[str, list[Any]]:
    return {name: [row[i] for row in rows] for i, name in enumerate(names)}
