"""The development score, which picks the checkpoint."""

from __future__ import annotations

from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.evaluation import BaseEvaluator
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator
from sentence_transformers.util import cos_sim, dot_score

from ettin_retrieval.data.dataset import RetrievalDataset
from ettin_retrieval.encoders.encode import encode
from ettin_retrieval.encoders.tokenise import Role

DEV_METRIC = "dev_similarity_ndcg@10"
"""Its name among the evaluator's scores, whatever the encoder's similarity is."""

LOGGED_DEV_METRIC = f"eval_{DEV_METRIC}"
"""Its name in the trainer's log."""


class DevEvaluator(InformationRetrievalEvaluator):
    """Encodes texts as mining and evaluation do."""

    def embed_inputs(
        self, model: Any, sentences: Any, encode_fn_name: str | None = None, *_: Any, **__: Any
    ) -> Any:
        """Embeddings of shape (len(sentences), dimension)."""
        role: Role = "query" if encode_fn_name == "query" else "passage"
        return torch.from_numpy(encode(model, list(sentences), role, batch_size=self.batch_size))


def dev_evaluator(
    dev: RetrievalDataset, batch_size: int, similarity: str = "cosine"
) -> DevEvaluator:
    """nDCG@10 and MRR@10 over the development queries and their corpus.

    Parameters
    ----------
    batch_size
        See `encode`.
    similarity
        `cosine` or `dot`: the one that the encoder is trained and searched by.
    """
    return DevEvaluator(
        queries=dict(zip(dev.queries["id"], dev.queries["text"], strict=True)),
        corpus=dict(zip(dev.corpus["id"], dev.passage_texts(), strict=True)),
        relevant_docs={query: set(passages) for query, passages in dev.positives().items()},
        name="dev",
        accuracy_at_k=[1],
        precision_recall_at_k=[10],
        map_at_k=[100],
        batch_size=batch_size,
        write_csv=False,
        score_functions={"similarity": dot_score if similarity == "dot" else cos_sim},
    )


def dev_score(evaluator: BaseEvaluator, model: SentenceTransformer) -> float:
    """nDCG@10 on the development set, a fraction."""
    scores: Any = evaluator(model)
    return float(scores[DEV_METRIC])
