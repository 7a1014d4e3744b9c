"""The choice among candidates: which are excluded, which are picked, and random ones to fill up.

What is known to be relevant to a query's question is never a negative, however it was chosen.

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
    -1 where a query has fewer. Texts are the same if they are after normalisation.
    """
    with_passage = candidates.pair(queries[:, None], passages)
    with_text = candidates.pair(queries[:, None], candidates.texts[passages])
    repeated = pd.Index(with_text.ravel()).duplicated()
    known = candidates.span(candidates.positives, queries[0], queries[-1])

    # By hash table: numpy's isin sorts, which takes several times as long.
    def among(pairs: Numbers, excluded: Numbers) -> Bools:
        return pd.Index(pairs.ravel()).isin(excluded).reshape(pairs.shape)

    def of_question(excluded: Numbers) -> Bools:
        excluded = candidates.of_questions(excluded, queries)
        if not len(excluded):  # as in most collections
            return np.zeros(passages.shape, dtype=bool)
        questions = candidates.questions[queries][:, None]
        return among(candidates.pair(questions, candidates.texts[passages]), excluded)

    return {
        "positive": among(with_passage, candidates.positives[known]),
        "same text as a positive": among(with_text, candidates.positive_texts[known]),
        "relevant to the same question under another id": of_question(candidates.question_texts),
        "the query's own text": of_question(candidates.own_texts),
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


def fill(
    candidates: Candidates, query: int, chosen: Numbers, settings: Settings
) -> tuple[Numbers, Numbers]:
    """Random passages of the corpus for the negatives missing beside the chosen ones.

    Their texts differ from each other, from those of the chosen ones and from what is known to be
    relevant to the query's question, and none is the query's own. They are too few if the corpus
    has no more, and none if a teacher must have scored them.

    Returns
    -------
    The passages, and all that were looked at for them, in the order in which they were drawn.
    """
    missing = settings.negatives.num_negatives - len(chosen)
    if missing == 0 or settings.finetuning.objective == "margin_mse":
        return chosen[:0], chosen[:0]
    known = np.concatenate([candidates.texts[chosen], known_texts(candidates, query)])

    def new(passages: Numbers) -> Numbers:
        first = np.sort(np.unique(candidates.texts[passages], return_index=True)[1])
        passages = passages[first]
        return passages[~np.isin(candidates.texts[passages], known)]

    random = np.random.default_rng([settings.seed, query])
    corpus = len(candidates.passage_ids)
    # Nearly always enough, and much faster than a permutation of a large corpus.
    draws = min(corpus, 2 * (missing + len(known)) + 16)
    looked_at = candidates.passage_numbers[random.choice(corpus, size=draws, replace=False)]
    drawn = new(looked_at)
    if len(drawn) < missing and draws < corpus:
        looked_at = candidates.passage_numbers[random.permutation(corpus)]
        drawn = new(looked_at)
    if len(drawn) >= missing:  # what was drawn after the last one needed does not count
        looked_at = looked_at[: np.flatnonzero(looked_at == drawn[missing - 1])[0] + 1]
    return drawn[:missing], looked_at


def known_texts(candidates: Candidates, query: int) -> Numbers:
    """Texts that are no negatives of a query, whatever is drawn."""
    texts = [candidates.positive_texts[candidates.span(candidates.positives, query, query)]]
    for pairs in (candidates.question_texts, candidates.own_texts):
        texts.append(candidates.of_questions(pairs, np.array([query])))
    return candidates.split(np.concatenate(texts))[1]
