"""Negatives for each pair of a training query and a positive passage: random, hard, semi-hard.

Candidates are the passages of the corpus that are nearest to the query, by exact search, or the
query's own unselected passages. Never a negative: a passage judged positive for the query, a
passage whose text is that of a positive under another id, and the same text twice.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
from tqdm.auto import tqdm

from ettin_retrieval.data.dataset import RetrievalDataset
from ettin_retrieval.data.negatives import Pair
from ettin_retrieval.encoders.embedding_cache import Embeddings
from ettin_retrieval.mining.passage_index import PassageIndex, Rows
from ettin_retrieval.mining.report import MiningReport
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.settings.schema import Settings

logger = logging.getLogger("ettin_retrieval")

SEARCH_BATCH = 1024
"""Queries per FAISS call: bounds the memory of their candidates, and how often progress is told."""

PAIRS_AT_ONCE = 4096
"""Pairs whose candidates are gone through together: some queries have very many positives."""

Bools = npt.NDArray[np.bool_]

Number = TypeVar("Number", np.int64, np.float32)


@dataclass(frozen=True)
class _Query:
    """A training query.

    Attributes
    ----------
    row
        In the table of queries.
    positives
        Corpus rows, in the order of their ids.
    paired
        Those of the positives that negatives are chosen for.
    """

    row: int
    id: str
    positives: Rows
    paired: Rows


@dataclass(frozen=True)
class _Pairs:
    """Pairs of query and positive, those of a query one after the other.

    Attributes
    ----------
    query
        Of each pair, the place of its query in the batch.
    number
        Which of its query's pairs it is, from 0.
    positive
        Corpus row.
    """

    query: Rows
    number: Rows
    positive: Rows

    @classmethod
    def of(cls, rows_of_queries: list[Rows]) -> _Pairs:
        """All pairs, given each query's corpus rows."""
        counts = np.array([len(rows) for rows in rows_of_queries], dtype=np.int64)
        query = np.repeat(np.arange(len(counts)), counts)
        number = np.arange(len(query)) - (counts.cumsum() - counts)[query]
        return cls(query, number, np.concatenate([NO_ROWS, *rows_of_queries]))

    def parts(self) -> Iterator[_Pairs]:
        """`PAIRS_AT_ONCE` pairs at a time."""
        for start in range(0, len(self.query), PAIRS_AT_ONCE):
            part = slice(start, start + PAIRS_AT_ONCE)
            yield _Pairs(self.query[part], self.number[part], self.positive[part])


class Candidates:
    """Walks each query's candidates in order and keeps those that may be negatives.

    All passages have to be read before any are chosen. Candidates of several queries are corpus
    rows of shape (queries, candidates), the nearest first; -1 where a query has fewer.
    """

    def __init__(self, dataset: RetrievalDataset, settings: Settings) -> None:
        check_candidates(dataset, settings)
        self.settings = settings
        self.report = MiningReport()
        self.query_ids: list[str] = dataset.queries["id"].tolist()
        self.ids: npt.NDArray[np.object_] = dataset.corpus["id"].to_numpy(dtype=object)
        self.tie_order = np.empty(len(self.ids), dtype=np.int64)
        self.tie_order[np.argsort(self.ids, kind="stable")] = np.arange(len(self.ids))
        self.texts = np.empty(len(self.ids), dtype=np.uint64)
        self._texts_read = 0
        row_of = pd.Index(self.ids)
        qrels = dataset.qrels
        self.positives = _rows_by_query(qrels[qrels["score"] > 0], row_of)
        self.taught: dict[str, Rows] | None = None
        if settings.finetuning.objective == "margin_mse" and dataset.teacher is not None:
            self.taught = _rows_by_query(dataset.teacher, row_of)
        self.pools = _pools(dataset, settings, row_of, self.taught)

    def read(self, texts: list[str]) -> None:
        """Take note of the next passages' texts, in the order of the corpus."""
        stop = self._texts_read + len(texts)
        self.texts[self._texts_read : stop] = _numbers(texts)
        self._texts_read = stop

    def choose(
        self, vectors: Embeddings | None, index: PassageIndex | None
    ) -> tuple[list[Pair], MiningReport]:
        """All pairs with their negatives; without an index they are random.

        Parameters
        ----------
        vectors
            Embeddings of all queries, of shape (queries, d).
        """
        pairs: list[Pair] = []
        total = len(self.query_ids)
        with tqdm(total=total, desc="choosing negatives", unit="query") as progress:
            for start in range(0, total, SEARCH_BATCH):
                rows = range(start, min(start + SEARCH_BATCH, total))
                queries = [self._query(row) for row in rows]
                if index is None or vectors is None:
                    pairs.extend(self._at_random(queries))
                else:
                    pairs.extend(self._by_similarity(queries, vectors[start : rows.stop], index))
                progress.update(len(rows))
        self._count(pairs)
        return pairs, self.report

    def _query(self, row: int) -> _Query:
        query_id = self.query_ids[row]
        positives = self._by_id(self.positives.get(query_id, NO_ROWS))
        paired = positives
        if self.taught is not None:
            paired = positives[np.isin(positives, self.taught.get(query_id, NO_ROWS))]
            self.report.pairs_without_teacher += len(positives) - len(paired)
        return _Query(row, query_id, positives, paired)

    def _by_id(self, rows: Rows) -> Rows:
        return rows[np.argsort(self.tie_order[rows])]

    def _by_similarity(
        self, queries: list[_Query], vectors: Embeddings, index: PassageIndex
    ) -> Iterator[Pair]:
        """The pairs of some queries, with negatives among each one's nearest candidates.

        What the bounds leave short is filled at random, and reported.
        """

        def similarity(query: int, rows: Rows) -> Embeddings:
            return index.scores(vectors[[query]], rows[None])[0]

        scores, candidates = self._nearest(queries, vectors, index)
        eligible = self._eligible(queries, candidates)
        for pairs in _Pairs.of([query.paired for query in queries]).parts():
            of_positives = index.scores(vectors[pairs.query], pairs.positive[:, None])
            of_candidates = scores[pairs.query]
            allowed = self._within_bounds(of_candidates, of_positives, eligible[pairs.query])
            picked = self._picked(queries, pairs, allowed)
            self.report.positive_scores.frombytes(of_positives.tobytes())
            self.report.negative_scores.frombytes(of_candidates[picked].tobytes())
            yield from self._filled(queries, pairs, candidates, picked, similarity)

    def _nearest(
        self, queries: list[_Query], vectors: Embeddings, index: PassageIndex
    ) -> tuple[Embeddings, Rows]:
        """Scores and rows of each query's `top_k` nearest candidates."""
        top_k = self.settings.negatives.range_max
        if self.pools is None:
            return index.nearest(vectors, top_k)
        found = [
            index.rank(vector, self._pool(query), top_k)
            for query, vector in zip(queries, vectors, strict=True)
        ]
        scores, rows = zip(*found, strict=True)
        return _padded(scores, -np.inf), _padded(rows, -1)

    def _pool(self, query: _Query) -> Rows:
        """The query's own candidates, where they are not the whole corpus."""
        return self._by_id((self.pools or {}).get(query.id, NO_ROWS))

    def _at_random(self, queries: list[_Query]) -> Iterator[Pair]:
        """The pairs of some queries, with negatives of their own candidates or of the corpus."""
        if self.pools is None:
            for query in queries:
                for positive in query.paired:
                    drawn = self._drawn(query, NO_ROWS)
                    yield query.id, self.ids[positive], self.ids[drawn].tolist()
            return
        candidates = _padded([self._pool(query) for query in queries], -1)
        eligible = self._eligible(queries, candidates)
        for pairs in _Pairs.of([query.paired for query in queries]).parts():
            picked = self._picked(queries, pairs, eligible[pairs.query])
            yield from self._filled(queries, pairs, candidates, picked)

    def _eligible(self, queries: list[_Query], candidates: Rows) -> Bools:
        """Which candidates may be negatives of their query at all."""
        there = candidates >= 0
        # Where there is no candidate, a number of its own: it must not repeat another's.
        absent = np.arange(candidates.shape[1], dtype=np.uint64)
        texts = np.where(there, self.texts[candidates], absent)
        positive, same_text = np.zeros_like(there), np.zeros_like(there)
        for own in _Pairs.of([query.positives for query in queries]).parts():
            hits = candidates[own.query] == own.positive[:, None]
            np.logical_or.at(positive, own.query, hits)
            hits = texts[own.query] == self.texts[own.positive][:, None]
            np.logical_or.at(same_text, own.query, hits)
        pairs = np.array([len(query.paired) for query in queries])
        self.report.candidates += int(there.sum(axis=1) @ pairs)
        # Rank counts from the very nearest passage, as a search engine shows it.
        early = np.arange(candidates.shape[1]) < self.settings.negatives.range_min
        reasons = {
            "positive": positive,
            "same text as a positive": same_text,
            "within skip_first": early,
            "same text as a nearer candidate": _repeated(texts),
        }
        return self._passed_over(reasons, there, pairs)

    def _within_bounds(
        self, scores: Embeddings, positive_scores: Embeddings, allowed: Bools
    ) -> Bools:
        """Which allowed candidates lie within the bounds that the positive's score sets.

        Parameters
        ----------
        scores, positive_scores
            Of each pair's candidates, shape (pairs, candidates), and positive, shape (pairs, 1).
        """
        negatives = self.settings.negatives
        near, positive = scores.astype(np.float64), positive_scores.astype(np.float64)
        reasons: dict[str, Bools] = {}
        if negatives.relative_margin > 0:
            ceiling = positive - negatives.relative_margin * np.abs(positive)
            reasons["too near the positive (relative_margin)"] = near >= ceiling
        if negatives.absolute_margin > 0:
            ceiling = positive - negatives.absolute_margin
            reasons["too near the positive (absolute_margin)"] = near >= ceiling
        if negatives.sampling == "semi_hard":
            floor = positive - self.settings.finetuning.margin
            reasons["not below the positive (semi_hard)"] = near >= positive
            reasons["below the positive by the margin or more (semi_hard)"] = near <= floor
        return self._passed_over(reasons, allowed, np.ones(len(allowed), dtype=np.int64))

    def _passed_over(self, reasons: dict[str, Bools], allowed: Bools, pairs: Rows) -> Bools:
        """Which allowed candidates no reason passes over; each is counted for its first reason.

        Parameters
        ----------
        pairs
            For how many pairs each row of `allowed` counts.
        """
        kept = allowed.copy()
        for reason, applies in reasons.items():
            count = int((kept & applies).sum(axis=1) @ pairs)
            if count:
                self.report.skipped[reason] += count
            kept &= ~applies
        return kept

    def _picked(self, queries: list[_Query], pairs: _Pairs, allowed: Bools) -> Bools:
        """Which allowed candidates are each pair's negatives: the nearest, or a seeded draw."""
        negatives = self.settings.negatives
        if negatives.sampling != "random" and negatives.sampling_strategy == "top":
            return allowed & (allowed.cumsum(axis=1) <= negatives.num_negatives)
        picked = np.zeros_like(allowed)
        for place, (query, number) in enumerate(zip(pairs.query, pairs.number, strict=True)):
            columns = np.flatnonzero(allowed[place])
            # A generator of the pair's own: its draws do not depend on the pairs before it.
            random = np.random.default_rng([self.settings.seed, queries[query].row, number + 1])
            size = min(negatives.num_negatives, len(columns))
            picked[place, columns[random.choice(len(columns), size=size, replace=False)]] = True
        return picked

    def _filled(
        self,
        queries: list[_Query],
        pairs: _Pairs,
        candidates: Rows,
        picked: Bools,
        similarity: Callable[[int, Rows], Embeddings] | None = None,
    ) -> Iterator[Pair]:
        """Pairs with the picked candidates, filled up at random where no teacher is needed.

        Parameters
        ----------
        similarity
            Of a query of the batch to corpus rows; None where the report has no scores.
        """
        chosen = np.split(candidates[pairs.query][picked], picked.sum(axis=1).cumsum()[:-1])
        for place, positive, rows in zip(pairs.query, pairs.positive, chosen, strict=True):
            query = queries[place]
            drawn = NO_ROWS if self.taught is not None else self._drawn(query, rows)
            if len(drawn):
                self.report.filled_at_random += len(drawn)
                rows = np.concatenate([rows, drawn])
                if similarity is not None:
                    self.report.negative_scores.frombytes(similarity(place, drawn).tobytes())
            yield query.id, self.ids[positive], self.ids[rows].tolist()

    def _drawn(self, query: _Query, chosen: Rows) -> Rows:
        """What is missing beside the chosen negatives: distinct random ones of the whole corpus."""
        missing = self.settings.negatives.num_negatives - len(chosen)
        if missing == 0:
            return NO_ROWS
        # A generator of the query's own: its draws do not depend on the queries before it.
        random = np.random.default_rng([self.settings.seed, query.row])
        corpus = len(self.ids)
        draws = min(corpus, 2 * (missing + len(chosen) + len(query.positives)) + 16)
        known = np.concatenate([chosen, query.positives])
        drawn = self._new(random.choice(corpus, size=draws, replace=False), known)
        if len(drawn) < missing and draws < corpus:
            drawn = self._new(random.permutation(corpus), known)
        return drawn[:missing]

    def _new(self, rows: Rows, known: Rows) -> Rows:
        """Those of the rows whose text is neither a known row's nor an earlier one's."""
        first = np.sort(np.unique(self.texts[rows], return_index=True)[1])
        rows = rows[first]
        return rows[~np.isin(self.texts[rows], self.texts[known])]

    def _count(self, pairs: list[Pair]) -> None:
        """Totals of the report.

        Raises
        ------
        InputError
            A teacher's scores are needed, and no pair has a negative with one.
        """
        wanted = self.settings.negatives.num_negatives
        self.report.pairs = len(pairs)
        self.report.wanted = wanted * len(pairs)
        chosen = sum(len(negatives) for _, _, negatives in pairs)
        self.report.shortfall = self.report.wanted - chosen
        if self.taught is not None and chosen == 0:
            raise InputError(
                "finetuning.objective: margin_mse found no query whose positive and another "
                "passage both have a teacher's score; score more passages of each query"
            )


NO_ROWS: Rows = np.empty(0, dtype=np.int64)


def check_candidates(dataset: RetrievalDataset, settings: Settings) -> None:
    """Refuse a training set without passages of the kind that negatives are to be chosen from.

    Raises
    ------
    InputError
        No teacher's scores for the margin_mse objective, or no unselected passage for the
        source row.
    """
    source = dataset.origin.source
    if settings.finetuning.objective == "margin_mse" and dataset.teacher is None:
        raise InputError(
            "params.yaml: finetuning.objective: margin_mse needs a teacher's scores, and the "
            f"training data ({source}) has none; put them into teacher/train.tsv of the "
            "directory local.train, or choose another objective"
        )
    if settings.negatives.source == "row" and not has_unselected(dataset):
        raise InputError(
            "params.yaml: negatives.source: row takes passages judged 0 for the query, and the "
            f"training data ({source}) has none; use source corpus"
        )


def has_unselected(dataset: RetrievalDataset) -> bool:
    """Whether any passage is judged 0 for a query."""
    return bool((dataset.qrels["score"] <= 0).any())


def _pools(
    dataset: RetrievalDataset,
    settings: Settings,
    row_of: pd.Index,
    taught: dict[str, Rows] | None,
) -> dict[str, Rows] | None:
    """Each query's own candidates; None where they are the whole corpus."""
    source = settings.negatives.source
    if source == "row_or_corpus" and not has_unselected(dataset):
        logger.info(
            "negatives: %s has no passages judged 0; they are taken from its whole corpus",
            dataset.origin.source,
        )
        return taught
    if source == "corpus":
        return taught
    rows = _rows_by_query(dataset.qrels[dataset.qrels["score"] <= 0], row_of)
    if taught is None:
        return rows
    return {q: np.intersect1d(own, taught.get(q, NO_ROWS)) for q, own in rows.items()}


def _rows_by_query(pairs: pd.DataFrame, row_of: pd.Index) -> dict[str, Rows]:
    """Query id to the corpus rows that it is paired with."""
    rows = row_of.get_indexer(pd.Index(pairs["corpus_id"])).astype(np.int64)
    found = pairs.groupby("query_id", sort=False).indices
    return {str(query_id): rows[places] for query_id, places in found.items()}


def _padded(parts: Iterable[npt.NDArray[Number]], missing: float) -> npt.NDArray[Number]:
    """Arrays of different lengths as the rows of one.

    >>> _padded([np.array([7]), np.array([5, 6])], -1).tolist()
    [[7, -1], [5, 6]]
    """
    rows = list(parts)
    padded = np.full((len(rows), max(map(len, rows))), missing, dtype=rows[0].dtype)
    for row, part in zip(padded, rows, strict=True):
        row[: len(part)] = part
    return padded


def _repeated(texts: npt.NDArray[np.uint64]) -> Bools:
    """Which numbers stand earlier in their row already.

    >>> _repeated(np.array([[7, 5, 7], [1, 2, 3]], dtype=np.uint64)).tolist()
    [[False, False, True], [False, False, False]]
    """
    repeated = np.zeros(texts.shape, dtype=np.bool_)
    ordered = np.sort(texts, axis=1)
    for row in np.flatnonzero((ordered[:, 1:] == ordered[:, :-1]).any(axis=1)):
        repeated[row] = True
        repeated[row, np.unique(texts[row], return_index=True)[1]] = False
    return repeated


def _numbers(texts: list[str]) -> npt.NDArray[np.uint64]:
    """A number for each text, equal for equal texts.

    64 bits of a hash: among ten million passages two different ones share a number with a
    probability of 3 in a million, and then one of the two is no negative beside the other.
    """
    return pd.util.hash_array(np.array(texts, dtype=object), categorize=False)
