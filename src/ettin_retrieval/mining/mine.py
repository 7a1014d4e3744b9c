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
from ettin_retrieval.encoders.encode import EmbeddingCache, Embeddings, TextEncoder
from ettin_retrieval.mining.candidates import Candidates, Pairs, passage_shards
from ettin_retrieval.mining.choice import fill, ineligible, out_of_bounds, pick
from ettin_retrieval.mining.passage_index import Numbers, PassageIndex
from ettin_retrieval.mining.report import MiningReport
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.settings.schema import Settings

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

BATCH = 1024
"""Queries per search: caps the memory of their candidates."""


def needs_encoder(settings: Settings) -> bool:
    """Whether negatives are chosen by similarity."""
    return settings.negatives.sampling != "random" and settings.negatives.num_negatives > 0


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
    encoded = None
    if needs_encoder(settings):
        if model is None:
            raise ValueError(f"{settings.negatives.sampling} negatives need an encoder")
        encoder = TextEncoder(model, settings.encoding.batch_size, cache=cache)
        shards = (encoder.encode(texts, "passage") for texts in passage_shards(dataset))
        index = PassageIndex(shards, candidates.passage_numbers)
        encoded = Encoded(encoder.encode(dataset.queries["text"].tolist(), "query"), index)
    report = MiningReport(pairs_without_teacher=len(candidates.positives) - len(candidates.pairs))
    mined: list[Pair] = []
    total = len(candidates.query_ids)
    for start in trange(0, total, BATCH, desc="choosing negatives", unit="batch"):
        queries = np.arange(start, min(start + BATCH, total))
        for pairs, chosen in _chosen(candidates, encoded, queries, settings, report):
            mined += _filled(candidates, encoded, pairs, chosen, settings, report)
    report.pairs, report.wanted = len(mined), settings.negatives.num_negatives * len(mined)
    report.shortfall = report.wanted - sum(len(negatives) for _, _, negatives in mined)
    if settings.finetuning.objective == "margin_mse" and report.shortfall == report.wanted:
        raise InputError(
            "finetuning.objective: margin_mse found no query whose positive and another "
            "passage both have a teacher's score; score more passages of each query"
        )
    return mined, report


@dataclass(frozen=True)
class Encoded:
    """A training set's embeddings: queries of shape (queries, d), and all passages."""

    queries: Embeddings
    passages: PassageIndex

    def scores(self, query: Numbers, passages: Numbers) -> Embeddings:
        """Similarity of each query to its own passages, of the shape of `passages`."""
        return self.passages.scores(self.queries[query], passages)


def _chosen(
    candidates: Candidates,
    encoded: Encoded | None,
    queries: Numbers,
    settings: Settings,
    report: MiningReport,
) -> Iterator[tuple[Pairs, list[Numbers]]]:
    """Pairs of a range of queries, and the candidates picked for each after all exclusions."""
    passages = candidates.pool_of(queries)
    if encoded is not None:  # the nearest first
        vectors, most = encoded.queries[queries], settings.negatives.range_max
        if candidates.pool is None:
            scores, passages = encoded.passages.nearest(vectors, most)
        else:
            scores, passages = encoded.passages.rank(vectors, passages, most)
    present, times = passages >= 0, candidates.pairs_per_query[queries]
    report.candidates += int(present.sum(axis=1) @ times)
    reasons = ineligible(candidates, queries, passages, settings.negatives.range_min)
    allowed = report.exclude(present, reasons, times)
    for pairs in candidates.pairs_of(queries[0], queries[-1]):
        row = pairs.query - queries[0]
        if encoded is None:
            picked = pick(allowed[row], pairs, settings)
        else:
            near = scores[row]
            positive_scores = encoded.scores(pairs.query, pairs.positive[:, None])
            reasons = out_of_bounds(near, positive_scores, settings)
            within = report.exclude(allowed[row], reasons, np.ones(len(row), dtype=np.int64))
            picked = pick(within, pairs, settings)
            report.positive_scores.frombytes(positive_scores.tobytes())
            report.negative_scores.frombytes(near[picked].tobytes())
        yield pairs, np.split(passages[row][picked], picked.sum(axis=1).cumsum()[:-1])


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
