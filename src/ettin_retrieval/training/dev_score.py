"""TODO: training.dev_score."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from ettin_retrieval.data.dataset import RetrievalDataset
from ettin_retrieval.encoders.encode import encode
from ettin_retrieval.encoders.tokenise import Role

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.evaluation import BaseEvaluator

DEV_METRIC = "dev_similarity_ndcg@10"
"""The development score that picks the checkpoint, whatever the encoder's similarity is."""


def dev_evaluator(
    dev: RetrievalDataset, batch_size: int, similarity: str = "cosine"
) -> BaseEvaluator:
    """nDCG@10 and MRR@10 over the development queries and their corpus.

    Parameters
    ----------
    batch_size
        As `encode` takes it: texts are encoded as in mining and evaluation.
    similarity
        `cosine` or `dot`: what the encoder is trained and searched by.
    """
    from sentence_transformers.sentence_transformer.evaluation import (
        InformationRetrievalEvaluator,
    )
    from sentence_transformers.util import cos_sim, dot_score

    class DevEvaluator(InformationRetrievalEvaluator):
        def embed_inputs(  # type: ignore[override]
            self, model: Any, sentences: Any, encode_fn_name: str, **_: Any
        ) -> Any:
            role: Role = "query" if encode_fn_name == "query" else "passage"
            vectors = encode(model, list(sentences), role, batch_size=batch_size)
            return torch.from_numpy(vectors)

    return DevEvaluator(
        queries=dict(zip(dev.queries["id"], dev.queries["text"], strict=True)),
        corpus=dict(zip(dev.corpus["id"], dev.passage_texts(), strict=True)),
        relevant_docs={q: set(p) for q, p in dev.positives().items()},
        name="dev",
        accuracy_at_k=[1],
        precision_recall_at_k=[10],
        map_at_k=[100],
        write_csv=False,
        score_functions={"similarity": dot_score if similarity == "dot" else cos_sim},
    )


def dev_score(evaluator: BaseEvaluator, model: SentenceTransformer) -> float:
    """nDCG@10 on the development set, a fraction."""
    scores = evaluator(model)
    if not isinstance(scores, dict):
        raise TypeError("the development evaluator returns named scores")
    return float(scores[DEV_METRIC])
