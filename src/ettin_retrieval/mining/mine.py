"""TODO: mining.mine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from ettin_retrieval.data.dataset import RetrievalDataset
from ettin_retrieval.data.negatives import Pair
from ettin_retrieval.encoders.embedding_cache import EmbeddingCache, Embeddings
from ettin_retrieval.encoders.encode import encode
from ettin_retrieval.mining.candidates import Candidates, check_candidates
from ettin_retrieval.mining.passage_index import PassageIndex
from ettin_retrieval.mining.report import MiningReport
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.settings.schema import Settings

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

SHARD = 16_384
"""Passages whose texts and embeddings are in memory beside the index."""


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
        Encoder that says what is near; not needed (None) for random negatives.
    cache
        Embeddings of passages, which the evaluation of the same encoder can reuse.

    Raises
    ------
    InputError
        The training set has no passages of the kind that negatives are to be chosen from.
    """
    if not needs_encoder(settings):
        return choose(dataset, None, None, settings)
    if model is None:
        raise ValueError(f"{settings.negatives.sampling} negatives need an encoder")
    candidates = Candidates(dataset, settings)
    batch_size = settings.encoding.batch_size
    index: PassageIndex | None = None
    for texts in _shards(dataset):
        candidates.read(texts)
        vectors = encode(model, texts, "passage", batch_size=batch_size, cache=cache)
        if index is None:
            index = PassageIndex(vectors.shape[1], candidates.tie_order)
        index.add(vectors)
    queries = encode(model, dataset.queries["text"].tolist(), "query", batch_size=batch_size)
    return candidates.choose(queries, index)


def needs_encoder(settings: Settings) -> bool:
    """Whether negatives are chosen by similarity."""
    return settings.negatives.sampling != "random" and settings.negatives.num_negatives > 0


def choose(
    dataset: RetrievalDataset,
    queries: Embeddings | None,
    passages: Embeddings | None,
    settings: Settings,
) -> tuple[list[Pair], MiningReport]:
    """The negatives of each pair, given embeddings of shape (queries, d) and (passages, d).

    Random negatives need no embeddings. Equal scores are ordered by passage id, so the same
    embeddings always give the same negatives.
    """
    candidates = Candidates(dataset, settings)
    for texts in _shards(dataset):
        candidates.read(texts)
    if passages is None:
        return candidates.choose(None, None)
    index = PassageIndex(passages.shape[1], candidates.tie_order)
    index.add(passages)
    return candidates.choose(queries, index)


def check_negatives(dataset: RetrievalDataset, settings: Settings) -> None:
    """Refuse settings that this training set has no negatives for; nothing is encoded yet.

    Raises
    ------
    InputError
        See `check_candidates` and `check_enough_passages`.
    """
    check_candidates(dataset, settings)
    check_enough_passages(dataset, settings)


def check_enough_passages(dataset: RetrievalDataset, settings: Settings) -> None:
    """Refuse more negatives of a query than the corpus has other passages.

    Raises
    ------
    InputError
        Names the number that there can be.
    """
    most = len(dataset.corpus) - max(len(found) for found in dataset.positives().values())
    wanted = settings.negatives.num_negatives
    if wanted > most:
        raise InputError(
            f"params.yaml: negatives.num_negatives: {wanted} negatives of a query, and the corpus of "
            f"{len(dataset.corpus):,} passages has {most:,} others than its positives; ask for "
            f"{most} or fewer"
        )


def _shards(dataset: RetrievalDataset) -> Iterator[list[str]]:
    """Passage texts, so many at a time that texts and embeddings are never all in memory."""
    for start in range(0, len(dataset.corpus), SHARD):
        part = dataset.corpus.iloc[start : start + SHARD]
        yield replace(dataset, corpus=part).passage_texts()
