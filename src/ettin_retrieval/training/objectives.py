"""The loss of each training objective, all of them sentence-transformers' own."""

from __future__ import annotations

from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import losses
from sentence_transformers.util import cos_sim, dot_score, pairwise_cos_sim, pairwise_dot_score

from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.settings.schema import Settings


def loss_for(
    model: SentenceTransformer,
    settings: Settings,
    mini_batch: int | None = None,
    gather: bool = False,
) -> torch.nn.Module:
    """The loss of the configured objective.

    sim is the encoder's similarity, cosine or dot product. All losses are means over the rows.

    - contrastive: -log softmax(sim(query, passage) / temperature) at the positive, over the
      positives and negatives of the batch (InfoNCE; https://arxiv.org/abs/1807.03748)
    - triplet: max(0, sim(query, negative) - sim(query, positive) + margin)
    - cosine_similarity: (cos(query, passage) - label)^2
    - margin_mse: (sim(query, positive) - sim(query, negative) - label)^2
      (https://arxiv.org/abs/2010.02666)

    Parameters
    ----------
    mini_batch
        Contrastive only: encode so many texts of a column at a time. Loss and gradients are those
        of the whole batch, for a second forward pass (https://arxiv.org/abs/2101.06983). None
        encodes the whole batch at once.
    gather
        Contrastive only: contrast with the passages of all ranks, not just of this one.

    Requirements
    ------------
    1. Rows of the objective, see `ettin_retrieval.training.examples.rows_of`.
    2. cosine_similarity needs an encoder that scores by cosine.

    Inputs
    ------
    ==========================================  =============  ====================================
    Texts                                       Objective      Labels
    ==========================================  =============  ====================================
    query, positive, negative_1, .. negative_n  contrastive    none
    query, positive, negative                   triplet        none
    query, passage                              cosine_sim...  1 for a positive, 0 for a negative
    query, positive, negative                   margin_mse     teacher's score of the positive minus
                                                               that of the negative
    ==========================================  =============  ====================================

    Recommendations
    ---------------
    - Give contrastive batches no text twice, as `EpochBatches(distinct=True)` does.

    Relations
    ---------
    - Other objectives than contrastive need no `mini_batch`: accumulating gradients over smaller
      batches is the same.

    Raises
    ------
    InputError
        cosine_similarity for an encoder that scores by dot product.
    ValueError
        A mini-batch for another objective than contrastive.
    """
    finetuning = settings.finetuning
    objective, by_dot = finetuning.objective, model.similarity_fn_name == "dot"
    if mini_batch is not None and objective != "contrastive":
        raise ValueError(f"mini_batch is for the contrastive objective, not for {objective}")
    if objective == "contrastive":
        options: dict[str, Any] = {
            "scale": 1 / finetuning.temperature,
            "similarity_fct": dot_score if by_dot else cos_sim,
            "gather_across_devices": gather,
        }
        if mini_batch is None:
            return losses.MultipleNegativesRankingLoss(model, **options)
        return losses.CachedMultipleNegativesRankingLoss(
            model, mini_batch_size=mini_batch, **options
        )
    if objective == "triplet":
        distance = _negative_dot if by_dot else losses.TripletDistanceMetric.COSINE
        return losses.TripletLoss(model, distance, triplet_margin=finetuning.margin)
    if objective == "margin_mse":
        return losses.MarginMSELoss(model, pairwise_dot_score if by_dot else pairwise_cos_sim)
    if by_dot:
        raise InputError(
            "finetuning.objective: cosine_similarity cannot train an encoder that scores by dot "
            "product; choose another objective, or set the encoder's normalize to true"
        )
    return losses.CosineSimilarityLoss(model)


def _negative_dot(queries: torch.Tensor, passages: torch.Tensor) -> torch.Tensor:
    """Distances whose difference is that of dot products; all of shape (batch,)."""
    return -(queries * passages).sum(dim=1)
