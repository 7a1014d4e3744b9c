"""RetrievalDataset: corpus, queries and relevance judgments, in memory and on disk.

A directory of files, which every source writes and every later stage reads:

- `corpus.parquet`: id, title, text (strings)
- `queries.parquet`: id, text (strings)
- `qrels.parquet`: query_id, corpus_id (strings), score (int; 0 is a judged negative)
- `teacher.parquet`, only where a source has it: query_id, corpus_id, score (float from -1 to 1)
- `manifest.json`: source, revision, licence, title policy, counts, sha256 per file
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd
import pyarrow as pa

from ettin_retrieval.runtime.errors import InputError

CORPUS = pa.schema([("id", pa.string()), ("title", pa.string()), ("text", pa.string())])

QUERIES = pa.schema([("id", pa.string()), ("text", pa.string())])

QRELS = pa.schema([("query_id", pa.string()), ("corpus_id", pa.string()), ("score", pa.int64())])

TEACHER = pa.schema(
    [("query_id", pa.string()), ("corpus_id", pa.string()), ("score", pa.float64())]
)

SCHEMAS = {"corpus": CORPUS, "queries": QUERIES, "qrels": QRELS, "teacher": TEACHER}

OPTIONAL = {"teacher"}

ROW_GROUP = 16_384
"""Rows per row group of the Parquet files: what a reader that streams holds at least."""

Locate = Callable[[int], str]
"""Names the place a row came from, such as `corpus.jsonl:17`, for messages."""


@dataclass(frozen=True)
class Origin:
    """Where a dataset comes from.

    Attributes
    ----------
    source
        Hub id, `synthetic`, or `beir` for a directory of the user's.
    revision
        Commit of a hub dataset, version of the generator, or sha256 of the user's files.
    licence
        SPDX name, or `unknown`.
    split
        Name of the split that the judgments come from.
    notes
        Further facts worth keeping, such as how many rows were left out and why.
    """

    source: str
    revision: str
    licence: str
    split: str
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RetrievalDataset:
    """A collection with judgments.

    Attributes
    ----------
    corpus
        Columns id, title, text; one row a passage.
    queries
        Columns id, text.
    qrels
        Columns query_id, corpus_id, score. Only queries with a judgment matter for scores.
    teacher
        Columns query_id, corpus_id, score: how similar another model finds query and passage, as
        a cosine from -1 to 1, for as many passages as it has scored. None without a teacher.
    """

    corpus: pd.DataFrame
    queries: pd.DataFrame
    qrels: pd.DataFrame
    origin: Origin
    teacher: pd.DataFrame | None = None

    def passage_texts(self) -> list[str]:
        """What an encoder reads of each passage: title and text, as mteb joins them."""
        # As lists: going through a column of Arrow's, pandas makes each string on its own.
        titles, texts = self.corpus["title"].tolist(), self.corpus["text"].tolist()
        if not any(titles):  # as of MS MARCO, where calls for each passage take half of the time
            return [text.strip() for text in texts]
        return [passage_text(title, text) for title, text in zip(titles, texts, strict=True)]

    def positives(self) -> dict[str, dict[str, int]]:
        """Relevant passages: query id to {passage id: score}, scores above 0 only."""
        return by_query(self.qrels[self.qrels["score"] > 0])

    def judgments(self) -> dict[str, dict[str, int]]:
        """All judgments: query id to {passage id: score}."""
        return by_query(self.qrels)

    def teacher_scores(self) -> dict[str, dict[str, float]]:
        """Scores of the teacher: query id to {passage id: score}; empty without a teacher."""
        return {} if self.teacher is None else by_query(self.teacher)

    def with_queries(self, query_ids: list[str], **notes: Any) -> RetrievalDataset:
        """The same corpus with only these queries, their judgments and their teacher's scores."""
        kept = set(query_ids)
        teacher = self.teacher
        if teacher is not None:
            teacher = teacher[teacher["query_id"].isin(kept)].reset_index(drop=True)
        return replace(
            self,
            queries=self.queries[self.queries["id"].isin(kept)].reset_index(drop=True),
            qrels=self.qrels[self.qrels["query_id"].isin(kept)].reset_index(drop=True),
            teacher=teacher,
            origin=replace(self.origin, notes={**self.origin.notes, **notes}),
        )

    def validate(
        self,
        corpus_row: Locate = lambda row: f"corpus row {row + 1}",
        queries_row: Locate = lambda row: f"queries row {row + 1}",
        qrels_row: Locate = lambda row: f"qrels row {row + 1}",
        teacher_row: Locate = lambda row: f"teacher row {row + 1}",
        *,
        as_published: bool = False,
    ) -> RetrievalDataset:
        """Check ids, texts, judgments and the teacher's scores; return the dataset itself.

        Passages without text are kept, as mteb keeps them: they are embedded as the empty text.
        FiQA2018, TRECCOVID and others have some. One that is judged relevant is a mistake.

        Parameters
        ----------
        as_published
            A pinned revision, where nothing can be mended: relevant passages may lack their text,
            or be missing (five of ArguAna's are), and count as not found.

        Raises
        ------
        InputError
            An empty corpus, a duplicate id, a relevant passage or a query without text, a
            judgment or teacher's score of an unknown query or passage, one given twice, a
            teacher's score that is no cosine, or no positive judgment at all.
        """
        if self.corpus.empty:
            raise InputError(f"{corpus_row(0)}: the corpus is empty; it needs at least one passage")
        if self.queries.empty:
            raise InputError(f"{queries_row(0)}: there are no queries; at least one is needed")
        _no_duplicates(self.corpus["id"], corpus_row)
        _no_duplicates(self.queries["id"], queries_row)
        empty = self.queries["text"].str.strip().eq("")
        _none_of(empty, queries_row, lambda r: f"query {self.queries['id'][r]!r} has no text")
        self._check_pairs(self.qrels, qrels_row, "judged", passages_known=not as_published)
        if not as_published:
            relevant = self.corpus["id"].isin(self.qrels["corpus_id"][self.qrels["score"] > 0])
            _none_of(
                relevant & self._without_text(),
                corpus_row,
                lambda r: f"passage {self.corpus['id'][r]!r} is judged relevant and has no text",
            )
        if not (self.qrels["score"] > 0).any():
            raise InputError(f"{qrels_row(0)}: no judgment has a score above 0")
        if self.teacher is not None:
            scored = self.teacher
            self._check_pairs(scored, teacher_row, "scored")
            _none_of(
                ~scored["score"].between(-1, 1),
                teacher_row,
                lambda r: f"score {scored['score'][r]} is not between -1 and 1, as a cosine is",
            )
        return self

    def _without_text(self) -> pd.Series:
        """Which passages have neither title nor text."""
        return self.corpus["title"].str.strip().eq("") & self.corpus["text"].str.strip().eq("")

    def _check_pairs(
        self, pairs: pd.DataFrame, row_name: Locate, done: str, *, passages_known: bool = True
    ) -> None:
        """Query and passage of each row are known, and no two rows are of the same pair."""
        columns = [("query_id", self.queries["id"], "queries")]
        if passages_known:
            columns.append(("corpus_id", self.corpus["id"], "corpus"))
        for column, ids, name in columns:
            unknown = ~pairs[column].isin(ids)
            if unknown.any():
                row = int(unknown.to_numpy().argmax())
                value = pairs[column].iloc[row]
                raise InputError(f"{row_name(row)}: {column} {value!r} is not in the {name}")
        twice = pairs.duplicated(["query_id", "corpus_id"])
        _none_of(twice, row_name, lambda r: f"{tuple(pairs.iloc[r, :2])} is {done} twice")

    def manifest(self) -> dict[str, Any]:
        """Origin and counts, as written to manifest.json (less the files' hashes)."""
        judged = self.qrels[self.qrels["score"] > 0]["query_id"].nunique()
        teacher = {} if self.teacher is None else {"teacher": len(self.teacher)}
        unusual = {
            "passages_without_text": int(self._without_text().sum()),
            "judgments_of_missing_passages": int(
                (~self.qrels["corpus_id"].isin(self.corpus["id"])).sum()
            ),
        }
        return {
            "source": self.origin.source,
            "revision": self.origin.revision,
            "licence": self.origin.licence,
            "split": self.origin.split,
            "title_policy": "title and text joined by a space, as mteb does",
            "counts": {
                "corpus": len(self.corpus),
                "queries": len(self.queries),
                "queries_with_positive": int(judged),
                "qrels": len(self.qrels),
                "positives": int((self.qrels["score"] > 0).sum()),
            }
            | teacher
            | {name: count for name, count in unusual.items() if count},
            "notes": self.origin.notes,
        }


def passage_text(title: str, text: str) -> str:
    """Title and text as mteb joins them.

    >>> passage_text("Oslo", "A city. "), passage_text("", " A city.")
    ('Oslo A city.', 'A city.')
    """
    return f"{title} {text}".strip() if title else text.strip()


def frame(rows: list[tuple[Any, ...]], schema: pa.Schema) -> pd.DataFrame:
    """Rows as a data frame with a schema's columns and types.

    >>> frame([("q1", "d1", 2)], QRELS)["score"].tolist()
    [2]
    """
    return table(rows, schema).to_pandas()


def table(rows: list[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    """Rows as an Arrow table with a schema's columns and types."""
    arrays = [pa.array([row[i] for row in rows], type=f.type) for i, f in enumerate(schema)]
    return pa.Table.from_arrays(arrays, schema=schema)


def by_query(pairs: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Query id to {passage id: score}, both in the order of the rows."""
    scores: dict[str, dict[str, Any]] = {}
    columns = (pairs[name].tolist() for name in ("query_id", "corpus_id", "score"))
    for query_id, corpus_id, score in zip(*columns, strict=True):
        scores.setdefault(query_id, {})[corpus_id] = score
    return scores


def _no_duplicates(ids: pd.Series, row_name: Locate) -> None:
    _none_of(ids.duplicated(), row_name, lambda r: f"id {ids[r]!r} is there twice; ids are unique")
    _none_of(ids.str.strip().eq(""), row_name, lambda r: "the id is empty")


def _none_of(wrong: pd.Series, row_name: Locate, message: Callable[[int], str]) -> None:
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        more = int(wrong.sum()) - 1
        raise InputError(
            f"{row_name(row)}: {message(row)}" + (f" (and {more} more)" if more else "")
        )
