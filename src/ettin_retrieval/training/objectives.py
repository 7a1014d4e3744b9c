"""The loss of each training objective, all of them sentence-transformers' own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import losses
from sentence_transformers.util import cos_sim, dot_score, pairwise_cos_sim, pairwise_dot_score
from torch import Tensor

from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.settings.schema import Settings


def loss_for(
    model: SentenceTransformer,
    settings: Settings,
    mini_batch: int | None = None,
    gather: bool = False,
) -> torch.nn.Module:
    """The loss of the configured objective, a mean over rows.

    Below, sim is the encoder's similarity: cosine, or the dot product if it does not normalise.

    Parameters
    ----------
    mini_batch
        Contrastive only: encode so many texts of a column at a time, with the loss and gradients
        of the whole batch, for a second forward pass (GradCache; Gao et al., 2021,
        https://arxiv.org/abs/2101.06983).
    gather
        Contrastive only: the passages of all ranks are negatives.

    Raises
    ------
    InputError
        cosine_similarity for an encoder that scores by dot product.
    ValueError
        `mini_batch` for another objective than contrastive.

    Requirements
    ------------
    Rows of the objective, as `ettin_retrieval.training.examples.rows_of` makes them.

    Inputs
    ------
    contrastive: query, positive, negative_1, ..., negative_n
        -log softmax(sim(query, passage) / temperature) at the positive, over the positives and
        negatives of the batch (InfoNCE; van den Oord et al., 2018,
        https://arxiv.org/abs/1807.03748). Labels, if any, are the pairs that are left out because
        the passage is known to be relevant to the query, as `known_positives` gives them.
    triplet: query, positive, negative
        max(0, sim(query, negative) - sim(query, positive) + margin).
    cosine_similarity: query, passage; label 1 for a positive and 0 for a negative
        (cos(query, passage) - label)^2.
    margin_mse: query, positive, negative; label: the difference of the teacher's scores
        (sim(query, positive) - sim(query, negative) - label)^2 (Hofstätter et al., 2020,
        https://arxiv.org/abs/2010.02666).

    Recommendations
    ---------------
    Contrastive batches should hold no text twice, as `SharedBatches` makes them. For other
    objectives, gradient accumulation over smaller batches does what `mini_batch` does.
    """
    finetuning = settings.finetuning
    objective, by_dot = finetuning.objective, model.similarity_fn_name == "dot"
    if mini_batch is not None and objective != "contrastive":
        raise ValueError(f"mini_batch is for the contrastive objective, not for {objective}")
    if objective == "contrastive":
        similarity = LeavingOut(dot_score if by_dot else cos_sim)
        options: dict[str, Any] = {
            "scale": 1 / finetuning.temperature,
            "similarity_fct": similarity,
            "gather_across_devices": gather,
        }
        loss: torch.nn.Module
        if mini_batch is None:
            loss = losses.MultipleNegativesRankingLoss(model, **options)
        else:
            options["mini_batch_size"] = mini_batch
            loss = losses.CachedMultipleNegativesRankingLoss(model, **options)
        loss.register_forward_pre_hook(lambda _, inputs: similarity.begin(inputs[1]))
        return loss
    if objective == "triplet":
        cosine = losses.TripletDistanceMetric.COSINE
        distance: Any = (lambda q, p: -pairwise_dot_score(q, p)) if by_dot else cosine
        return losses.TripletLoss(model, distance, triplet_margin=finetuning.margin)
    if objective == "margin_mse":
        return losses.MarginMSELoss(model, pairwise_dot_score if by_dot else pairwise_cos_sim)
    if by_dot:
        raise InputError(
            "finetuning.objective: cosine_similarity cannot train an encoder that scores by dot "
            "product; choose another objective, or set the encoder's normalize to true"
        )
    return losses.CosineSimilarityLoss(model)


class LeavingOut:
    """A similarity that is -inf for some pairs of a batch: they have no share of the softmax."""

    def __init__(self, similarity: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.similarity = similarity
        self.begin(None)

    def begin(self, pairs: Tensor | None) -> None:
        """Begin a batch and leave out these pairs, each a row of a query and one of a passage."""
        self.pairs, self.row = pairs, 0

    def __call__(self, queries: Tensor, passages: Tensor) -> Tensor:
        """Similarities of the batch's next queries to all its passages.

        The plain loss asks for all queries at once, the cached one for a mini-batch at a time.
        """
        scores = self.similarity(queries, passages)
        if self.pairs is not None:
            rows, columns = self.pairs.T
            rows = rows - self.row
            here = (rows >= 0) & (rows < len(queries))
            scores[rows[here], columns[here]] = -torch.inf
            self.row += len(queries)
        return scores
