"""Which candidates may be negatives; the others are counted in the report, by reason."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from ettin_retrieval.encoders.embedding_cache import Embeddings
from ettin_retrieval.mining.candidates import Candidates
from ettin_retrieval.mining.passage_index import Numbers
from ettin_retrieval.mining.report import MiningReport
from ettin_retrieval.settings.schema import Settings

Bools = npt.NDArray[np.bool_]


def eligible(
    candidates: Candidates,
    query: Numbers,
    passages: Numbers,
    settings: Settings,
    report: MiningReport,
) -> Bools:
    """Which candidates may be negatives, whatever their scores.

    Parameters
    ----------
    query
        Of each pair, sorted.
    passages
        Candidates of each pair, the nearest first; -1 where one has fewer than another.

    Returns
    -------
    Array of the shape of `passages`, (pairs, candidates).
    """
    present = passages >= 0
    report.candidates += int(present.sum())
    rank = np.arange(passages.shape[1])
    # Missing candidates have different texts: rows that repeat one take longer below.
    texts = np.where(present, candidates.texts[passages], -1 - rank)
    known = candidates.of_queries(query[0], query[-1])

    def among(items: Numbers, pairs: Numbers) -> Bools:
        wanted = candidates.pair(query[:, None], items)
        return pd.Index(wanted.ravel()).isin(pairs).reshape(wanted.shape)

    reasons = {
        "positive": among(passages, candidates.positives[known]),
        "same text as a positive": among(texts, candidates.positive_texts[known]),
        # Every candidate has a rank, positives too.
        "within range_min": rank < settings.negatives.range_min,
        "same text as a nearer candidate": _repeated(texts),
    }
    return _without(reasons, present, report)


def within_bounds(
    scores: Embeddings,
    positive_scores: Embeddings,
    allowed: Bools,
    settings: Settings,
    report: MiningReport,
) -> Bools:
    """Which allowed candidates have a score within the bounds that the positive's score sets.

    Parameters
    ----------
    scores, positive_scores
        Similarities to the query, of shapes (pairs, candidates) and (pairs, 1).
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
    return _without(reasons, allowed, report)


def _without(reasons: dict[str, Bools], allowed: Bools, report: MiningReport) -> Bools:
    """Which allowed candidates no reason excludes; the others count for their first reason."""
    kept = allowed.copy()
    for reason, applies in reasons.items():
        if count := int((kept & applies).sum()):
            report.skipped[reason] += count
        kept &= ~applies
    return kept


def _repeated(numbers: Numbers) -> Bools:
    """Which numbers occur earlier in their row.

    >>> _repeated(np.array([[7, 5, 7], [1, 2, 3]])).tolist()
    [[False, False, True], [False, False, False]]
    """
    repeated = np.zeros(numbers.shape, dtype=np.bool_)
    ordered = np.sort(numbers, axis=1)
    for row in np.flatnonzero((ordered[:, 1:] == ordered[:, :-1]).any(axis=1)):
        repeated[row] = True
        repeated[row, np.unique(numbers[row], return_index=True)[1]] = False
    return repeated
