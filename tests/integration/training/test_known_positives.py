"""Known positives in the batches of a real collection, where a query has dozens."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from ettin_retrieval.data.negatives import Pair
from ettin_retrieval.data.normalisation import normalised
from ettin_retrieval.sources import beir
from ettin_retrieval.training.batches import SharedBatches
from ettin_retrieval.training.examples import training_examples, training_rows

NFCORPUS = os.environ.get("ETTIN_BENCHMARK_NFCORPUS")
"""NFCorpus as a BEIR directory with its training judgments."""


@pytest.mark.skipif(NFCORPUS is None, reason="ETTIN_BENCHMARK_NFCORPUS names no directory")
def test_no_known_positive_is_a_negative_in_the_batches_of_nfcorpus() -> None:
    """Three a query would be; batches stay as large as they were."""
    train = beir.load(Path(str(NFCORPUS)), "train")
    pairs: list[Pair] = [
        (q, p, []) for q, positives in train.positives().items() for p in positives
    ]
    texts, known = training_rows(training_examples(train, pairs), "contrastive").compared()
    batches = SharedBatches(texts, 32, 42, 1, contrastive=True, known=known)
    of_id = dict(zip(train.corpus["id"], map(normalised, train.passage_texts()), strict=True))
    asked = dict(zip(train.queries["id"], map(normalised, train.queries["text"]), strict=True))
    relevant: dict[str, set[str]] = {}
    for query, positive, _ in pairs:
        relevant.setdefault(asked[query], set()).add(of_id[positive])
    would_be = negatives = 0
    for share in batches:
        size, left_out = len(share.rows), set(share.left_out)
        passages = [of_id[pairs[row][1]] for row in share.rows]
        for place, row in enumerate(share.rows):
            of_query = relevant[asked[pairs[row][0]]]
            found = {(place, c) for c in range(size) if c != place and passages[c] in of_query}
            would_be += len(found)
            negatives += len(found - left_out)
        assert len(left_out) <= size * (size - 1)
    print(f"{would_be / len(pairs):.2f} known positives a query, {negatives} not left out")
    assert 3 < would_be / len(pairs) < 4 and negatives == 0
    assert batches.contrasts()[1] == would_be, "and nothing else is left out"
    assert np.mean([len(share.rows) for share in batches]) > 31.9
