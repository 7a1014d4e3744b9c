"""Exact search behind mteb's interface."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from datasets import Dataset
from mteb.models.model_meta import ModelMeta, ScoringFunction
from tqdm.auto import tqdm

from ettin_retrieval.encoders.embedding_cache import EmbeddingCache, Embeddings
from ettin_retrieval.encoders.encode import SHARD, encode, encode_shards
from ettin_retrieval.evaluation.corpus import Corpus, LoadedCorpus, Rows
from ettin_retrieval.evaluation.duplicates import Duplicates
from ettin_retrieval.evaluation.topk import TopK, merged
from ettin_retrieval.runtime.distributed import all_gather, rank_and_world_size
from ettin_retrieval.settings.sections import Precision

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


class ExactSearch:
    """Encodes a corpus shard by shard and keeps each query's best passages.

    mteb calls `index` and `search`. Passages with equal texts are encoded once. Under `torchrun`
    the ranks share the work, and all of them return the same result.

    Parameters
    ----------
    model
        A SentenceTransformer, or any object with `encode_query` and `encode_document`.
    checkpoint
        The checkpoint's record, with its fingerprint.
    precision, batch_size
        As in `encode`.
    cache
        Passage embeddings to read and to add to.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        checkpoint: dict[str, Any],
        *,
        precision: Precision = "fp32",
        batch_size: int = 32,
        cache: EmbeddingCache | None = None,
    ) -> None:
        self.model = model
        self.precision = precision
        self.batch_size = batch_size
        self.cache = cache
        name = f"ettin-retrieval/{checkpoint['fingerprint'][:12]}"
        self.mteb_model_meta = model_meta(checkpoint, name, precision)
        self.corpus: Corpus | None = None

    def index(self, corpus: Corpus | Dataset, **_: Any) -> None:
        """Keep the corpus for `search`, which encodes it."""
        self.corpus = LoadedCorpus(corpus) if isinstance(corpus, Dataset) else corpus

    def search(self, queries: Dataset, *, top_k: int, **_: Any) -> dict[str, dict[str, float]]:
        """The `top_k` passages of highest inner product per query; of equal scores the earlier."""
        if self.corpus is None:
            raise RuntimeError("search is called before index")
        vectors = encode(
            self.model,
            list(queries["text"]),
            "query",
            batch_size=self.batch_size,
            precision=self.precision,
            shared=True,
        )
        scores, rows = self._nearest(self.corpus, vectors, top_k)
        results = with_ids(self.corpus, queries["id"], scores, rows)
        self.corpus = None
        return results

    def _nearest(self, corpus: Corpus, queries: Embeddings, k: int) -> tuple[Embeddings, Rows]:
        """Scores and rows of each query's best passages, in order of rank."""
        shards = range(-(-len(corpus) // SHARD))
        duplicates = Duplicates.among(corpus.shards(SHARD, shards))
        best = TopK(len(queries), k, getattr(self.model, "device", "cpu"))
        rank, world_size = rank_and_world_size()
        alone, together = shards_of_rank(len(shards), rank, world_size)
        with tqdm(total=len(corpus), desc="corpus", unit="passage") as progress:
            for numbers, shared in ((alone, False), (together, True)):
                originals = {
                    n: rows for n in numbers if len(rows := duplicates.originals_in(n, SHARD))
                }
                embeddings = encode_shards(
                    self.model,
                    _texts(corpus, originals),
                    "passage",
                    batch_size=self.batch_size,
                    precision=self.precision,
                    cache=self.cache,
                    shared=shared,
                )
                for number, passages in zip(originals, embeddings, strict=True):
                    if not shared or number % world_size == rank:
                        best.add(queries, passages, originals[number])
                    progress.update(len(passages))
        parts = all_gather(best.ranked())
        scores, rows = parts[0] if len(parts) == 1 else merged(parts, k)
        return duplicates.restore(scores, rows, k)


def shards_of_rank(shards: int, rank: int, world_size: int) -> tuple[list[int], list[int]]:
    """Numbers of the shards that a rank encodes alone, and of those that all ranks share.

    The ranks share what full rounds leave over, so even a corpus of one shard occupies all.

    >>> shards_of_rank(5, 0, 2), shards_of_rank(5, 1, 2), shards_of_rank(1, 0, 4)
    (([0, 2], [4]), ([1, 3], [4]), ([], [0]))
    """
    rounds = shards - shards % world_size
    return list(range(rank, rounds, world_size)), list(range(rounds, shards))


def _texts(corpus: Corpus, rows: dict[int, Rows]) -> Iterator[list[str]]:
    """Texts of corpus rows, which are given by number of shard."""
    for number, texts in zip(rows, corpus.shards(SHARD, rows), strict=True):
        yield [texts[row] for row in (rows[number] - number * SHARD).tolist()]


def with_ids(
    corpus: Corpus, query_ids: Iterable[str], scores: Embeddings, rows: Rows
) -> dict[str, dict[str, float]]:
    """Query id to {passage id: score}, in order of rank."""
    retrieved = np.zeros(len(corpus), dtype=np.bool_)
    retrieved[rows] = True
    ids = np.array(corpus.ids(np.flatnonzero(retrieved)), dtype=object)
    # The position of a retrieved row's id in `ids`.
    place = retrieved.cumsum(dtype=np.int32) - 1
    return {
        query_id: dict(zip(ids[place[found]].tolist(), values.tolist(), strict=True))
        for query_id, found, values in zip(query_ids, rows, scores, strict=True)
    }


def model_meta(
    checkpoint: dict[str, Any], name: str, precision: Precision | None = None
) -> ModelMeta:
    """mteb's description of a checkpoint.

    Its revision is the fingerprint, so two checkpoints never share a result in mteb. A precision
    makes it an experiment with that model, which mteb files separately.
    """
    similarity = ScoringFunction.COSINE if checkpoint["normalize"] else ScoringFunction.DOT_PRODUCT
    return ModelMeta.create_empty(
        {
            "name": name,
            "revision": checkpoint["fingerprint"][:40],
            "languages": ["eng-Latn"],
            "n_parameters": checkpoint["parameters"],
            "max_tokens": float(checkpoint["max_passage_length"]),
            "embed_dim": checkpoint["embedding_dimension"],
            "open_weights": True,
            "framework": ["Sentence Transformers", "PyTorch"],
            "similarity_fn_name": similarity,
            "use_instructions": False,
            "experiment_kwargs": precision and {"precision": precision},
        }
    )
