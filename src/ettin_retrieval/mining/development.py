"""The development set: held-out queries over the passages that are hard to tell from their answers.

Over random passages a real encoder scores 0.98 before any training, and which checkpoint is best is
chance. The development corpus holds all passages judged for a development query, and of the others
in the source's whole corpus those nearest to the queries by BM25 and by the base encoder.

A corpus of up to `SAMPLE` passages is ranked as a whole, with the embeddings that mining has made.
Encoding millions of passages once more could cost more than training does, so of a larger corpus
the base encoder ranks a pool whose size does not grow with it: the `BY_WORDS` nearest passages of
each query by BM25, and a seeded sample of `SAMPLE` passages, in which it finds what shares no words
with a query.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from ettin_retrieval.data.dataset import RetrievalDataset
from ettin_retrieval.data.normalisation import hash_texts
from ettin_retrieval.encoders.encode import EmbeddingCache, TextEncoder
from ettin_retrieval.mining.bm25 import nearest_by_words
from ettin_retrieval.mining.candidates import passage_shards
from ettin_retrieval.mining.passage_index import Numbers, PassageIndex
from ettin_retrieval.settings.schema import Settings

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

BY_WORDS = 30
"""Passages per query that BM25 puts into the pool."""

SAMPLE = 50_000
"""Passages of the pool that are drawn at random, and of a corpus that is ranked as a whole."""

BY_ENCODER = 100
"""Passages of the pool per query that the base encoder ranks."""


def development_set(
    train: RetrievalDataset,
    dev: RetrievalDataset,
    model: SentenceTransformer,
    settings: Settings,
    cache: EmbeddingCache | None = None,
) -> RetrievalDataset:
    """The development queries over `data.dev_passages` passages.

    All passages judged for the queries, then the nearest ones: first those of rank 1 by BM25 or by
    the base encoder for any query, then those of rank 2, and so on. Of equal ranks those with the
    lower ids come first. What is left over is filled from the pool's sample.

    A passage with the text of a relevant one, whatever its case and white space, is an answer that
    nobody judged, and is left out, as is a repeated one or the text of a query.

    Parameters
    ----------
    train, dev
        What the stage training_data wrote. Together their passages are the source's whole corpus.
    model
        The base encoder.
    cache
        Embeddings of passages, as for mining.
    """
    searched = WholeCorpus.of(train, dev)
    whole = searched.dataset
    judged = whole.corpus["id"].isin(dev.qrels["corpus_id"]).to_numpy()
    other_text = differs_from_answers(whole, judged)
    eligible = other_text & ~judged
    queries = dev.queries["text"].tolist()
    by_words = nearest_by_words(whole.passage_texts(), queries, eligible, BY_WORDS)
    random = np.random.default_rng(settings.seed)
    sample = random.permutation(np.flatnonzero(eligible))[:SAMPLE]
    pool = np.unique(np.concatenate([*by_words, sample]))
    encoder = TextEncoder(model, settings.encoding.batch_size, cache=cache)
    ranked = [*by_words, *nearest_by_encoder(searched, pool, encoder)]

    best = np.full(len(whole.corpus), len(whole.corpus))
    for passages in ranked:
        np.minimum.at(best, passages, np.arange(len(passages)))
    nearest = pool[best[pool] < len(best)]
    nearest = nearest[np.argsort(best[nearest], kind="stable")]
    others = sample[~np.isin(sample, nearest)]
    wanted = max(0, settings.data.dev_passages - int(judged.sum()))
    added = np.concatenate([nearest, others])[:wanted]
    # By id: equal scores must not favour the judged ones.
    kept = np.sort(np.concatenate([np.flatnonzero(judged), added]))
    corpus = whole.corpus.iloc[kept].reset_index(drop=True)
    return RetrievalDataset(corpus, dev.queries, dev.qrels, dev.origin).with_notes(
        passages_of_whole_corpus=len(whole.corpus),
        passages_ranked=len(pool),
        passages_nearest=min(wanted, len(nearest)),
        passages_left_out_with_a_known_text=int((~other_text & ~judged).sum()),
    )


class WholeCorpus(NamedTuple):
    """The passages of a source's training and development set, with the development queries.

    A source's sets may give an id to different passages. Then that of the training set gets a
    prefix.
    """

    dataset: RetrievalDataset  # in the order of ids, by which passages are numbered
    parts: tuple[RetrievalDataset, ...]  # as mining reads them, and those of dev alone
    numbers: Numbers  # of the passages in both parts

    @classmethod
    def of(cls, train: RetrievalDataset, dev: RetrievalDataset) -> WholeCorpus:
        of_dev = dict(zip(dev.corpus["id"], keys(dev).tolist(), strict=True))
        of_train = zip(train.corpus["id"], keys(train).tolist(), strict=True)
        shared = np.array([of_dev.get(name) == key for name, key in of_train])
        ids = train.corpus["id"]
        own = dev.corpus[~dev.corpus["id"].isin(ids[shared])]
        ids = ids.where(~ids.isin(own["id"]), "train-" + ids)
        both = pd.concat([train.corpus.assign(id=ids), own], ignore_index=True)
        order = np.argsort(both["id"].to_numpy(dtype=object), kind="stable")
        in_order = both.iloc[order].reset_index(drop=True)
        parts = (train, RetrievalDataset(own, dev.queries, dev.qrels, dev.origin))
        whole = RetrievalDataset(in_order, dev.queries, dev.qrels, dev.origin)
        return cls(whole, parts, np.argsort(order))


def keys(dataset: RetrievalDataset) -> npt.NDArray[np.uint64]:
    """A hash of each passage's normalised text."""
    shards = passage_shards(dataset)
    return np.concatenate([hash_texts(texts) for texts in shards])


def differs_from_answers(
    whole: RetrievalDataset, judged: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """Passages whose text differs from that of judged ones, queries and earlier passages."""
    texts = keys(whole)
    queries = hash_texts(whole.queries["text"].tolist())
    known = np.isin(texts, np.concatenate([texts[judged], queries]))
    return ~known & ~pd.Series(texts).duplicated().to_numpy()


def nearest_by_encoder(corpus: WholeCorpus, pool: Numbers, encoder: TextEncoder) -> list[Numbers]:
    """The nearest passages of the pool for each query, the nearest first."""
    if len(pool) == 0:
        return []
    whole, parts, numbers = corpus
    read = np.arange(len(whole.corpus))
    if len(read) > SAMPLE:
        read, numbers = pool, np.arange(len(pool))
        parts = (replace(whole, corpus=whole.corpus.iloc[pool]),)
    shards = chain.from_iterable(map(passage_shards, parts))
    index = PassageIndex((encoder.encode(texts, "passage") for texts in shards), numbers)
    queries = encoder.encode(whole.queries["text"].tolist(), "query")
    # Some of the nearest are judged, and not in the pool.
    _, found = index.nearest(queries, min(BY_ENCODER, len(read)))
    return [passages[np.isin(passages, pool)] for passages in read[found]]
