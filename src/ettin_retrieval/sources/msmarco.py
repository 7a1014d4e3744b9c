"""MS MARCO rows (microsoft/ms_marco, v1.1 and v2.1) as RetrievalDatasets.

A row holds one query and about ten passages that a search engine returned; the selected ones
answer the query. Selected passages become judgments of score 1, the others of score 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ettin_retrieval import hub
from ettin_retrieval.data.dataset import CORPUS, QRELS, QUERIES, Origin, RetrievalDataset, frame
from ettin_retrieval.runtime.errors import InputError

REPOSITORY = "microsoft/ms_marco"

LICENCE = "MS MARCO terms: non-commercial research"

SPLITS = {"train": "train", "dev": "validation"}

Row = Mapping[str, Any]


def load(config: str, rows_without_positive: str) -> dict[str, RetrievalDataset]:
    """Training and development set from the hub, at the commit that `main` names at present.

    Raises
    ------
    InputError
        No hub can be reached, or its rows are not what MS MARCO's are.
    """
    commit = hub.resolve_commit(REPOSITORY, "main", "dataset")
    datasets = {}
    for name, split in SPLITS.items():
        rows = hub.load_split(REPOSITORY, config, split, commit)
        datasets[name] = from_rows(
            rows,
            Origin(f"{REPOSITORY} {config}", commit, LICENCE, split),
            # The published rows are known to include some without a selected passage.
            skip_without_positive=rows_without_positive != "error",
        )
    return datasets


def from_rows(
    rows: Iterable[Row], origin: Origin, *, skip_without_positive: bool
) -> RetrievalDataset:
    """Rows of MS MARCO's nested schema as one collection; equal passages become one.

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
    where = f"{origin.source} {origin.split}"
    ids: dict[str, str] = {}
    queries: list[tuple[str, str]] = []
    qrels: dict[tuple[str, str], int] = {}
    skipped = 0
    for number, row in enumerate(rows, start=1):
        query_id, query, passages = _fields(row, f"{where} row {number}")
        if not any(selected for _, selected in passages):
            if not skip_without_positive:
                raise InputError(
                    f"{where} row {number}: query_id {query_id} has no selected passage; mend "
                    "the row, or leave such rows out with -S data.rows_without_positive=skip"
                )
            skipped += 1
            continue
        queries.append((query_id, query))
        for position, (text, selected) in enumerate(passages):
            corpus_id = ids.setdefault(text, f"{query_id}-{position}")
            key = (query_id, corpus_id)
            qrels[key] = max(qrels.get(key, 0), selected)
    dataset = RetrievalDataset(
        corpus=frame([(corpus_id, "", text) for text, corpus_id in ids.items()], CORPUS),
        queries=frame(queries, QUERIES),
        qrels=frame([(*key, score) for key, score in qrels.items()], QRELS),
        origin=Origin(
            origin.source,
            origin.revision,
            origin.licence,
            origin.split,
            {**origin.notes, "rows_without_selected_passage_left_out": skipped},
        ),
    )
    return dataset.validate(
        corpus_row=lambda _: f"{where}: corpus",
        queries_row=lambda row: f"{where}: query {row + 1}",
        qrels_row=lambda row: f"{where}: judgment {row + 1}",
    )


def _fields(row: Row, where: str) -> tuple[str, str, list[tuple[str, int]]]:
    """Query id, query and (passage, selected) of a row; empty passages are dropped."""
    try:
        passages = row["passages"]
        texts, selected = passages["passage_text"], passages["is_selected"]
        query_id, query = str(row["query_id"]), str(row["query"]).strip()
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{where}: a field is missing or null ({error}); a row has query, query_id and "
            "passages with passage_text and is_selected, as in microsoft/ms_marco"
        ) from None
    if not (_are(texts, str) and _are(selected, int) and isinstance(row["query"], str)):
        raise InputError(
            f"{where}: query must be text, passage_text a list of texts and is_selected a list of "
            "0 and 1, as in microsoft/ms_marco"
        )
    if len(texts) != len(selected):
        raise InputError(
            f"{where}: {len(texts)} passage_text but {len(selected)} is_selected; they must match"
        )
    pairs = zip(texts, selected, strict=True)
    return query_id, query, [(t.strip(), int(bool(s))) for t, s in pairs if t.strip()]


def _are(values: Any, kind: type) -> bool:
    return isinstance(values, list) and all(isinstance(value, kind) for value in values)
