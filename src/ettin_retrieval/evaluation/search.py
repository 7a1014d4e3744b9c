"""Exact search behind mteb's interface: an object with its own index and search methods."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from mteb.models.model_meta import ModelMeta, ScoringFunction
from tqdm.auto import tqdm

from ettin_retrieval.encoding import (
    SHARD,
    Crew,
    Embeddings,
    KeptEmbeddings,
    encode,
    encode_shards,
)
from ettin_retrieval.evaluation.copies import Copies
from ettin_retrieval.evaluation.corpus import Corpus, Rows, corpus_of, passage_texts
from ettin_retrieval.evaluation.ranks import crew, gathered, rank_and_ranks, shares
from ettin_retrieval.params import Evaluation

if TYPE_CHECKING:
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer

QUERIES_AT_ONCE = 512
"""Queries per matrix product: bounds the scores in memory to this many times a shard."""


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
    ) -> None:
        self.model = model
        keep = evaluation.keep_embeddings
        self.keep = KeptEmbeddings(checkpoint["identity"]) if keep else None
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
        copies = Copies.among(passage_texts(part) for part in corpus.shards(SHARD, shards))
        best = TopK(len(queries), k, getattr(self.model, "device", "cpu"))
        progress = tqdm(total=len(corpus), desc="corpus", unit="passage")
        rank, ranks = rank_and_ranks()
        alone, together = shares(len(shards), rank, ranks)
        for numbers, sharers in ((alone, None), (together, crew())):
            rows = {n: copies.originals_in(n * SHARD, (n + 1) * SHARD) for n in numbers}
            numbers = [number for number in numbers if len(rows[number])]
            texts = self._texts(corpus, {number: rows[number] for number in numbers})
            embedded = self._encode_passages(texts, sharers)
            for number, passages in zip(numbers, embedded, strict=True):
                if sharers is None or number % ranks == rank:
                    best.add(queries, passages, rows[number])
                progress.update(len(passages))
        progress.close()
        parts = gathered(best.ranked())
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
            batch_size=self.evaluation.batch_size,
            precision=self.evaluation.precision,
            crew=crew(),
        )

    def _encode_passages(
        self, shards: Iterable[list[str]], sharers: Crew | None
    ) -> Iterator[Embeddings]:
        return encode_shards(
            self.model,
            shards,
            "passage",
            batch_size=self.evaluation.batch_size,
            precision=self.evaluation.precision,
            keep=self.keep,
            crew=sharers,
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


class TopK:
    """The k highest scores of each query over all shards seen so far, and their corpus rows.

    Of equal scores the lower rows are kept, whatever the shards.
    """

    def __init__(self, queries: int, k: int, device: torch.device | str = "cpu") -> None:
        self.k = k
        self._scores = torch.empty((queries, 0), device=device)
        self._rows = torch.empty((queries, 0), dtype=torch.int64, device=device)

    def add(self, queries: Embeddings, passages: Embeddings, rows: Rows) -> None:
        """Merge one shard: embeddings of shape (queries, d) and (passages, d).

        Parameters
        ----------
        rows
            Of the passages, rising, and all beyond those of shards that were added before.
        """
        device = self._scores.device
        shard = torch.from_numpy(passages).to(device).T
        shard_rows = torch.from_numpy(rows).to(device)
        parts = -(-len(queries) // QUERIES_AT_ONCE)
        added = []
        for start, stop in pairwise(np.linspace(0, len(queries), parts + 1).astype(int).tolist()):
            part = slice(start, stop)
            found = torch.from_numpy(queries[part]).to(device) @ shard
            added.append(self._with(self._scores[part], self._rows[part], found, shard_rows))
        self._scores, self._rows = (
            torch.cat(of) if parts > 1 else of[0] for of in zip(*added, strict=True)
        )

    def _with(
        self,
        scores: torch.Tensor,
        rows: torch.Tensor,
        found: torch.Tensor,
        found_rows: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The best of what is kept, of shape (queries, kept), and of what was found."""
        columns = torch.arange(found.shape[1], device=found.device).expand_as(found)
        if scores.shape[1] == self.k:
            found, columns = above(found, scores.amin(dim=1, keepdim=True))
        if not scores.shape[1] and found.shape[1] > self.k:
            # The first shard: nothing to merge with.
            best = best_columns(found, columns, self.k)
            return found.gather(1, best), found_rows[best]
        scores = torch.cat([scores, found], dim=1)
        rows = torch.cat([rows, found_rows[columns]], dim=1)
        if scores.shape[1] <= self.k:
            return scores, rows
        best = best_columns(scores, rows, self.k)
        return scores.gather(1, best), rows.gather(1, best)

    def ranked(self) -> tuple[Embeddings, Rows]:
        """Scores, falling, and rows, rising where scores are equal, each of shape (queries, k).

        Where there are fewer than k passages, the scores end with -inf and the rows with -1.
        """
        rows, by_row = self._rows.sort(dim=1)
        scores, order = self._scores.gather(1, by_row).sort(dim=1, stable=True, descending=True)
        missing = (0, self.k - scores.shape[1])
        scores = torch.nn.functional.pad(scores, missing, value=-torch.inf)
        rows = torch.nn.functional.pad(rows.gather(1, order), missing, value=-1)
        return scores.cpu().numpy(), rows.cpu().numpy()


def above(scores: torch.Tensor, lowest: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores above a bound of their row, of shape (rows, 1), and their columns, moved together.

    Once the first shards have set the bounds few scores are above them, and what is left costs
    next to nothing to merge. Rows with fewer than others end with -inf.

    >>> scores = torch.tensor([[1.0, 3.0, 2.0, 0.0, 0.0], [0.0, 0.0, 5.0, 0.0, 0.0]])
    >>> [part.tolist() for part in above(scores, torch.tensor([[1.5], [4.0]]))]
    [[[3.0, 2.0], [5.0, -inf]], [[1, 2], [2, 0]]]
    """
    row, column = (scores > lowest).nonzero().unbind(dim=1)
    counts = row.bincount(minlength=len(scores))
    place = torch.arange(len(row), device=scores.device) - (counts.cumsum(0) - counts)[row]
    width = int(counts.max())
    kept = scores.new_full((len(scores), width), -torch.inf)
    columns = torch.zeros_like(kept, dtype=torch.int64)
    kept[row, place] = scores[row, column]
    columns[row, place] = column
    return kept, columns


def best_columns(scores: torch.Tensor, rows: torch.Tensor, k: int) -> torch.Tensor:
    """The columns of each query's k highest scores, in any order; of equal ones the lower rows.

    There are more than k columns; `rows` says which passage a score is of.

    >>> best = best_columns(torch.tensor([[2.0, 1.0, 2.0, 3.0]]), torch.tensor([[7, 8, 5, 6]]), 2)
    >>> sorted(best[0].tolist())
    [2, 3]
    """
    values, columns = torch.topk(scores, k + 1, dim=1, sorted=False)
    # One too many, to see whether it equals the last: the lowest goes, the last takes its place.
    lowest = values.argmin(dim=1, keepdim=True)
    left_out = values.gather(1, lowest)
    values = values.scatter(1, lowest, values[:, k:])[:, :k]
    columns = columns.scatter(1, lowest, columns[:, k:])[:, :k]
    least = values.amin(dim=1, keepdim=True)
    # topk takes any of the scores that equal the lowest one: where one is left, take the first.
    for query in ((least == left_out) & (least > -torch.inf)).nonzero()[:, 0].tolist():
        higher = columns[query][values[query] > least[query]]
        equal = (scores[query] == least[query]).nonzero()[:, 0]
        first = equal[rows[query][equal].argsort()[: k - len(higher)]]
        columns[query] = torch.cat([higher, first])
    return columns


def merged(parts: list[tuple[Embeddings, Rows]], k: int) -> tuple[Embeddings, Rows]:
    """The k best of several searches over different shards, as `TopK.ranked` gives them."""
    scores, rows = (np.concatenate(arrays, axis=1) for arrays in zip(*parts, strict=True))
    order = np.lexsort((rows, -scores), axis=1)[:, :k]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)


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
