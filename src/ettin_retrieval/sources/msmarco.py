"""MS MARCO (microsoft/ms_marco, v1.1 and v2.1) as RetrievalDatasets.

A row has one query and about ten passages that a search engine returned. Passages that answer the
query are selected: they get a judgment of 1, the others one of 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from ettin_retrieval import hub
from ettin_retrieval.data.dataset import CORPUS, QRELS, QUERIES, Origin, RetrievalDataset, frame
from ettin_retrieval.runtime.errors import InputError

REPOSITORY = "microsoft/ms_marco"

LICENCE = "MS MARCO terms: non-commercial research"

SPLITS = {"train": "train", "dev": "validation"}

Row = Mapping[str, Any]


def load(config: str, rows_without_positive: str) -> dict[str, RetrievalDataset]:
    """Training and development set from the Hub, at the current commit of `main`.

    Parameters
    ----------
    config
        `v1.1` or `v2.1`.
    rows_without_positive
        `error` refuses rows without a selected passage; `skip` and `auto` leave them out: the
        published data has some.

    Raises
    ------
    InputError
        The Hub cannot be reached, or a row does not have MS MARCO's columns.
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


def from_rows(
    rows: Iterable[Row], origin: Origin, *, skip_without_positive: bool
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
    where = f"{origin.source} {origin.split}"
    ids: dict[str, str] = {}
    queries: list[tuple[str, str]] = []
    qrels: dict[tuple[str, str], int] = {}
    skipped = 0
    for number, row in enumerate(rows, start=1):
        query_id, query, passages = _parse(row, f"{where} row {number}")
        if not any(selected for _, selected in passages):
            if not skip_without_positive:
                raise InputError(
                    f"{where} row {number}: query_id {query_id} has no selected passage; fix the "
                    "row, or skip such rows with -S data.rows_without_positive=skip"
                )
            skipped += 1
            continue
        queries.append((query_id, query))
        for position, (text, selected) in enumerate(passages):
            pair = (query_id, ids.setdefault(text, f"{query_id}-{position}"))
            qrels[pair] = max(qrels.get(pair, 0), selected)
    notes = {**origin.notes, "rows_without_selected_passage_left_out": skipped}
    return RetrievalDataset(
        corpus=frame([(corpus_id, "", text) for text, corpus_id in ids.items()], CORPUS),
        queries=frame(queries, QUERIES),
        qrels=frame([(*pair, score) for pair, score in qrels.items()], QRELS),
        origin=replace(origin, notes=notes),
    ).validate(
        corpus_row=lambda _: f"{where}: corpus",
        queries_row=lambda row: f"{where}: query {row + 1}",
        qrels_row=lambda row: f"{where}: judgment {row + 1}",
    )


def _parse(row: Row, where: str) -> tuple[str, str, list[tuple[str, int]]]:
    """Query id, query and (passage, selected) of a row, without empty passages."""
    try:
        texts, selected = row["passages"]["passage_text"], row["passages"]["is_selected"]
        query_id, query = row["query_id"], row["query"]
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{where}: a field is missing or null ({error}); a row has query, query_id and "
            "passages with passage_text and is_selected, as in microsoft/ms_marco"
        ) from None
    if not (_is_list_of(str, texts) and _is_list_of(int, selected) and isinstance(query, str)):
        raise InputError(
            f"{where}: query must be text, passage_text a list of texts and is_selected a list of "
            "0 and 1, as in microsoft/ms_marco"
        )
    if len(texts) != len(selected):
        raise InputError(
            f"{where}: {len(texts)} passage_text but {len(selected)} is_selected; they must match"
        )
    pairs = zip(texts, selected, strict=True)
    passages = [(text.strip(), int(bool(chosen))) for text, chosen in pairs if text.strip()]
    return str(query_id), query.strip(), passages


def _is_list_of(kind: type, values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, kind) for value in values)
