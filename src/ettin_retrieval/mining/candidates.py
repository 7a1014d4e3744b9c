"""The pairs that need negatives, and the passages that each query's negatives are chosen from.

Candidates are the whole corpus or the query's own passages judged 0. The objective margin_mse
keeps of both pairs and candidates those that the teacher has scored.

Texts are compared after normalisation (`data.normalisation`). Queries with the same text are one
question, whatever their ids.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from ettin_retrieval.data.dataset import RetrievalDataset
from ettin_retrieval.data.normalisation import Hashes, hash_texts
from ettin_retrieval.encoders.encode import SHARD
from ettin_retrieval.mining.passage_index import Numbers
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.settings.schema import Settings

logger = logging.getLogger("ettin_retrieval")

PAIRS = 4096
"""Pairs chosen for together: caps the memory for queries with very many positives."""


class Pairs(NamedTuple):
    """Pairs that need negatives, each array of shape (pairs,)."""

    query: Numbers
    positive: Numbers
    position: Numbers  # which of its query's pairs each is, from 0


class Candidates:
    """Pairs and candidates of a training set.

    Passages are numbered in the order of their ids, which decides between equal scores, and
    queries as in the dataset. A pair of the two is itself a number, query x passages + passage:
    sorted arrays of pairs are sorted by query and then by passage id. Errors are those of
    `check_candidates`.
    """

    pool: Numbers | None = None  # all pairs of a query with a candidate; None if any passage is one

    def __init__(self, dataset: RetrievalDataset, settings: Settings) -> None:
        check_candidates(dataset, settings)
        self.query_ids: npt.NDArray[np.object_] = dataset.queries["id"].to_numpy(dtype=object)
        ids: npt.NDArray[np.object_] = dataset.corpus["id"].to_numpy(dtype=object)
        order = np.argsort(ids, kind="stable")
        self.passage_ids = ids[order]
        # The number of the passage in each row of the corpus.
        self.passage_numbers: Numbers = np.argsort(order)
        # A number for the question of each query, and for the text of each passage.
        self.questions, of_questions = number_questions(dataset)
        hashes, repeats = hash_passages(dataset, of_questions)
        self.texts: Numbers = pd.factorize(hashes[order])[0]
        asked, row = repeats
        # The texts that are a question themselves.
        self.own_texts = np.unique(self.pair(asked, self.texts[self.passage_numbers[row]]))
        query_index, passage_index = pd.Index(self.query_ids), pd.Index(self.passage_ids)

        def pairs_of(table: pd.DataFrame) -> Numbers:
            query = query_index.get_indexer(pd.Index(table["query_id"])).astype(np.int64)
            passage = passage_index.get_indexer(pd.Index(table["corpus_id"]))
            # Published judgments may name passages that their corpus lacks.
            return np.sort(self.pair(query, passage)[passage >= 0])

        relevant = dataset.qrels["score"] > 0
        # All positives, their texts, and those positives that need negatives.
        self.positives = self.pairs = pairs_of(dataset.qrels[relevant])
        query, passage = self.split(self.positives)
        self.positive_texts = self.pair(query, self.texts[passage])
        # What is relevant to each question that has several ids, whichever of them was judged.
        again = (np.bincount(self.questions) > 1)[self.questions[query]]
        same = self.pair(self.questions[query[again]], self.texts[passage[again]])
        self.question_texts = np.unique(same)
        source, origin = settings.negatives.source, dataset.origin.source
        if source == "row_or_corpus" and relevant.all():
            message = "negatives: %s has no passages judged 0; they are taken from its whole corpus"
            logger.info(message, origin)
        elif source != "corpus":
            self.pool = pairs_of(dataset.qrels[~relevant])
        if settings.finetuning.objective == "margin_mse" and dataset.teacher is not None:
            scored = pairs_of(dataset.teacher)
            self.pairs = np.intersect1d(self.positives, scored)
            self.pool = scored if self.pool is None else np.intersect1d(self.pool, scored)
        self.pairs_per_query = np.bincount(self.split(self.pairs)[0], minlength=len(self.query_ids))

    def pair(self, query: Numbers, passage: Numbers | int) -> Numbers:
        """Numbers of the pairs of queries with passages, or with texts."""
        return query * len(self.passage_ids) + passage

    def split(self, pairs: Numbers) -> tuple[Numbers, Numbers]:
        """Queries and passages of pairs."""
        return np.divmod(pairs, len(self.passage_ids))

    def span(self, pairs: Numbers, first: int, last: int) -> slice:
        """Where sorted pairs have the queries from first to last, both included."""
        size = len(self.passage_ids)
        return slice(*np.searchsorted(pairs, [first * size, (last + 1) * size]))

    def of_questions(self, pairs: Numbers, queries: Numbers) -> Numbers:
        """Those of sorted pairs of a question with a text that belong to the queries' questions."""
        if not len(pairs):
            return pairs
        questions = np.unique(self.questions[queries])
        bounds = np.searchsorted(pairs, self.pair(np.stack([questions, questions + 1]), 0))
        return np.concatenate([pairs[start:stop] for start, stop in bounds.T])

    def pairs_of(self, first: int, last: int) -> Iterator[Pairs]:
        """The pairs of the queries from first to last, at most `PAIRS` at a time."""
        query, positive = self.split(self.pairs[self.span(self.pairs, first, last)])
        position = np.arange(len(query)) - np.searchsorted(query, query)
        for start in range(0, len(query), PAIRS):
            part = slice(start, start + PAIRS)
            yield Pairs(query[part], positive[part], position[part])

    def pool_of(self, queries: Numbers) -> Numbers:
        """Candidates of each query, of shape (queries, candidates); -1 where one has fewer."""
        pool = queries[:0] if self.pool is None else self.pool
        start, stop = np.searchsorted(pool, self.pair(np.stack([queries, queries + 1]), 0))
        places = start[:, None] + np.arange((stop - start).max())
        present = places < stop[:, None]
        passages = np.full(places.shape, -1)
        passages[present] = self.split(pool[places[present]])[1]
        return passages


def check_candidates(dataset: RetrievalDataset, settings: Settings) -> None:
    """Refuse a training set without passages of the kind that negatives are chosen from.

    An InputError if the objective margin_mse has no teacher scores, or the source `row` no passage
    judged 0.
    """
    source = dataset.origin.source
    if settings.finetuning.objective == "margin_mse" and dataset.teacher is None:
        raise InputError(
            "params.yaml: finetuning.objective: margin_mse needs a teacher's scores, and the "
            f"training data ({source}) has none; put them into teacher/train.tsv of the "
            "directory local.train, or choose another objective"
        )
    if settings.finetuning.objective == "margin_mse" and dataset.teacher is not None:
        scores = dataset.teacher["score"]
        if len(scores) > 1 and scores.nunique() == 1:
            raise InputError(
                "params.yaml: finetuning.objective: margin_mse cannot learn from a teacher that "
                f"gives each of {len(scores):,} passages the score {scores.iloc[0]:g}; give other "
                "scores, or choose another objective"
            )
    if settings.negatives.source == "row" and (dataset.qrels["score"] > 0).all():
        raise InputError(
            "params.yaml: negatives.source: row takes passages judged 0 for the query, and the "
            f"training data ({source}) has none; use source corpus"
        )


def check_negatives(dataset: RetrievalDataset, settings: Settings) -> None:
    """`check_candidates`, and an InputError if the corpus has too few negatives for some query."""
    check_candidates(dataset, settings)
    relevant = dataset.qrels[dataset.qrels["score"] > 0]
    relevant = relevant[relevant["corpus_id"].isin(dataset.corpus["id"])]
    questions = pd.Series(number_questions(dataset)[0], index=dataset.queries["id"])
    judged = relevant.assign(question=relevant["query_id"].map(questions))
    most = len(dataset.corpus) - int(judged.groupby("question")["corpus_id"].nunique().max())
    wanted = settings.negatives.num_negatives
    if wanted > most:
        raise InputError(
            f"params.yaml: negatives.num_negatives: {wanted} negatives of a query, and the corpus "
            f"of {len(dataset.corpus):,} passages has {most:,} others than its positives; ask for "
            f"{most} or fewer"
        )


def passage_shards(dataset: RetrievalDataset) -> Iterator[list[str]]:
    """Texts of the passages, a shard at a time: they are never all in memory."""
    return (shard.passage_texts() for shard in corpus_shards(dataset))


def corpus_shards(dataset: RetrievalDataset) -> Iterator[RetrievalDataset]:
    """The dataset with a shard of its corpus at a time."""
    for start in range(0, len(dataset.corpus), SHARD):
        yield replace(dataset, corpus=dataset.corpus.iloc[start : start + SHARD])


def number_questions(dataset: RetrievalDataset) -> tuple[Numbers, Hashes]:
    """The number of each query's question, and the hash of each question."""
    numbers, hashes = pd.factorize(hash_texts(dataset.queries["text"].tolist()))
    return numbers.astype(np.int64), hashes


def hash_passages(
    dataset: RetrievalDataset, questions: Hashes
) -> tuple[Hashes, tuple[Numbers, Numbers]]:
    """A hash of each passage's text, and the passages that repeat a question.

    The latter are two arrays, of numbers of questions and of rows of the corpus. A passage repeats
    a question if its text is the question, with its title or without.
    """
    index = pd.Index(questions)
    hashes: list[Hashes] = []
    repeats: list[Numbers] = []
    for number, shard in enumerate(corpus_shards(dataset)):
        hashes.append(hash_texts(shard.passage_texts()))
        read = [hashes[-1]]
        if (shard.corpus["title"] != "").any():
            read.append(hash_texts(shard.corpus["text"].tolist()))
        for texts in read:
            asked = index.get_indexer(pd.Index(texts))
            rows = np.flatnonzero(asked >= 0)
            repeats.append(np.stack([asked[rows], rows + number * SHARD]))
    of_question, of_row = np.concatenate(repeats, axis=1)
    return np.concatenate(hashes), (of_question, of_row)
