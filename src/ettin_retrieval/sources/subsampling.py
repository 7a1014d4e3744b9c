"""A smaller corpus for a first look: all judged passages and a seeded sample of the others.

Search is easier in a smaller corpus, so the scores say nothing about the full one. A subsampled
task has another name, and is never compared with the full task or averaged with others.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ettin_retrieval.data.dataset import RetrievalDataset
from ettin_retrieval.tasks import SUBSAMPLED

SEED = 42
"""Not the training seed: encoders trained with different seeds are compared on one corpus."""


def subsampled(
    name: str, dataset: RetrievalDataset, max_corpus_size: int | None
) -> tuple[str, RetrievalDataset]:
    """Name and data of a task whose corpus is cut to `max_corpus_size` passages.

    Judged passages are kept even if there are more. A corpus that is small enough stays as it
    is, under its own name.
    """
    if max_corpus_size is None or len(dataset.corpus) <= max_corpus_size:
        return name, dataset
    keep = dataset.corpus["id"].isin(dataset.qrels["corpus_id"]).to_numpy(copy=True)
    others = np.flatnonzero(~keep)
    wanted = max(0, max_corpus_size - int(keep.sum()))
    keep[np.random.default_rng(SEED).choice(others, size=wanted, replace=False)] = True
    notes = {"subsampled_from": len(dataset.corpus), "subsampling_seed": SEED}
    origin = replace(dataset.origin, notes={**dataset.origin.notes, **notes})
    corpus = dataset.corpus[keep].reset_index(drop=True)
    return f"{name}{SUBSAMPLED}{max_corpus_size}", replace(dataset, corpus=corpus, origin=origin)
