"""Training objectives: what a training row looks like, and the loss over a batch of them.

The losses are sentence-transformers' own; this module joins each to the rows it needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.settings.schema import Settings

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer


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
