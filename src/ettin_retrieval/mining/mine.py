"""Negatives for each pair of a training query and a positive: random, hard or semi-hard.

Settings are named as in sentence-transformers' `mine_hard_negatives`. Unlike it, mining here is
seeded and exact, orders equal scores by passage id, recognises a positive by its text, and can
take candidates from the query's own passages or from those that a teacher has scored.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from tqdm.auto import trange

from ettin_retrieval.data.dataset import RetrievalDataset
from ettin_retrieval.data.negatives import Pair
from ettin_retrieval.encoders.embedding_cache import EmbeddingCache, Embeddings
from ettin_retrieval.encoders.encode import encode
from ettin_retrieval.mining.candidates import Candidates, Pairs, check_candidates, passage_shards
from ettin_retrieval.mining.eligible import eligible, within_bounds
from ettin_retrieval.mining.passage_index import Numbers, PassageIndex
from ettin_retrieval.mining.report import MiningReport
from ettin_retrieval.mining.sampling import fill, pick
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.settings.schema import Settings

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

BATCH = 1024
"""Queries per search: caps the memory of their candidates."""


def mine(
    dataset: RetrievalDataset,
    model: SentenceTransformer | None,
    settings: Settings,
    cache: EmbeddingCache | None = None,
) -> tuple[list[Pair], MiningReport]:
    """Choose `negatives.num_negatives` negatives for each positive pair of a training set.

    Parameters
    ----------
    model
        Encoder that decides what is near; None for random negatives.
    cache
        Embeddings of passages, shared with the evaluation of the same encoder.

    Raises
    ------
    InputError
        The training set has no candidates of the kind that the settings require.
    """
    candidates = Candidates(dataset, settings)
    if not needs_encoder(settings):
        return _choose(candidates, None, settings)
    if model is None:
        raise ValueError(f"{settings.negatives.sampling} negatives need an encoder")
    batch_size = settings.encoding.batch_size
    blocks = (
        encode(model, texts, "passage", batch_size=batch_size, cache=cache)
        for texts in passage_shards(dataset)
    )
    index = PassageIndex(blocks, candidates.passage_numbers)
    queries = encode(model, dataset.queries["text"].tolist(), "query", batch_size=batch_size)
    return _choose(candidates, Encoded(queries, index), settings)


def choose(
    dataset: RetrievalDataset,
    queries: Embeddings | None,
    passages: Embeddings | None,
    settings: Settings,
) -> tuple[list[Pair], MiningReport]:
    """`mine`, given embeddings of shape (queries, d) and (passages, d); None without an encoder."""
    candidates = Candidates(dataset, settings)
    if queries is None or passages is None:
        return _choose(candidates, None, settings)
    index = PassageIndex([passages], candidates.passage_numbers)
    return _choose(candidates, Encoded(queries, index), settings)


@dataclass(frozen=True)
class Encoded:
    """A training set's embeddings: queries of shape (queries, d), and all passages."""

    queries: Embeddings
    passages: PassageIndex

    def scores(self, query: Numbers, passages: Numbers) -> Embeddings:
        """Similarity of each query to its own passages, of the shape of `passages`."""
        return self.passages.scores(self.queries[query], passages)


def _choose(
    candidates: Candidates, encoded: Encoded | None, settings: Settings
) -> tuple[list[Pair], MiningReport]:
    """Rank candidates, exclude, pick and fill up, a batch of queries at a time."""
    report = MiningReport(pairs_without_teacher=len(candidates.positives) - len(candidates.pairs))
    mined: list[Pair] = []
    total = len(candidates.query_ids)
    for start in trange(0, total, BATCH, desc="choosing negatives", unit="batch"):
        queries = np.arange(start, min(start + BATCH, total))
        scores, passages = _ranked(candidates, encoded, queries, settings.negatives.range_max)
        allowed = eligible(candidates, queries, passages, settings, report)
        for pairs in candidates.pairs_of(queries[0], queries[-1]):
            row = pairs.query - start
            if encoded is None:
                picked = pick(allowed[row], pairs, settings)
            else:
                near = scores[row]
                positive_scores = encoded.scores(pairs.query, pairs.positive[:, None])
                within = within_bounds(near, positive_scores, allowed[row], settings, report)
                picked = pick(within, pairs, settings)
                report.positive_scores.frombytes(positive_scores.tobytes())
                report.negative_scores.frombytes(near[picked].tobytes())
            chosen = np.split(passages[row][picked], picked.sum(axis=1).cumsum()[:-1])
            mined += _filled(candidates, encoded, pairs, chosen, settings, report)
    report.count(mined, settings.negatives.num_negatives)
    if settings.finetuning.objective == "margin_mse" and report.shortfall == report.wanted:
        raise InputError(
            "finetuning.objective: margin_mse found no query whose positive and another "
            "passage both have a teacher's score; score more passages of each query"
        )
    return mined, report


def _ranked(
    candidates: Candidates, encoded: Encoded | None, queries: Numbers, range_max: int
) -> tuple[Embeddings, Numbers]:
    """Scores and numbers of each query's candidates, the nearest first; NaN without an encoder."""
    if encoded is None:
        pool = candidates.pool_of(queries)
        return np.full(pool.shape, np.nan, dtype=np.float32), pool
    vectors = encoded.queries[queries]
    if candidates.pool is None:
        return encoded.passages.nearest(vectors, range_max)
    return encoded.passages.rank(vectors, candidates.pool_of(queries), range_max)


def _filled(
    candidates: Candidates,
    encoded: Encoded | None,
    pairs: Pairs,
    chosen: list[Numbers],
    settings: Settings,
    report: MiningReport,
) -> Iterator[Pair]:
    """Each pair with its chosen negatives, filled up at random."""
    ids = candidates.passage_ids
    queries, positives = pairs.query.tolist(), pairs.positive.tolist()
    for query, positive, negatives in zip(queries, positives, chosen, strict=True):
        drawn = fill(candidates, query, negatives, settings)
        if len(drawn) and encoded is not None:
            scores = encoded.scores(np.array([query]), drawn[None])
            report.negative_scores.frombytes(scores.tobytes())
        if encoded is not None or candidates.pool is not None:
            report.filled_at_random += len(drawn)
        negatives = np.concatenate([negatives, drawn])
        yield candidates.query_ids[query], ids[positive], ids[negatives].tolist()


def needs_encoder(settings: Settings) -> bool:
    """Whether negatives are chosen by similarity."""
    return settings.negatives.sampling != "random" and settings.negatives.num_negatives > 0


def check_negatives(dataset: RetrievalDataset, settings: Settings) -> None:
    """Refuse settings that this training set has no negatives for, before anything is encoded.

    Raises
    ------
    InputError
        See `check_candidates`; or `negatives.num_negatives` is more than the corpus has passages
        beside a query's positives.
    """
    check_candidates(dataset, settings)
    positives = dataset.qrels["query_id"][dataset.qrels["score"] > 0]
    most = len(dataset.corpus) - int(positives.value_counts().max())
    wanted = settings.negatives.num_negatives
    if wanted > most:
        raise InputError(
            f"params.yaml: negatives.num_negatives: {wanted} negatives of a query, and the corpus "
            f"of {len(dataset.corpus):,} passages has {most:,} others than its positives; ask for "
            f"{most} or fewer"
        )
