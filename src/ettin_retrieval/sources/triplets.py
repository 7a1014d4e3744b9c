"""sentence-transformers' MS MARCO triplets (query, positive, negative) as RetrievalDatasets.

The Ettin paper trains on them: 1,000 rows are held out with seed 12, and the first 1,250,000 of
the others are the training set.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from ettin_retrieval import hub
from ettin_retrieval.data.dataset import CORPUS, QRELS, QUERIES, Origin, RetrievalDataset, frame
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.sources.msmarco import LICENCE

REPOSITORY = "sentence-transformers/msmarco-co-condenser-margin-mse-sym-mnrl-mean-v1"

CONFIG = "triplet-hard"

HELD_OUT, HELD_OUT_SEED = 1_000, 12

TRAIN_ROWS = 1_250_000


def load() -> dict[str, RetrievalDataset]:
    """Training and development set from the Hub.

    Raises
    ------
    InputError
        The Hub cannot be reached, or its rows have other columns.
    """
    commit = hub.resolve_commit(REPOSITORY, "main", "dataset")
    rows = hub.load_split(REPOSITORY, CONFIG, "train", commit)
    # A mirror with fewer than 10,000 rows holds out a tenth.
    parts = rows.train_test_split(test_size=min(HELD_OUT, len(rows) // 10), seed=HELD_OUT_SEED)
    train = parts["train"].select(range(min(TRAIN_ROWS, len(parts["train"]))))
    origin = Origin(f"{REPOSITORY} {CONFIG}", commit, LICENCE, "train")
    return {
        # The published rows repeat each query with one mined negative after the other; every row
        # is a training example.
        "train": from_rows(train, origin, merge_queries=False),
        "dev": from_rows(parts["test"], replace(origin, split="train (held out)")),
    }


def from_rows(
    rows: Iterable[Mapping[str, str]], origin: Origin, *, merge_queries: bool = True
) -> RetrievalDataset:
    """Rows of query, positive and negative as one collection; equal passages are merged.

    Parameters
    ----------
    merge_queries
        Whether rows with the same query become one query with all their judgments. Otherwise
        each row is a query with one passage of score 1 and one of score 0.

    Examples
    --------
    >>> rows = [{"query": "q", "positive": "p", "negative": n} for n in ("n", "m")]
    >>> origin = Origin("example", "1", "CC0-1.0", "train")
    >>> from_rows(rows, origin).judgments()
    {'q0': {'p0': 1, 'p1': 0, 'p2': 0}}
    >>> from_rows(rows, origin, merge_queries=False).judgments()
    {'q0': {'p0': 1, 'p1': 0}, 'q1': {'p0': 1, 'p2': 0}}

    Raises
    ------
    InputError
        A row lacks one of the three columns.
    """
    where = f"{origin.source} {origin.split}"
    queries: list[tuple[str, str]] = []
    query_ids: dict[str, str] = {}
    passages: dict[str, str] = {}
    qrels: dict[tuple[str, str], int] = {}
    for number, row in enumerate(rows, start=1):
        try:
            query, positive, negative = row["query"], row["positive"], row["negative"]
        except KeyError as error:
            raise InputError(
                f"{where} row {number}: no column {error}; triplets have query, positive, negative"
            ) from None
        query_id = query_ids.get(query) if merge_queries else None
        if query_id is None:
            query_id = query_ids[query] = f"q{len(queries)}"
            queries.append((query_id, query))
        for text, score in ((positive, 1), (negative, 0)):
            pair = (query_id, passages.setdefault(text, f"p{len(passages)}"))
            qrels[pair] = max(qrels.get(pair, 0), score)
    return RetrievalDataset(
        corpus=frame([(i, "", text) for text, i in passages.items()], CORPUS),
        queries=frame(queries, QUERIES),
        qrels=frame([(*pair, score) for pair, score in qrels.items()], QRELS),
        origin=origin,
    ).validate()
