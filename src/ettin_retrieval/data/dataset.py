"""RetrievalDataset: a corpus, queries and relevance judgments.

On disk it is a directory, which every source writes and every later stage reads:

- `corpus.parquet`: id, title, text (strings)
- `queries.parquet`: id, text (strings)
- `qrels.parquet`: query_id, corpus_id (strings), score (int; 0 is judged not relevant)
- `teacher.parquet`, only if the source has it: query_id, corpus_id, score (float from -1 to 1)
- `manifest.json`: source, revision, licence, title policy, counts, sha256 per file
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
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

ROW_GROUP = 16_384
"""Rows per row group of the Parquet files: the least that a streaming reader holds in memory."""

HIGHEST_SCORE = 1_000
"""Of a judgment. trec_eval counts judgments by score, one counter for each: with very large scores
nDCG is 0.0 or the process is aborted. Published collections use grades up to 5 or so."""

NUL = "contains NUL, which trec_eval takes for the end of an id; remove it"

Locate = Callable[[str, int], str]
"""Name of a table and number of a row (from 0) to where the row comes from, for messages."""


@dataclass(frozen=True)
class Origin:
    """Where a dataset comes from."""

    source: str
    """Hub id, `tiny`, or `beir` for your own directory."""
    revision: str
    """Commit of a Hub dataset, version of the tiny world, or sha256 of your files."""
    licence: str
    """SPDX name, or `unknown`."""
    split: str
    """Split that the judgments come from."""
    notes: dict[str, Any] = field(default_factory=dict)
    """Further facts worth keeping, such as how many rows were left out and why."""


@dataclass(frozen=True)
class RetrievalDataset:
    """A collection with judgments: tables with the columns of `SCHEMAS`."""

    corpus: pd.DataFrame
    """One row per passage."""
    queries: pd.DataFrame
    """One row per query; those of a benchmark are all judged."""
    qrels: pd.DataFrame
    origin: Origin
    teacher: pd.DataFrame | None = None
    """Similarity of query and passage by another model, a cosine, for the passages that it has
    scored. None without a teacher."""

    def passage_texts(self) -> list[str]:
        """What an encoder reads of each passage: title and text, joined as in mteb."""
        # Lists, because iterating over an Arrow column in pandas is slow.
        titles, texts = self.corpus["title"].tolist(), self.corpus["text"].tolist()
        if not any(titles):  # MS MARCO; calling a function per passage doubles the time
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
        """The same corpus with only these queries, their judgments and their teacher scores."""
        kept = set(query_ids)

        def only(table: pd.DataFrame, column: str) -> pd.DataFrame:
            return table[table[column].isin(kept)].reset_index(drop=True)

        return replace(
            self,
            queries=only(self.queries, "id"),
            qrels=only(self.qrels, "query_id"),
            teacher=None if self.teacher is None else only(self.teacher, "query_id"),
        ).with_notes(**notes)

    def with_notes(self, **notes: Any) -> RetrievalDataset:
        """The same tables with further facts in the origin's notes."""
        return replace(self, origin=replace(self.origin, notes=self.origin.notes | notes))

    def manifest(self) -> dict[str, Any]:
        """Origin and counts: the content of manifest.json except the files' digests."""
        relevant = self.qrels[self.qrels["score"] > 0]
        counts = {
            "corpus": len(self.corpus),
            "queries": len(self.queries),
            "queries_with_positive": int(relevant["query_id"].nunique()),
            "qrels": len(self.qrels),
            "positives": len(relevant),
        }
        if self.teacher is not None:
            counts["teacher"] = len(self.teacher)
        empty, missing = self.without_text(), self.missing()
        peculiar = {
            "passages_without_text": empty,
            "judgments_of_missing_passages": missing,
            "relevant_passages_without_text": empty & self.relevant(),
            "relevant_judgments_of_missing_passages": missing & (self.qrels["score"] > 0),
        }
        counts |= {name: int(rows.sum()) for name, rows in peculiar.items() if rows.any()}
        origin = asdict(self.origin)
        notes = origin.pop("notes")
        policy = "title and text joined by a space, as mteb does"
        return {**origin, "title_policy": policy, "counts": counts, "notes": notes}

    def validate(
        self,
        locate: Locate = lambda table, row: f"{table} row {row + 1}",
        *,
        as_published: bool = False,
    ) -> RetrievalDataset:
        """Check ids, texts, judgments and teacher scores.

        Passages without text, which FiQA2018, TRECCOVID and others have, are kept and embedded as
        the empty text, as in mteb.

        Parameters
        ----------
        as_published
            Relevant passages may lack their text (two of Cranfield's do), or be missing (five of
            ArguAna's are) and count as not found, as in mteb.

        Returns
        -------
        The dataset itself, or one with 0 for every score below 0: TREC collections have -1 and -2,
        and trec_eval counts them as not relevant too. The notes then have their number.

        Raises
        ------
        InputError
            An empty corpus, no queries, a duplicate id, an id with a NUL, a query or a relevant
            passage without text, a judgment or teacher score of an unknown query or passage, a
            second one of the same pair, a score that is out of range, or no positive judgment.
        """
        for name in ("corpus", "queries"):
            if getattr(self, name).empty:
                raise InputError(f"{locate(name, 0)}: {name} is empty; it needs at least one row")
        for name, wrong, message in self._rules(as_published):
            if wrong.any():
                row = int(wrong.to_numpy().argmax())
                others = int(wrong.sum()) - 1
                more = f" (and {others} more)" if others else ""
                problem = message.format(**getattr(self, name).iloc[row])
                raise InputError(f"{locate(name, row)}: {problem}{more}")
        relevant = self.qrels["score"] > 0
        if not relevant.any():
            raise InputError(f"{locate('qrels', 0)}: no judgment has a score above 0")
        if self.missing()[relevant].all():
            raise InputError(
                f"{locate('qrels', int(relevant.to_numpy().argmax()))}: none of the "
                f"{int(relevant.sum()):,} relevant passages is in the corpus; the ids of both must "
                "match"
            )
        negative = self.qrels["score"] < 0
        if not negative.any():
            return self
        qrels = self.qrels.assign(score=self.qrels["score"].clip(lower=0))
        return replace(self, qrels=qrels).with_notes(negative_scores_as_0=int(negative.sum()))

    def _rules(self, as_published: bool) -> Iterator[tuple[str, pd.Series[bool], str]]:
        """Table, which of its rows break a rule, and the message about one of them."""
        for name, table in (("corpus", self.corpus), ("queries", self.queries)):
            yield name, table["id"].duplicated(), "id {id!r} occurs twice; ids must be unique"
            yield name, _blank(table["id"]), "the id is empty"
            yield name, _has_nul(table["id"]), f"id {{id!r}} {NUL}"
        yield "queries", _blank(self.queries["text"]), "query {id!r} has no text"
        for name, pairs, done in (
            ("qrels", self.qrels, "judged"),
            ("teacher", self.teacher, "scored"),
        ):
            if pairs is None:
                continue
            yield name, _has_nul(pairs["corpus_id"]), f"corpus_id {{corpus_id!r}} {NUL}"
            unknown = ~pairs["query_id"].isin(self.queries["id"])
            yield name, unknown, "query_id {query_id!r} is not in the queries"
            if name == "teacher" or not as_published:
                unknown = ~pairs["corpus_id"].isin(self.corpus["id"])
                yield name, unknown, "corpus_id {corpus_id!r} is not in the corpus"
            repeated = pairs.duplicated(["query_id", "corpus_id"])
            yield name, repeated, f"({{query_id!r}}, {{corpus_id!r}}) is {done} twice"
        above = self.qrels["score"] > HIGHEST_SCORE
        limit = f"above {HIGHEST_SCORE:,}, which trec_eval cannot hold; write grades such as 0 to 3"
        yield "qrels", above, f"score {{score}} is {limit}"
        if not as_published:
            empty = self.without_text() & self.relevant()
            yield "corpus", empty, "passage {id!r} is judged relevant and has no text"
        if self.teacher is not None:
            other = ~self.teacher["score"].between(-1, 1)
            yield "teacher", other, "score {score} is not between -1 and 1, as a cosine is"

    def without_text(self) -> pd.Series[bool]:
        """Which passages have neither title nor text."""
        return _blank(self.corpus["title"]) & _blank(self.corpus["text"])

    def missing(self) -> pd.Series[bool]:
        """Which judgments are of a passage that is not in the corpus."""
        return ~self.qrels["corpus_id"].isin(self.corpus["id"])

    def relevant(self) -> pd.Series[bool]:
        """Which passages of the corpus are relevant to some query."""
        return self.corpus["id"].isin(self.qrels["corpus_id"][self.qrels["score"] > 0])


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


def _blank(texts: pd.Series[str]) -> pd.Series[bool]:
    return texts.str.strip().eq("")


def _has_nul(ids: pd.Series[str]) -> pd.Series[bool]:
    return ids.str.contains("\0", regex=False)
