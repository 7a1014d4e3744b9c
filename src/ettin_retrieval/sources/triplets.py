"""sentence-transformers' MS MARCO triplets (query, positive, negative) as RetrievalDatasets.

The paper's recipe trains on them: the first 1,250,000 rows after 1,000 were held out with seed 12.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from ettin_retrieval import hub
from ettin_retrieval.data.dataset import CORPUS, QRELS, QUERIES, Origin, RetrievalDataset, frame
from ettin_retrieval.runtime.errors import InputError

REPOSITORY = "sentence-transformers/msmarco-co-condenser-margin-mse-sym-mnrl-mean-v1"

CONFIG = "triplet-hard"

LICENCE = "MS MARCO terms: non-commercial research"

HELD_OUT = 1_000

HELD_OUT_SEED = 12

TRAIN_ROWS = 1_250_000


def load() -> dict[str, RetrievalDataset]:
    """Training and development set from the hub.

    Raises
    ------
    InputError
        No hub can be reached, or its rows have other columns.
    """
    commit = hub.resolve_commit(REPOSITORY, "main", "dataset")
    rows = hub.load_split(REPOSITORY, CONFIG, "train", commit)
    # A hub mirror with fewer rows than 10,000 holds out a tenth instead of 1,000.
    parts = rows.train_test_split(test_size=min(HELD_OUT, len(rows) // 10), seed=HELD_OUT_SEED)
    origin = Origin(f"{REPOSITORY} {CONFIG}", commit, LICENCE, "train")
    train = parts["train"].select(range(min(TRAIN_ROWS, len(parts["train"]))))
    return {
        # A triplet is a training example, however often its query occurs: the published rows
        # repeat each query with one mined negative after the other.
        "train": from_rows(train, origin, merge_queries=False),
        "dev": from_rows(parts["test"], replace(origin, split="train (held out)")),
    }


def from_rows(
    rows: Iterable[Mapping[str, str]], origin: Origin, *, merge_queries: bool = True
) -> RetrievalDataset:
    """Rows of query, positive, negative; equal passages become one.

    Parameters
    ----------
    merge_queries
        Whether rows of the same query become one query with all their judgments; otherwise
        each row is a query of its own, with one passage of score 1 and one of score 0.

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
            key = (query_id, passages.setdefault(text, f"p{len(passages)}"))
            qrels[key] = max(qrels.get(key, 0), score)
    return RetrievalDataset(
        corpus=frame([(i, "", text) for text, i in passages.items()], CORPUS),
        queries=frame(queries, QUERIES),
        qrels=frame([(*key, score) for key, score in qrels.items()], QRELS),
        origin=origin,
    ).validate()
