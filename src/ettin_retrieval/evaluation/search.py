"""Exact search behind mteb's interface."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Any, TypedDict

import numpy as np
import torch
from datasets import Dataset
from mteb.models.model_meta import ModelMeta, ScoringFunction
from tqdm.auto import tqdm

from ettin_retrieval.encoders.encode import SHARD, Embeddings, TextEncoder
from ettin_retrieval.encoders.tokenise import Lengths, Role, max_length_of, tokenise
from ettin_retrieval.evaluation.corpus import Corpus, DistinctTexts, Rows
from ettin_retrieval.runtime.distributed import all_gather, rank_and_world_size
from ettin_retrieval.settings.sections import Precision


class Cut(TypedDict):
    """What a search cut, and how long the texts are.

    `queries` and `passages` are two numbers: of the texts that were cut, and of all. `mean_tokens`
    has their mean lengths before that, prompts and special tokens included, rounded to 0.01.
    """

    queries: list[int]
    passages: list[int]
    mean_tokens: dict[str, float]


QUERIES_AT_ONCE = 512
"""Queries per matrix product: caps the scores in memory at this many times a shard."""


class ExactSearch:
    """Encodes a corpus shard by shard and keeps each query's best passages.

    mteb calls `index` and `search`. Passages with equal texts are encoded once. Under `torchrun`
    the ranks share the work, and all of them return the same result. `checkpoint` is the record.

    Attributes
    ----------
    cut
        What the last search cut; None for an encoder that is not a SentenceTransformer.
    """

    cut: Cut | None = None

    def __init__(self, encoder: TextEncoder, checkpoint: dict[str, Any]) -> None:
        self.encoder = encoder
        name = f"ettin-retrieval/{checkpoint['fingerprint'][:12]}"
        self.mteb_model_meta = model_meta(checkpoint, name, encoder.precision)
        self.corpus: Corpus | None = None

    def index(self, corpus: Corpus | Dataset, **_: Any) -> None:
        """Keep the corpus for `search`, which encodes it."""
        self.corpus = corpus if isinstance(corpus, Corpus) else Corpus(corpus)

    def search(self, queries: Dataset, *, top_k: int, **_: Any) -> dict[str, dict[str, float]]:
        """The `top_k` passages of highest inner product per query; of equal scores the earlier."""
        if self.corpus is None:
            raise RuntimeError("search is called before index")
        texts = list(queries["text"])
        vectors = self.encoder.encode(texts, "query", shared=True)
        scores, rows, lengths = self._nearest(self.corpus, vectors, top_k)
        self.cut = None
        if lengths is not None:
            of_queries = tokenise(self.encoder.model, texts, "query").whole
            cut, tokens = self._cut(of_queries, "query")
            # Each rank knows the lengths of the shards that it counts; elsewhere they are 0.
            parts = np.array(all_gather(self._cut(lengths, "passage"))).sum(axis=0).tolist()
            self.cut = {
                "queries": [cut, len(texts)],
                "passages": [parts[0], len(self.corpus)],
                "mean_tokens": {
                    "queries": round(tokens / max(len(texts), 1), 2),
                    "passages": round(parts[1] / max(len(self.corpus), 1), 2),
                },
            }
        results = with_ids(self.corpus, queries["id"], scores, rows)
        self.corpus = None
        return results

    def _cut(self, lengths: Lengths, role: Role) -> tuple[int, int]:
        """How many texts of these lengths are cut, and their tokens before that."""
        longest = max_length_of(self.encoder.model, role)
        cut = 0 if longest is None else int((lengths > longest).sum())
        return cut, int(lengths.sum(dtype=np.int64))

    def _nearest(
        self, corpus: Corpus, queries: Embeddings, k: int
    ) -> tuple[Embeddings, Rows, Lengths | None]:
        """Scores and rows of each query's best passages, in order of rank; lengths of passages.

        The lengths are 0 in shards that another rank counts, and None if the encoder has none.
        """
        shards = range(-(-len(corpus) // SHARD))
        texts = DistinctTexts(corpus.shards(SHARD, shards))
        best = TopK(len(queries), k, getattr(self.encoder.model, "device", "cpu"))
        rank, world_size = rank_and_world_size()
        of_shards: list[Lengths] = []
        lengths = np.zeros(len(corpus), dtype=np.int32)
        alone, together = shards_of_rank(len(shards), rank, world_size)
        with tqdm(total=len(corpus), desc="corpus", unit="passage") as progress:
            for numbers, shared in ((alone, False), (together, True)):
                distinct = {n: rows for n in numbers if len(rows := texts.shard(n, SHARD))}
                parts = _texts(corpus, distinct)
                embeddings = self.encoder.encode_shards(parts, "passage", shared, of_shards)
                for number, passages in zip(distinct, embeddings, strict=True):
                    of_shard = of_shards.pop() if of_shards else None
                    if not shared or number % world_size == rank:
                        best.add(queries, passages, distinct[number])
                        if of_shard is not None:
                            lengths[distinct[number]] = of_shard
                    progress.update(len(passages))
        found = all_gather(best.ranked())
        scores, rows = found[0] if len(found) == 1 else merged(found, k)
        counted = lengths[texts.first] if hasattr(self.encoder.model, "preprocess") else None
        return *texts.restore(scores, rows, k), counted


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
    retrieved, place = np.unique(rows, return_inverse=True)
    ids = np.array(corpus.ids(retrieved), dtype=object)[place]
    return {
        query_id: dict(zip(found.tolist(), values.tolist(), strict=True))
        for query_id, found, values in zip(query_ids, ids, scores, strict=True)
    }


class TopK:
    """The k highest scores of each query over all shards so far, with their corpus rows.

    Scores are kept in descending order, equal ones by ascending row, however the corpus is cut.
    """

    def __init__(self, queries: int, k: int, device: torch.device | str = "cpu") -> None:
        self.k = k
        self._scores = torch.empty((queries, 0), device=device)
        self._rows = torch.empty((queries, 0), dtype=torch.int64, device=device)

    def add(self, queries: Embeddings, passages: Embeddings, rows: Rows) -> None:
        """Merge one shard: embeddings of shape (queries, d) and (passages, d), and corpus rows.

        Rows are ascending, and all above those of earlier shards.
        """
        device = self._scores.device
        shard = torch.from_numpy(passages).to(device).T
        self._merge(lambda part: torch.from_numpy(queries[part]).to(device) @ shard, rows)

    def add_scores(self, scores: Embeddings, rows: Rows) -> None:
        """Merge one shard: scores of shape (queries, passages), and corpus rows as in `add`."""
        self._merge(lambda part: torch.from_numpy(scores[part]).to(self._scores.device), rows)

    def _merge(self, scores_of: Callable[[slice], torch.Tensor], rows: Rows) -> None:
        shard_rows = torch.from_numpy(rows).to(self._scores.device)
        queries = len(self._scores)
        parts = -(-queries // QUERIES_AT_ONCE)
        merged = []
        for start, stop in pairwise(np.linspace(0, queries, parts + 1).astype(int).tolist()):
            kept, kept_rows = self._scores[start:stop], self._rows[start:stop]
            scores = scores_of(slice(start, stop))
            lowest = kept[:, -1:]  # each query's k-th highest score
            if kept.shape[1] < self.k:
                best = scores.topk(min(self.k, scores.shape[1]), dim=1, sorted=False).values
                lowest = best.amin(dim=1, keepdim=True)
            found, found_rows = at_least(lowest, scores, shard_rows)
            # Stable, so that equal scores stay in order of row.
            ranked, order = torch.cat([kept, found], dim=1).sort(
                dim=1, stable=True, descending=True
            )
            ranked_rows = torch.cat([kept_rows, found_rows], dim=1).gather(1, order[:, : self.k])
            merged.append((ranked[:, : self.k], ranked_rows))
        self._scores, self._rows = (torch.cat(tensors) for tensors in zip(*merged, strict=True))

    def ranked(self) -> tuple[Embeddings, Rows]:
        """Scores and rows in order of rank, of shape (queries, k), or narrower for few passages."""
        return self._scores.cpu().numpy(), self._rows.cpu().numpy()


def at_least(
    lowest: torch.Tensor, scores: torch.Tensor, rows: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores of at least each query's bound and their corpus rows, packed to the left.

    Once the first shards have set the bounds, few scores are left to sort. Shapes of the arguments
    are (queries, 1), (queries, passages) and (passages,).

    >>> scores = torch.tensor([[1.0, 3.0, 2.0, 0.0], [0.0, 0.0, 5.0, 0.0]])
    >>> packed = at_least(torch.tensor([[2.0], [4.0]]), scores, torch.tensor([6, 7, 8, 9]))
    >>> [part.tolist() for part in packed]
    [[[3.0, 2.0], [5.0, -inf]], [[7, 8], [8, -1]]]
    """
    query, passage = (scores >= lowest).nonzero().unbind(dim=1)
    counts = query.bincount(minlength=len(scores))
    place = torch.arange(len(query), device=scores.device) - (counts.cumsum(0) - counts)[query]
    packed = scores.new_full((len(scores), int(counts.max())), -torch.inf)
    packed_rows = torch.full_like(packed, -1, dtype=torch.int64)
    packed[query, place] = scores[query, passage]
    packed_rows[query, place] = rows[passage]
    return packed, packed_rows


def merged(parts: list[tuple[Embeddings, Rows]], k: int) -> tuple[Embeddings, Rows]:
    """The k best of several searches over different shards, as `TopK.ranked` returns them."""
    scores, rows = (np.concatenate(arrays, axis=1) for arrays in zip(*parts, strict=True))
    order = np.lexsort((rows, -scores), axis=1)[:, :k]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)


def model_meta(
    checkpoint: dict[str, Any], name: str, precision: Precision | None = None
) -> ModelMeta:
    """mteb's description of a checkpoint.

    Its revision is the fingerprint, so two checkpoints never share a result in mteb. A precision
    makes it an experiment with that model, which mteb files separately.
    """
    similarity = ScoringFunction.COSINE if checkpoint["normalize"] else ScoringFunction.DOT_PRODUCT
    longest = checkpoint["max_passage_length"]
    return ModelMeta.create_empty(
        {
            "name": name,
            "revision": checkpoint["fingerprint"][:40],
            "languages": ["eng-Latn"],
            "n_parameters": checkpoint["parameters"],
            "max_tokens": None if longest is None else float(longest),
            "embed_dim": checkpoint["embedding_dimension"],
            "open_weights": True,
            "framework": ["Sentence Transformers", "PyTorch"],
            "similarity_fn_name": similarity,
            "use_instructions": False,
            "experiment_kwargs": precision and {"precision": precision},
        }
    )
