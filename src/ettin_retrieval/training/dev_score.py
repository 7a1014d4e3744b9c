"""The development score, which picks the checkpoint."""

from __future__ import annotations

from typing import Any

import torch
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator
from sentence_transformers.util import cos_sim, dot_score

from ettin_retrieval.data.dataset import RetrievalDataset
from ettin_retrieval.encoders.encode import TextEncoder
from ettin_retrieval.encoders.tokenise import Role
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.training.memory import is_out_of_memory

DEV_METRIC = "dev_similarity_ndcg@10"
"""nDCG@10, a fraction, among the evaluator's scores, whatever the encoder's similarity is."""

LOGGED_DEV_METRIC = f"eval_{DEV_METRIC}"
"""Its name in the trainer's log."""


class DevEvaluator(InformationRetrievalEvaluator):
    """nDCG@10 and MRR@10 over development queries and their corpus, encoded as in evaluation.

    Parameters
    ----------
    batch_size
        See `encode`.
    similarity
        `cosine` or `dot`: the one that the encoder is trained and searched by.
    """

    def __init__(self, dev: RetrievalDataset, batch_size: int, similarity: str = "cosine") -> None:
        super().__init__(
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

    def __call__(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Scores by metric; out-of-memory is an InputError of its own kind.

        Smaller training batches would not help.
        """
        try:
            return super().__call__(*args, **kwargs)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise InputError(
                "finetuning: out of memory while the development set was scored; set a smaller "
                f"encoding.batch_size than {self.batch_size}"
            ) from None

    def embed_inputs(
        self, model: Any, sentences: Any, encode_fn_name: str | None = None, *_: Any, **__: Any
    ) -> Any:
        """Embeddings of shape (len(sentences), dimension)."""
        role: Role = "query" if encode_fn_name == "query" else "passage"
        return torch.from_numpy(TextEncoder(model, self.batch_size).encode(list(sentences), role))
