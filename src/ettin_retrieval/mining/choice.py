"""The choice among candidates: which are excluded, which are picked, and random ones to fill up.

Each draw has a generator seeded with its query and pair: it does not depend on other draws.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from ettin_retrieval.encoders.encode import Embeddings
from ettin_retrieval.mining.candidates import Candidates, Pairs
from ettin_retrieval.mining.passage_index import Numbers
from ettin_retrieval.mining.report import Bools
from ettin_retrieval.settings.schema import Settings


def ineligible(
    candidates: Candidates, queries: Numbers, passages: Numbers, range_min: int
) -> dict[str, Bools]:
    """Candidates that cannot be negatives of their query, whatever their scores, by reason.

    The queries are a range. Their candidates have shape (queries, candidates), the nearest first;
    -1 where a query has fewer.
    """
    with_passage = candidates.pair(queries[:, None], passages)
    with_text = candidates.pair(queries[:, None], candidates.texts[passages])
    repeated = pd.Index(with_text.ravel()).duplicated()
    known = candidates.span(candidates.positives, queries[0], queries[-1])

    # By hash table: numpy's isin sorts, which takes several times as long.
    def in_known(pairs: Numbers, positives: Numbers) -> Bools:
        return pd.Index(pairs.ravel()).isin(positives[known]).reshape(pairs.shape)

    return {
        "positive": in_known(with_passage, candidates.positives),
        "same text as a positive": in_known(with_text, candidates.positive_texts),
        # Every candidate has a rank, positives too.
        "within range_min": np.arange(passages.shape[1]) < range_min,
        # Missing candidates come last and so repeat others, never the reverse.
        "same text as a nearer candidate": repeated.reshape(with_text.shape),
    }


def out_of_bounds(
    scores: Embeddings, positive_scores: Embeddings, settings: Settings
) -> dict[str, Bools]:
    """Candidates outside the bounds that the positive's score sets, by reason.

    Scores are similarities to the query, of shapes (pairs, candidates) and (pairs, 1).
    """
    negatives = settings.negatives
    near, positive = scores.astype(np.float64), positive_scores.astype(np.float64)
    reasons: dict[str, Bools] = {}
    if negatives.relative_margin > 0:
        ceiling = positive - negatives.relative_margin * np.abs(positive)
        reasons["too near the positive (relative_margin)"] = near >= ceiling
    if negatives.absolute_margin > 0:
        ceiling = positive - negatives.absolute_margin
        reasons["too near the positive (absolute_margin)"] = near >= ceiling
    if negatives.sampling == "semi_hard":
        floor = positive - settings.finetuning.margin
        reasons["not below the positive (semi_hard)"] = near >= positive
        reasons["below the positive by the margin or more (semi_hard)"] = near <= floor
    return reasons


def pick(allowed: Bools, pairs: Pairs, settings: Settings) -> Bools:
    """Which allowed candidates, of shape (pairs, candidates) and the nearest first, are taken."""
    negatives = settings.negatives
    if negatives.sampling != "random" and negatives.sampling_strategy == "top":
        return allowed & (allowed.cumsum(axis=1) <= negatives.num_negatives)
    picked = np.zeros_like(allowed)
    for row, (query, _, position) in enumerate(zip(*pairs, strict=True)):
        columns = np.flatnonzero(allowed[row])
        if len(columns) > negatives.num_negatives:
            random = np.random.default_rng([settings.seed, query, position + 1])
            columns = random.choice(columns, size=negatives.num_negatives, replace=False)
        picked[row, columns] = True
    return picked


def fill(candidates: Candidates, query: int, chosen: Numbers, settings: Settings) -> Numbers:
    """Random passages of the corpus for the negatives missing beside the chosen ones.

    Their texts differ from each other and from those of the chosen ones and of the positives.
    They are too few if the corpus has no more, and none if a teacher must have scored them.
    """
    missing = settings.negatives.num_negatives - len(chosen)
    if missing == 0 or settings.finetuning.objective == "margin_mse":
        return chosen[:0]
    of_query = candidates.span(candidates.positives, query, query)
    _, positive_texts = candidates.split(candidates.positive_texts[of_query])
    known = np.concatenate([candidates.texts[chosen], positive_texts])

    def new(rows: Numbers) -> Numbers:
        passages = candidates.passage_numbers[rows]
        first = np.sort(np.unique(candidates.texts[passages], return_index=True)[1])
        passages = passages[first]
        return passages[~np.isin(candidates.texts[passages], known)]

    random = np.random.default_rng([settings.seed, query])
    corpus = len(candidates.passage_ids)
    # Nearly always enough, and much faster than a permutation of a large corpus.
    draws = min(corpus, 2 * (missing + len(known)) + 16)
    drawn = new(random.choice(corpus, size=draws, replace=False))
    if len(drawn) < missing and draws < corpus:
        drawn = new(random.permutation(corpus))
    return drawn[:missing]
