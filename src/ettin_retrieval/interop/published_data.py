"""Is a collection the one that a figure was published on? By revision, or by its content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from ettin_retrieval.data.dataset import RetrievalDataset, passage_text
from ettin_retrieval.settings.sections import Section


class Collection(Section):
    """Data that is known to be the same in several forms: `content_digest` and revisions."""

    revisions: list[str]
    digest: str
    reason: str


def content_digest(dataset: RetrievalDataset) -> str:
    """sha256 of what decides a score, in any order: texts as an encoder reads them, judgments.

    Judgments of 0 and below change no metric and are left out.
    """
    corpus, queries = dataset.corpus, dataset.queries
    relevant = dataset.qrels[dataset.qrels["score"] > 0]
    passages = map(passage_text, corpus["title"], corpus["text"])
    rows: list[Iterable[tuple[object, ...]]] = [
        (("passage", *row) for row in zip(corpus["id"], passages, strict=True)),
        (
            ("query", *row)
            for row in zip(queries["id"], map(str.strip, queries["text"]), strict=True)
        ),
        (("judgment", *row) for row in relevant.itertuples(index=False)),
    ]
    digests = sorted(
        hashlib.sha256("\0".join(map(str, row)).encode()).digest() for part in rows for row in part
    )
    return hashlib.sha256(b"".join(digests)).hexdigest()


def other_data(
    task: str, wanted: str, dataset: RetrievalDataset, known: Mapping[str, Collection]
) -> str:
    """Why a dataset is not that of a revision; empty if it is. `known` is by task."""
    found = dataset.origin.revision
    if found == wanted:
        return ""
    collection = known.get(task)
    if collection is None or wanted not in collection.revisions:
        return (
            f"{task}: revision {found} of {dataset.origin.source}, published on {wanted}; whether "
            "the texts are the same is not known"
        )
    digest = content_digest(dataset)
    if digest == collection.digest:
        return ""
    return (
        f"{task}: other texts or judgments than those of revision {wanted}: digest {digest[:12]}, "
        f"not {collection.digest[:12]}"
    )
