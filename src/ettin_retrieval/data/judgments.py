"""Judgments of published collections that have a flaw: what is said of them, what is trained on.

Some passages that are judged relevant lack their text (471 and 995 of Cranfield) or are not in the
corpus (ArguAna's). mteb scores the first as the empty text and the second as not found, and so
does this project. Neither can be a training positive.
"""

from __future__ import annotations

from dataclasses import replace

from ettin_retrieval.data.dataset import RetrievalDataset

MISSING = "pairs_left_out_passage_missing"
WITHOUT_TEXT = "pairs_left_out_passage_without_text"
"""Notes of a training or development set: pairs of a query and a relevant passage."""

STRICT = "-S data.strict_judgments=true refuses them"


def flaws(dataset: RetrievalDataset, *, training: bool = False) -> list[str]:
    """What is unusual about a collection's judgments and what follows from it, a line for each.

    `training` says that the dataset is to be trained on (`trainable`), not scored.
    """
    qrels, relevant = dataset.qrels, dataset.qrels["score"] > 0
    found = []
    if len(lost := qrels[dataset.missing()]):
        query_id, corpus_id, _ = lost.iloc[0]
        then = "left out of training" if training else "not found, as in mteb"
        found.append(
            f"judgments of a passage that is not in the corpus: {len(lost):,}, relevant: "
            f"{int((lost['score'] > 0).sum()):,} (the first: query {query_id!r}, passage "
            f"{corpus_id!r}); {then}; {STRICT}"
        )
    if len(empty := dataset.corpus["id"][dataset.without_text() & dataset.relevant()]):
        then = "left out of training" if training else "encoded as the empty text, as in mteb"
        found.append(
            f"relevant passages without text: {len(empty):,} (the first: {empty.iloc[0]!r}); "
            f"{then}; {STRICT}"
        )
    unanswered = len(dataset.queries) - qrels["query_id"][relevant].nunique()
    if unanswered and not training:
        found.append(
            f"queries without a relevant passage: {unanswered:,}; they score 0, as in mteb"
        )
    if negative := dataset.origin.notes.get("negative_scores_as_0"):
        found.append(f"judgments with a score below 0: {negative:,}; not relevant, as a score of 0")
    return found


def trainable(dataset: RetrievalDataset) -> RetrievalDataset:
    """The dataset without judgments of missing passages and without relevant empty passages.

    An empty passage that is relevant to some query leaves the corpus, so that it is not mined as a
    negative either. The notes have the numbers of pairs left out.
    """
    relevant, missing = dataset.qrels["score"] > 0, dataset.missing()
    empty = dataset.without_text() & dataset.relevant()
    if not missing.any() and not empty.any():
        return dataset
    corpus = dataset.corpus[~empty].reset_index(drop=True)
    left_out = ~dataset.qrels["corpus_id"].isin(corpus["id"])
    counts = {
        MISSING: int((relevant & missing).sum()),
        WITHOUT_TEXT: int((relevant & left_out & ~missing).sum()),
    }
    teacher = dataset.teacher
    if teacher is not None:
        teacher = teacher[teacher["corpus_id"].isin(corpus["id"])].reset_index(drop=True)
    return replace(
        dataset,
        corpus=corpus,
        qrels=dataset.qrels[~left_out].reset_index(drop=True),
        teacher=teacher,
    ).with_notes(**{name: count for name, count in counts.items() if count})
