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
    """A query with a positive and its negatives, as texts.

    Attributes
    ----------
    scores
        The teacher's: of the positive first, then of each negative. None without a teacher.
    """

    query: str
    positive: str
    negatives: list[str]
    query_id: str = ""
    scores: list[float] | None = None


def training_rows(examples: list[Example], objective: str) -> dict[str, list[Any]]:
    """Columns of the training set that an objective's loss reads.

    >>> one = Example("q", "p", ["n1", "n2"])
    >>> training_rows([one], "contrastive")
    {'query': ['q'], 'positive': ['p'], 'negative_1': ['n1'], 'negative_2': ['n2']}
    >>> training_rows([one], "triplet")
    {'query': ['q', 'q'], 'positive': ['p', 'p'], 'negative': ['n1', 'n2']}
    >>> training_rows([one], "cosine_similarity")
    {'query': ['q', 'q', 'q'], 'passage': ['p', 'n1', 'n2'], 'label': [1.0, 0.0, 0.0]}
    >>> taught = Example("q", "p", ["n1", "n2"], scores=[1.0, 0.25, 0.5])
    >>> training_rows([taught], "margin_mse")["label"]
    [0.75, 0.5]

    Raises
    ------
    InputError
        Contrastive rows of different numbers of negatives (a corpus smaller than what was asked
        for); margin-MSE rows without a teacher's scores.
    """
    if objective == "margin_mse":
        margins = [row for e in examples for row in _margins(e)]
        return _columns(["query", "positive", "negative", "label"], margins)
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

    An encoder whose similarity is the dot product is trained by it: read "dot" for "cos" below.
    Only cosine_similarity has no such form.

    - contrastive: cross-entropy of softmax(cos(query, passage) / temperature) over the batch's
      positives and all mined negatives (InfoNCE; van den Oord et al., 2018).
    - triplet: max(0, cos(query, negative) - cos(query, positive) + margin).
    - cosine_similarity: (cos(query, passage) - label)^2, label 1 for positives, 0 for negatives.
    - margin_mse: (cos(query, positive) - cos(query, negative) - label)^2, label the same
      difference of the teacher's scores (Hofstätter et al., 2020).

    Parameters
    ----------
    mini_batch
        Contrastive only: how many texts of a column are in the encoder at a time. Loss and
        gradients are those of the whole batch (gradient caching; Gao et al., 2021), for a second
        forward pass. None encodes the whole batch at once.
    gather
        Contrastive only: the passages of every process are negatives, not just of this one.

    Raises
    ------
    InputError
        The objective cosine_similarity for an encoder that scores by dot product.
    ValueError
        A mini-batch for an objective whose batches can simply be made smaller.
    """
    from sentence_transformers.sentence_transformer import losses
    from sentence_transformers.util import cos_sim, dot_score, pairwise_cos_sim, pairwise_dot_score

    finetuning = settings.finetuning
    by_dot = model.similarity_fn_name == "dot"
    similarity = dot_score if by_dot else cos_sim
    if finetuning.objective == "contrastive":
        scale = 1 / finetuning.temperature
        if mini_batch is None:
            return losses.MultipleNegativesRankingLoss(
                model, scale=scale, similarity_fct=similarity, gather_across_devices=gather
            )
        return losses.CachedMultipleNegativesRankingLoss(
            model,
            scale=scale,
            similarity_fct=similarity,
            mini_batch_size=mini_batch,
            gather_across_devices=gather,
        )
    if mini_batch is not None:
        raise ValueError(
            f"mini_batch is for the contrastive objective; {finetuning.objective} has no in-batch "
            "negatives, so that smaller batches with gradient accumulation are the same"
        )
    if finetuning.objective == "triplet":
        return losses.TripletLoss(
            model,
            distance_metric=_negative_dot if by_dot else losses.TripletDistanceMetric.COSINE,
            triplet_margin=finetuning.margin,
        )
    if finetuning.objective == "margin_mse":
        pairwise = pairwise_dot_score if by_dot else pairwise_cos_sim
        return losses.MarginMSELoss(model, similarity_fct=pairwise)
    if by_dot:
        raise InputError(
            "finetuning.objective: cosine_similarity cannot train an encoder that scores by dot "
            "product; choose another objective, or set the encoder's normalize to true"
        )
    return losses.CosineSimilarityLoss(model)


def _negative_dot(queries: torch.Tensor, passages: torch.Tensor) -> torch.Tensor:
    """Distances whose difference is that of dot products; all of shape (batch,)."""
    return -(queries * passages).sum(dim=1)


def _margins(example: Example) -> list[tuple[str, str, str, float]]:
    """Query, positive, negative, and the teacher's margin between the two."""
    if example.scores is None:
        raise InputError(
            "finetuning.objective: margin_mse needs a teacher's score of the positive and of each "
            f"negative, and the query {example.query!r} lacks one; run `dvc repro negatives` to "
            "choose negatives that have one"
        )
    best, *others = example.scores
    return [
        (example.query, example.positive, negative, best - score)
        for negative, score in zip(example.negatives, others, strict=True)
    ]


def _columns(names: list[str], rows: list[tuple[Any, ...]]) -> dict[str, list[Any]]:
    return {name: [row[i] for row in rows] for i, name in enumerate(names)}
