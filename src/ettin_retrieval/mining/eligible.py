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
    queries: Numbers,
    passages: Numbers,
    settings: Settings,
    report: MiningReport,
) -> Bools:
    """Which candidates may be negatives of their query, whatever their scores.

    Parameters
    ----------
    queries
        A range of queries.
    passages
        Their candidates, of shape (queries, candidates), the nearest first; -1 where one has fewer.

    Returns
    -------
    Array of the shape of `passages`.
    """
    present = passages >= 0
    times = candidates.pairs_per_query[queries]
    report.candidates += int(present.sum(axis=1) @ times)
    with_passage = candidates.pair(queries[:, None], passages)
    with_text = candidates.pair(queries[:, None], candidates.texts[passages])
    known = candidates.span(candidates.positives, queries[0], queries[-1])
    reasons = {
        "positive": _isin(with_passage, candidates.positives[known]),
        "same text as a positive": _isin(with_text, candidates.positive_texts[known]),
        # Every candidate has a rank, positives too.
        "within range_min": np.arange(passages.shape[1]) < settings.negatives.range_min,
        # Missing candidates come last and so repeat others, never the reverse.
        "same text as a nearer candidate": _repeated(with_text),
    }
    return _without(reasons, present, times, report)


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
    return _without(reasons, allowed, np.ones(len(allowed), dtype=np.int64), report)


def _without(
    reasons: dict[str, Bools], allowed: Bools, times: Numbers, report: MiningReport
) -> Bools:
    """Exclude allowed candidates; each counts for its first reason, `times` times in its row."""
    kept = allowed.copy()
    for reason, applies in reasons.items():
        if count := int((kept & applies).sum(axis=1) @ times):
            report.skipped[reason] += count
        kept &= ~applies
    return kept


# By hash table: numpy's isin sorts, which takes several times as long.
def _isin(pairs: Numbers, others: Numbers) -> Bools:
    return pd.Index(pairs.ravel()).isin(others).reshape(pairs.shape)


def _repeated(pairs: Numbers) -> Bools:
    return pd.Index(pairs.ravel()).duplicated().reshape(pairs.shape)
