"""Exact search behind mteb's interface: an object with its own index and search methods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from mteb.models.model_meta import ModelMeta, ScoringFunction
from tqdm.auto import tqdm

from ettin_retrieval.encoding import Embeddings, KeptEmbeddings, encode
from ettin_retrieval.params import Evaluation

if TYPE_CHECKING:
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer

SHARD = 50_000
"""Passages encoded and searched at a time: bounds memory whatever the corpus."""


class ExactSearch:
    """Encodes a corpus shard by shard and keeps each query's best passages.

    mteb calls `index` and `search`; the metadata that it keys results on carries the
    checkpoint's identity as revision, so two checkpoints never share a result.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        checkpoint: dict[str, Any],
        name: str,
        evaluation: Evaluation,
    ) -> None:
        self.model = model
        keep = evaluation.keep_embeddings
        self.keep = KeptEmbeddings(checkpoint["identity"]) if keep else None
        self.evaluation = evaluation
        self.mteb_model_meta = model_meta(checkpoint, name, evaluation)
        self.corpus: Dataset | None = None

    def index(self, corpus: Dataset, **_: Any) -> None:
        """Remember the corpus; it is encoded while searching, shard by shard."""
        self.corpus = corpus

    def search(self, queries: Dataset, *, top_k: int, **_: Any) -> dict[str, dict[str, float]]:
        """The `top_k` passages of highest inner product of each query."""
        if self.corpus is None:
            raise RuntimeError("search is called before index")
        vectors = self._encode(list(queries["text"]), "query")
        best = TopK(len(vectors), top_k)
        ids: list[str] = list(self.corpus["id"])
        for start in tqdm(range(0, len(ids), SHARD), desc="corpus shards", unit="shard"):
            shard = self.corpus[start : start + SHARD]
            texts = [
                f"{title} {text}".strip() if title else text.strip()
                for title, text in zip(shard["title"], shard["text"], strict=True)
            ]
            best.add(vectors, self._encode(texts, "passage"), start)
        self.corpus = None
        return {
            query_id: {ids[r]: s for s, r in zip(scores, rows, strict=True) if r >= 0}
            for query_id, scores, rows in zip(
                list(queries["id"]), best.scores.tolist(), best.rows.tolist(), strict=True
            )
        }

    def _encode(self, texts: list[str], role: Any) -> Embeddings:
        return encode(
            self.model,
            texts,
            role,
            batch_size=self.evaluation.batch_size,
            precision=self.evaluation.precision,
            keep=self.keep if role == "passage" else None,
        )


class TopK:
    """The k highest scores of each query over all shards seen so far.

    Attributes
    ----------
    scores
        Shape (queries, k), falling; -inf where there are fewer than k passages.
    rows
        Corpus rows of the scores, same shape; -1 where there is none.
    """

    def __init__(self, queries: int, k: int) -> None:
        self.k = k
        self.scores: Embeddings = np.full((queries, 0), -np.inf, dtype=np.float32)
        self.rows: npt.NDArray[np.int64] = np.full((queries, 0), -1, dtype=np.int64)

    def add(self, queries: Embeddings, passages: Embeddings, first_row: int) -> None:
        """Merge one shard: embeddings of shape (queries, d) and (passages, d)."""
        scores = torch.from_numpy(queries) @ torch.from_numpy(passages).T
        best, rows = torch.topk(scores, min(self.k, scores.shape[1]), dim=1)
        merged = np.concatenate([self.scores, best.numpy()], axis=1)
        candidates = np.concatenate([self.rows, rows.numpy() + first_row], axis=1)
        # Stable: of two equal scores the earlier row stays in front.
        order = np.argsort(-merged, axis=1, kind="stable")[:, : self.k]
        self.scores = np.take_along_axis(merged, order, axis=1)
        self.rows = np.take_along_axis(candidates, order, axis=1)


def model_meta(checkpoint: dict[str, Any], name: str, evaluation: Evaluation) -> ModelMeta:
    """What mteb records of the model: its revision is the checkpoint's identity."""
    return ModelMeta(
        loader=None,
        name=name,
        revision=checkpoint["identity"][:40],
        release_date=None,
        languages=["eng-Latn"],
        n_parameters=checkpoint["parameters"],
        memory_usage_mb=None,
        max_tokens=checkpoint["max_passage_length"],
        embed_dim=checkpoint["embedding_dimension"],
        license=None,
        open_weights=True,
        public_training_code=None,
        public_training_data=None,
        framework=["Sentence Transformers", "PyTorch"],
        similarity_fn_name=(
            ScoringFunction.COSINE if checkpoint["normalize"] else ScoringFunction.DOT_PRODUCT
        ),
        use_instructions=False,
        training_datasets=None,
        experiment_kwargs={"precision": evaluation.precision},
    )
