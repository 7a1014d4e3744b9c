"""Choice among eligible candidates, and random passages where there are too few.

Each draw has a generator seeded with its query and pair: it does not depend on other draws.
"""

from __future__ import annotations

import numpy as np

from ettin_retrieval.mining.candidates import Candidates, Pairs
from ettin_retrieval.mining.eligible import Bools
from ettin_retrieval.mining.passage_index import Numbers
from ettin_retrieval.settings.schema import Settings


def pick(allowed: Bools, pairs: Pairs, settings: Settings) -> Bools:
    """Which allowed candidates become negatives: the nearest, or a random sample.

    Parameters
    ----------
    allowed
        Of shape (pairs, candidates), the nearest first.
    """
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
