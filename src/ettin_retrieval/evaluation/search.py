"""Exact search behind mteb's interface: an object with its own index and search methods."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from mteb.models.model_meta import ModelMeta, ScoringFunction
from tqdm.auto import tqdm

from ettin_retrieval.encoders.embedding_cache import EmbeddingCache, Embeddings
from ettin_retrieval.encoders.encode import SHARD, encode, encode_shards
from ettin_retrieval.evaluation.corpus import Corpus, Rows, corpus_of, passage_texts
from ettin_retrieval.evaluation.duplicates import Duplicates
from ettin_retrieval.evaluation.topk import TopK, merged
from ettin_retrieval.runtime.distributed import all_gather, rank_and_world_size
from ettin_retrieval.settings.schema import Evaluation

if TYPE_CHECKING:
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer


def shards_of_rank(shards: int, rank: int, world_size: int) -> tuple[list[int], list[int]]:
    """Numbers of the shards that a rank encodes alone, and of those that all ranks share.

    Shared are those that whole rounds leave over, so that even a corpus of one shard is the work
    of all.

    >>> shards_of_rank(5, 0, 2), shards_of_rank(5, 1, 2), shards_of_rank(1, 0, 4)
    (([0, 2], [4]), ([1, 3], [4]), ([], [0]))
    """
    rounds = shards - shards % world_size
    return list(range(rank, rounds, world_size)), list(range(rounds, shards))


class ExactSearch:
    """Encodes a corpus shard by shard and keeps each query's best passages.

    mteb calls `index` and `search`; the metadata that it keys results on carries the
    checkpoint's identity as revision, so two checkpoints never share a result. Under `torchrun`
    each process takes its share of the work, and all end with the same result. Passages of the
    same text are encoded once.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        checkpoint: dict[str, Any],
        name: str,
        evaluation: Evaluation,
        batch_size: int = 32,
    ) -> None:
        self.model = model
        cached = evaluation.cache_embeddings
        self.cache = EmbeddingCache(checkpoint["fingerprint"]) if cached else None
        self.batch_size = batch_size
        self.evaluation = evaluation
        self.mteb_model_meta = model_meta(checkpoint, name, evaluation)
        self.corpus: Corpus | None = None

    def index(self, corpus: Corpus | Dataset, **_: Any) -> None:
        """Remember the corpus; it is encoded while searching, shard by shard."""
        self.corpus = corpus_of(corpus)

    def search(self, queries: Dataset, *, top_k: int, **_: Any) -> dict[str, dict[str, float]]:
        """The `top_k` passages of highest inner product of each query; of equals, the earlier."""
        if self.corpus is None:
            raise RuntimeError("search is called before index")
        vectors = self._encode_queries(list(queries["text"]))
        scores, rows = self._nearest(self.corpus, vectors, top_k)
        results = named(self.corpus, queries["id"], scores, rows)
        self.corpus = None
        return results

    def _nearest(self, corpus: Corpus, queries: Embeddings, k: int) -> tuple[Embeddings, Rows]:
        """Scores and rows of each query's best passages, as `TopK.ranked` gives them."""
        shards = range(-(-len(corpus) // SHARD))
        copies = Duplicates.among(passage_texts(part) for part in corpus.shards(SHARD, shards))
        best = TopK(len(queries), k, getattr(self.model, "device", "cpu"))
        progress = tqdm(total=len(corpus), desc="corpus", unit="passage")
        rank, ranks = rank_and_world_size()
        alone, together = shards_of_rank(len(shards), rank, ranks)
        for numbers, shared in ((alone, False), (together, True)):
            rows = {n: copies.originals_in(n * SHARD, (n + 1) * SHARD) for n in numbers}
            numbers = [number for number in numbers if len(rows[number])]
            texts = self._texts(corpus, {number: rows[number] for number in numbers})
            embedded = self._encode_passages(texts, shared)
            for number, passages in zip(numbers, embedded, strict=True):
                if not shared or number % ranks == rank:
                    best.add(queries, passages, rows[number])
                progress.update(len(passages))
        progress.close()
        parts = all_gather(best.ranked())
        return copies.put_back(*(parts[0] if len(parts) == 1 else merged(parts, k)))

    def _texts(self, corpus: Corpus, rows: dict[int, Rows]) -> Iterator[list[str]]:
        """Texts of rows, given by number of shard."""
        for number, part in zip(rows, corpus.shards(SHARD, list(rows)), strict=True):
            texts = passage_texts(part)
            yield [texts[row] for row in (rows[number] - number * SHARD).tolist()]

    def _encode_queries(self, texts: list[str]) -> Embeddings:
        return encode(
            self.model,
            texts,
            "query",
            batch_size=self.batch_size,
            precision=self.evaluation.precision,
            shared=True,
        )

    def _encode_passages(self, shards: Iterable[list[str]], shared: bool) -> Iterator[Embeddings]:
        return encode_shards(
            self.model,
            shards,
            "passage",
            batch_size=self.batch_size,
            precision=self.evaluation.precision,
            cache=self.cache,
            shared=shared,
        )


def named(
    corpus: Corpus, query_ids: Iterable[str], scores: Embeddings, rows: Rows
) -> dict[str, dict[str, float]]:
    """Query id to {passage id: score}, in falling order of score; rows of -1 are left out."""
    hit = np.zeros(len(corpus), dtype=np.bool_)
    hit[rows[rows >= 0]] = True
    ids = np.array(corpus.ids(np.flatnonzero(hit)), dtype=object)
    # Of a row that is hit, its place among those.
    place = hit.cumsum(dtype=np.int32) - np.int32(1)
    counts = (rows >= 0).sum(axis=1).tolist()
    results = {}
    for query_id, found, given, count in zip(query_ids, rows, scores, counts, strict=True):
        names = ids[place[found[:count]]].tolist()
        results[query_id] = dict(zip(names, given[:count].tolist(), strict=True))
    return results


def model_meta(checkpoint: dict[str, Any], name: str, evaluation: Evaluation) -> ModelMeta:
    """What mteb records of the model: its revision is the checkpoint's identity."""
    return ModelMeta(
        loader=None,
        name=name,
        revision=checkpoint["fingerprint"][:40],
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
