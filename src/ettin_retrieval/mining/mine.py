"""Negatives for each pair of a training query and a positive: random, hard or semi-hard.

Settings are named as in sentence-transformers' `mine_hard_negatives`. Unlike it, mining here is
seeded and exact, orders equal scores by passage id, and can take candidates from the query's own
passages or from those that a teacher has scored. It recognises what is relevant by text, for the
same question under another id too, and never takes it.
"""

from __future__ import annotations

from collections.abc import Iterator
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
    encoder = None
    if needs_encoder(settings):
        if model is None:
            raise ValueError(f"{settings.negatives.sampling} negatives need an encoder")
        encoder = TextEncoder(model, settings.encoding.batch_size, cache=cache)
    miner = _Miner(dataset, settings, encoder)
    pairs: list[Pair] = []
    total = len(dataset.queries)
    for start in trange(0, total, BATCH, desc="choosing negatives", unit="batch"):
        pairs += miner.mine(np.arange(start, min(start + BATCH, total)))
    report, wanted = miner.report, settings.negatives.num_negatives
    report.pairs, report.wanted = len(pairs), wanted * len(pairs)
    report.shortfall = report.wanted - sum(len(negatives) for _, _, negatives in pairs)
    if settings.finetuning.objective == "margin_mse" and report.shortfall == report.wanted:
        raise InputError(
            "finetuning.objective: margin_mse found no query whose positive and another "
            "passage both have a teacher's score; score more passages of each query"
        )
    return pairs, report


class _Miner:
    """Ranks the candidates of some queries, excludes, picks and fills up."""

    index: PassageIndex | None = None  # None without an encoder
    queries: Embeddings  # of shape (queries, d)

    def __init__(
        self, dataset: RetrievalDataset, settings: Settings, encoder: TextEncoder | None
    ) -> None:
        self.settings = settings
        self.candidates = Candidates(dataset, settings)
        unscored = len(self.candidates.positives) - len(self.candidates.pairs)
        self.report = MiningReport(pairs_without_teacher=unscored)
        if encoder is not None:
            shards = (encoder.encode(texts, "passage") for texts in passage_shards(dataset))
            self.index = PassageIndex(shards, self.candidates.passage_numbers)
            self.queries = encoder.encode(dataset.queries["text"].tolist(), "query")

    def mine(self, queries: Numbers) -> Iterator[Pair]:
        """The pairs of a range of queries, with their negatives."""
        candidates, settings, report = self.candidates, self.settings, self.report
        passages = candidates.pool_of(queries)
        if self.index is not None:  # the nearest first
            vectors, most = self.queries[queries], settings.negatives.range_max
            if candidates.pool is None:
                scores, passages = self.index.nearest(vectors, most)
            else:
                scores, passages = self.index.rank(vectors, passages, most)
        present, times = passages >= 0, candidates.pairs_per_query[queries]
        report.candidates += int(present.sum(axis=1) @ times)
        reasons = ineligible(candidates, queries, passages, settings.negatives.range_min)
        allowed = report.exclude(present, reasons, times)
        for pairs in candidates.pairs_of(queries[0], queries[-1]):
            row = pairs.query - queries[0]
            within = allowed[row]
            if self.index is not None:
                near = scores[row]
                own = self.index.scores(self.queries[pairs.query], pairs.positive[:, None])
                reasons = out_of_bounds(near, own, settings)
                within = report.exclude(within, reasons, np.ones(len(row), dtype=np.int64))
            picked = pick(within, pairs, settings)
            if self.index is not None:
                report.positive_scores.frombytes(own.tobytes())
                report.negative_scores.frombytes(near[picked].tobytes())
            chosen = np.split(passages[row][picked], picked.sum(axis=1).cumsum()[:-1])
            yield from self._filled(pairs, chosen)

    def _filled(self, pairs: Pairs, chosen: list[Numbers]) -> Iterator[Pair]:
        """Each pair with its chosen negatives, filled up at random."""
        candidates, ids = self.candidates, self.candidates.passage_ids
        queries, positives = pairs.query.tolist(), pairs.positive.tolist()
        for query, positive, negatives in zip(queries, positives, chosen, strict=True):
            drawn, looked_at = fill(candidates, query, negatives, self.settings)
            if len(looked_at) > len(drawn):
                self._count_skipped(query, negatives, looked_at)
            if len(drawn) and self.index is not None:
                scores = self.index.scores(self.queries[[query]], drawn[None])
                self.report.negative_scores.frombytes(scores.tobytes())
            if self.index is not None or candidates.pool is not None:
                self.report.filled_at_random += len(drawn)
            negatives = np.concatenate([negatives, drawn])
            yield candidates.query_ids[query], ids[positive], ids[negatives].tolist()

    def _count_skipped(self, query: int, chosen: Numbers, looked_at: Numbers) -> None:
        """Count by reason the random passages that were not taken."""
        passages = np.concatenate([chosen, looked_at])[None]
        reasons = ineligible(self.candidates, np.array([query]), passages, range_min=0)
        every, once = np.ones(passages.shape, dtype=bool), np.ones(1, dtype=np.int64)
        self.report.exclude(every, reasons, once, self.report.skipped_at_random)
