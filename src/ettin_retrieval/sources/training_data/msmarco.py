"""MS MARCO as RetrievalDatasets: rows of microsoft/ms_marco, and triplets mined from it.

A row (v1.1 and v2.1) has one query and about ten passages that a search engine returned. Passages
that answer the query are selected: they get a judgment of 1, the others one of 0. A label of -1 is
withheld: such a passage is not selected either.

The Ettin paper trains on sentence-transformers' triplets (query, positive, negative): 1,000 rows
are held out with seed 12, and the first 1,250,000 of the others are the training set.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from ettin_retrieval import hub
from ettin_retrieval.data.dataset import (
    CORPUS,
    NUL,
    QRELS,
    QUERIES,
    Origin,
    RetrievalDataset,
    frame,
)
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.settings.load import validated
from ettin_retrieval.sources.beir import HALF_A_PAIR, LONE_SURROGATE

REPOSITORY = "microsoft/ms_marco"
SPLITS = {"train": "train", "dev": "validation"}

TRIPLETS = "sentence-transformers/msmarco-co-condenser-margin-mse-sym-mnrl-mean-v1"
TRIPLET_CONFIG = "triplet-hard"
TRIPLET_ROWS = 1_250_000
HELD_OUT, HELD_OUT_SEED = 1_000, 12

LICENCE = "MS MARCO terms: non-commercial research"

WITHHELD = -1
"""In `is_selected`: whether the passage answers was not published, as in the test split."""


def _encodable(text: str) -> str:
    if not text.isascii() and LONE_SURROGATE.search(text):
        raise ValueError(HALF_A_PAIR)
    return text


def _all_encodable(texts: list[str]) -> list[str]:
    _encodable("".join(texts))
    return texts


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("has no text")
    return text


def _usable_id(query_id: int | str) -> int | str:
    if isinstance(query_id, str) and "\0" in _encodable(query_id):
        raise ValueError(NUL)
    return query_id


Text = Annotated[str, AfterValidator(_encodable)]
NotBlank = Annotated[Text, AfterValidator(_not_blank)]


class Read(BaseModel):
    """What is read of a row: other columns are ignored, values are not converted."""

    model_config = ConfigDict(strict=True)


class Passages(Read):
    """The passages of a row, and whether each was selected: 0, 1 or `WITHHELD`."""

    passage_text: Annotated[list[str], AfterValidator(_all_encodable)]
    is_selected: list[Annotated[int, Field(ge=WITHHELD, le=1)]]

    @model_validator(mode="after")
    def _lengths_match(self) -> Passages:
        if len(self.passage_text) != len(self.is_selected):
            raise ValueError(
                f"{len(self.passage_text)} passage_text but {len(self.is_selected)} is_selected; "
                "they must match"
            )
        return self

    def with_text(self) -> list[tuple[str, int]]:
        """Passages that are not empty, and 1 for each that is selected."""
        pairs = zip(map(str.strip, self.passage_text), self.is_selected, strict=True)
        return [(text, int(selected == 1)) for text, selected in pairs if text]


class Row(Read):
    """What is read of a row of microsoft/ms_marco."""

    query: NotBlank
    query_id: Annotated[int | str, AfterValidator(_usable_id)]
    passages: Passages


class Triplet(Read):
    """What is read of a row of triplets."""

    query: NotBlank
    positive: NotBlank
    negative: Text


def load(config: str, rows_without_positive: str) -> dict[str, RetrievalDataset]:
    """Training and development set of microsoft/ms_marco, at the current commit of `main`.

    `config` is v1.1 or v2.1. `rows_without_positive: error` refuses rows without a selected
    passage; `skip` and `auto` leave them out: the published data has some.

    Raises InputError if the Hub cannot be reached or a row does not have MS MARCO's columns.
    """
    commit = hub.resolve_commit(REPOSITORY, "main", "dataset")
    return {
        name: from_rows(
            hub.load_split(REPOSITORY, config, split, commit),
            Origin(f"{REPOSITORY} {config}", commit, LICENCE, split),
            skip_without_positive=rows_without_positive != "error",
        )
        for name, split in SPLITS.items()
    }


def load_triplets() -> dict[str, RetrievalDataset]:
    """Training and development set of the triplets from the Hub.

    Raises InputError if the Hub cannot be reached or its rows have other columns.
    """
    commit = hub.resolve_commit(TRIPLETS, "main", "dataset")
    rows = hub.load_split(TRIPLETS, TRIPLET_CONFIG, "train", commit)
    # A mirror with fewer than 10,000 rows holds out a tenth.
    parts = rows.train_test_split(test_size=min(HELD_OUT, len(rows) // 10), seed=HELD_OUT_SEED)
    train = parts["train"].select(range(min(TRIPLET_ROWS, len(parts["train"]))))
    origin = Origin(f"{TRIPLETS} {TRIPLET_CONFIG}", commit, LICENCE, "train")
    return {
        # The published rows repeat each query with one mined negative after the other; every row
        # is a training example.
        "train": from_triplets(train, origin, merge_queries=False),
        "dev": from_triplets(parts["test"], replace(origin, split="train (held out)")),
    }


def from_rows(
    rows: Iterable[Mapping[str, Any]], origin: Origin, *, skip_without_positive: bool
) -> RetrievalDataset:
    """Rows in MS MARCO's nested schema as one collection; equal passages are merged.

    >>> row = {"query": "who?", "query_id": 7, "passages": {
    ...     "is_selected": [0, 1], "passage_text": ["me", "you"], "url": ["", ""]}}
    >>> origin = Origin("example", "1", "CC0-1.0", "train")
    >>> from_rows([row], origin, skip_without_positive=False).judgments()
    {'7': {'7-0': 0, '7-1': 1}}

    Raises
    ------
    InputError
        A row lacks a field, or has no selected passage (unless such rows are skipped).
    """
    collection = _Collection(origin)
    skipped = withheld = 0
    for number, content in enumerate(rows, start=1):
        where = f"{origin.source} {origin.split} row {number}"
        row = validated(Row, content, where)
        query_id, passages = str(row.query_id), row.passages.with_text()
        withheld += row.passages.is_selected.count(WITHHELD)
        if not any(selected for _, selected in passages):
            if not skip_without_positive:
                raise InputError(
                    f"{where}: query_id {query_id} has no selected passage; fix the row, or skip "
                    "such rows with -S data.rows_without_positive=skip"
                )
            skipped += 1
            continue
        collection.queries.append((query_id, row.query.strip()))
        for position, (text, selected) in enumerate(passages):
            collection.judge(query_id, text, selected, f"{query_id}-{position}")
    notes = {"rows_without_selected_passage_left_out": skipped}
    if withheld:
        notes["withheld_labels"] = withheld
    return collection.dataset().with_notes(**notes)


def from_triplets(
    rows: Iterable[Mapping[str, Any]], origin: Origin, *, merge_queries: bool = True
) -> RetrievalDataset:
    """Rows of query, positive and negative as one collection; equal passages are merged.

    With `merge_queries`, rows with the same query become one query with all their judgments.
    Otherwise each row is a query with one passage of score 1 and one of score 0.

    >>> rows = [{"query": "q", "positive": "p", "negative": n} for n in ("n", "m")]
    >>> origin = Origin("example", "1", "CC0-1.0", "train")
    >>> from_triplets(rows, origin).judgments()
    {'q0': {'p0': 1, 'p1': 0, 'p2': 0}}
    >>> from_triplets(rows, origin, merge_queries=False).judgments()
    {'q0': {'p0': 1, 'p1': 0}, 'q1': {'p0': 1, 'p2': 0}}

    Raises InputError if a row lacks one of the three columns, or one is not text.
    """
    collection = _Collection(origin)
    query_ids: dict[str, str] = {}
    for number, row in enumerate(rows, start=1):
        triplet = validated(Triplet, row, f"{origin.source} {origin.split} row {number}")
        query, positive, negative = triplet.query, triplet.positive, triplet.negative
        query_id = query_ids.get(query) if merge_queries else None
        if query_id is None:
            query_id = query_ids[query] = f"q{len(collection.queries)}"
            collection.queries.append((query_id, query))
        for text, score in ((positive, 1), (negative, 0)):
            collection.judge(query_id, text, score, f"p{len(collection.passages)}")
    return collection.dataset()


class _Collection:
    """Queries and judged passages, in which equal passages are one, with the id of the first."""

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.queries: list[tuple[str, str]] = []
        self.passages: dict[str, str] = {}
        self._scores: dict[tuple[str, str], int] = {}

    def judge(self, query_id: str, text: str, score: int, new_id: str) -> None:
        """Judge a passage; of two judgments of a pair the higher one counts."""
        pair = (query_id, self.passages.setdefault(text, new_id))
        self._scores[pair] = max(self._scores.get(pair, 0), score)

    def dataset(self) -> RetrievalDataset:
        where = f"{self.origin.source} {self.origin.split}"
        return RetrievalDataset(
            corpus=frame([(i, "", text) for text, i in self.passages.items()], CORPUS),
            queries=frame(self.queries, QUERIES),
            qrels=frame([(*pair, score) for pair, score in self._scores.items()], QRELS),
            origin=self.origin,
        ).validate(lambda table, row: f"{where}: {table} row {row + 1}")
