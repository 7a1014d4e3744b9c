"""Negatives for each pair of a training query and a positive: random, hard or semi-hard.

Settings are named as in sentence-transformers' `mine_hard_negatives`. Unlike it, mining here is
seeded and exact, orders equal scores by passage id, recognises a positive by its text, and can
take candidates from the query's own passages or from those that a teacher has scored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from tqdm.auto import trange

from ettin_retrieval.data.dataset import RetrievalDataset
from ettin_retrieval.data.negatives import Pair
from ettin_retrieval.encoders.embedding_cache import EmbeddingCache, Embeddings
from ettin_retrieval.encoders.encode import encode
from ettin_retrieval.mining.candidates import Candidates, check_candidates, passage_shards
from ettin_retrieval.mining.eligible import eligible, within_bounds
from ettin_retrieval.mining.passage_index import Numbers, PassageIndex
from ettin_retrieval.mining.report import MiningReport
from ettin_retrieval.mining.sampling import fill, pick
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.settings.schema import Settings

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

BATCH = 1024
"""Pairs whose candidates are searched for and in memory together."""


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

    def nearest(
        self, candidates: Candidates, query: Numbers, range_max: int
    ) -> tuple[Embeddings, Numbers]:
        """Scores and numbers of each query's candidates, the nearest first."""
        unique, place = np.unique(query, return_inverse=True)
        vectors = self.queries[unique]
        if candidates.pool is None:
            scores, passages = self.passages.nearest(vectors, range_max)
        else:
            scores, passages = self.passages.rank(vectors, candidates.pool_of(unique), range_max)
        return scores[place], passages[place]

    def scores(self, query: Numbers, passages: Numbers) -> Embeddings:
        """Similarity of each query to passages of its own, of shape (queries, passages)."""
        return self.passages.scores(self.queries[query], passages)


def _choose(
    candidates: Candidates, encoded: Encoded | None, settings: Settings
) -> tuple[list[Pair], MiningReport]:
    """Rank candidates, exclude, pick and fill up, a batch of pairs at a time."""
    report = MiningReport(pairs_without_teacher=len(candidates.positives) - len(candidates.pairs))
    mined: list[Pair] = []
    ids = candidates.passage_ids
    queries, positives = candidates.split(candidates.pairs)
    positions = np.arange(len(queries)) - np.searchsorted(queries, queries)
    for start in trange(0, len(queries), BATCH, desc="choosing negatives", unit="batch"):
        batch = slice(start, start + BATCH)
        query, positive = queries[batch], positives[batch]
        if encoded is None:
            passages = candidates.pool_of(query)
            allowed = eligible(candidates, query, passages, settings, report)
            picked = pick(allowed, query, positions[batch], settings)
        else:
            scores, passages = encoded.nearest(candidates, query, settings.negatives.range_max)
            positive_scores = encoded.scores(query, positive[:, None])
            allowed = eligible(candidates, query, passages, settings, report)
            allowed = within_bounds(scores, positive_scores, allowed, settings, report)
            picked = pick(allowed, query, positions[batch], settings)
            report.positive_scores.frombytes(positive_scores.tobytes())
            report.negative_scores.frombytes(scores[picked].tobytes())
        chosen = np.split(passages[picked], picked.sum(axis=1).cumsum()[:-1])
        for place, found in enumerate(chosen):
            drawn = fill(candidates, query[place], found, settings)
            if encoded is not None and len(drawn):
                drawn_scores = encoded.scores(query[[place]], drawn[None])
                report.negative_scores.frombytes(drawn_scores.tobytes())
            if encoded is not None or candidates.pool is not None:
                report.filled_at_random += len(drawn)
            negatives = ids[np.concatenate([found, drawn])].tolist()
            mined.append((candidates.query_ids[query[place]], ids[positive[place]], negatives))
    report.count(mined, settings.negatives.num_negatives)
    if settings.finetuning.objective == "margin_mse" and report.shortfall == report.wanted:
        raise InputError(
            "finetuning.objective: margin_mse found no query whose positive and another "
            "passage both have a teacher's score; score more passages of each query"
        )
    return mined, report


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
