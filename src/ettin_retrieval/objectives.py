"""Training objectives: what a training row looks like, and the loss over a batch of them.

The losses are sentence-transformers' own; this module joins each to the rows it needs.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ettin_retrieval.errors import InputError
from ettin_retrieval.params import Settings

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer


Numbers = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True)
class TrainingRows:
    """What an objective's loss reads, with a number for each text: millions of rows stay small.

    Attributes
    ----------
    columns
        Names of the columns of texts; the first is `query`, the others are passages.
    texts
        Of shape (rows, columns): numbers of texts, equal for equal texts.
    labels
        Of shape (rows,), for objectives that have them.
    query_ids
        Id of each row's query.
    """

    columns: list[str]
    texts: Numbers
    labels: npt.NDArray[np.float32] | None
    query_ids: list[str]

    def __len__(self) -> int:
        return len(self.query_ids)


def training_rows(examples: list[Example], objective: str) -> tuple[TrainingRows, list[str]]:
    """Rows of the training set that an objective's loss reads, and the texts by their number.

    >>> example = Example("q", "p", ["n", "m"], query_id="q1")
    >>> rows, texts = training_rows([example], "triplet")
    >>> rows.columns, rows.texts.tolist(), rows.query_ids, texts
    (['query', 'positive', 'negative'], [[0, 1, 2], [0, 1, 3]], ['q1', 'q1'], ['q', 'p', 'n', 'm'])

    Raises
    ------
    InputError
        Contrastive rows of different numbers of negatives (a corpus smaller than what was asked
        for); margin-MSE rows without a teacher's scores.
    """
    columns = _columns(examples, objective)
    numbers: dict[str, int] = {}
    cells, labels = array("i"), array("f")
    query_ids: list[str] = []
    for example in examples:
        for texts, label in rows_of(example, objective):
            cells.extend([numbers.setdefault(text, len(numbers)) for text in texts])
            query_ids.append(example.query_id)
            if label is not None:
                labels.append(label)
    rows = TrainingRows(
        columns,
        np.frombuffer(cells, dtype=np.int32).reshape(-1, len(columns)),
        np.frombuffer(labels, dtype=np.float32) if labels else None,
        query_ids,
    )
    return rows, list(numbers)


def rows_of(example: Example, objective: str) -> list[tuple[tuple[str, ...], float | None]]:
    """The texts of each row that an example makes, and the row's label.

    >>> one = Example("q", "p", ["n", "m"])
    >>> rows_of(one, "contrastive")
    [(('q', 'p', 'n', 'm'), None)]
    >>> rows_of(one, "triplet")
    [(('q', 'p', 'n'), None), (('q', 'p', 'm'), None)]
    >>> rows_of(one, "cosine_similarity")
    [(('q', 'p'), 1.0), (('q', 'n'), 0.0), (('q', 'm'), 0.0)]
    >>> taught = Example("q", "p", ["n", "m"], scores=[1.0, 0.25, 0.5])
    >>> rows_of(taught, "margin_mse")
    [(('q', 'p', 'n'), 0.75), (('q', 'p', 'm'), 0.5)]

    Raises
    ------
    InputError
        A margin-MSE row without a teacher's scores.
    """
    query, positive, negatives = example.query, example.positive, example.negatives
    if objective == "margin_mse":
        return _margins(example)
    if objective == "triplet":
        return [((query, positive, negative), None) for negative in negatives]
    if objective == "cosine_similarity":
        return [((query, positive), 1.0), *(((query, negative), 0.0) for negative in negatives)]
    return [((query, positive, *negatives), None)]


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


def _margins(example: Example) -> list[tuple[tuple[str, ...], float | None]]:
    """Query, positive and negative, with the teacher's margin between the two."""
    if example.scores is None:
        raise InputError(
            "finetuning.objective: margin_mse needs a teacher's score of the positive and of each "
            f"negative, and the query {example.query!r} lacks one; run `dvc repro negatives` to "
            "choose negatives that have one"
        )
    best, *others = example.scores
    return [
        ((example.query, example.positive, negative), best - score)
        for negative, score in zip(example.negatives, others, strict=True)
    ]


def _columns(examples: list[Example], objective: str) -> list[str]:
    """Names of the columns of texts."""
    if objective == "cosine_similarity":
        return ["query", "passage"]
    if objective != "contrastive":
        return ["query", "positive", "negative"]
    counts = {len(e.negatives) for e in examples}
    if len(counts) > 1:
        raise InputError(
            f"negatives.per_query: some queries have only {min(counts)} possible negatives, "
            f"others {max(counts)}; ask for at most {min(counts)}"
        )
    return ["query", "positive", *(f"negative_{i + 1}" for i in range(max(counts)))]
