"""Negatives for each pair of a training query and a positive passage: random, hard, semi-hard.

The nearest passages come from an exact FAISS search (inner product). Never a negative: a passage
judged positive for the query, and a passage whose text is that of a positive under another id.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm.auto import tqdm

from ettin_retrieval.encoding import Embeddings, KeptEmbeddings, encode
from ettin_retrieval.params import Settings
from ettin_retrieval.records import RetrievalDataset, table, write_json

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

SCHEMA = pa.schema(
    [
        ("query_id", pa.string()),
        ("positive_id", pa.string()),
        ("negative_ids", pa.list_(pa.string())),
    ]
)
Rows = npt.NDArray[np.int64]

SEARCH_BATCH = 1024
"""Queries per FAISS call: bounds memory to this many score rows."""


@dataclass
class MiningReport:
    """Why candidates were passed over, and what was missing.

    Attributes
    ----------
    pairs
        Pairs of query and positive passage.
    skipped
        Reason to number of candidates passed over, over all pairs.
    filled_at_random
        Negatives drawn at random because too few candidates were left.
    """

    pairs: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    filled_at_random: int = 0

    def skip(self, reason: str, count: int = 1) -> None:
        """Count candidates passed over for one reason."""
        self.skipped[reason] = self.skipped.get(reason, 0) + count


Pair = tuple[str, str, list[str]]
"""query id, positive id, negative ids"""


def mine(
    dataset: RetrievalDataset,
    model: SentenceTransformer | None,
    settings: Settings,
    keep: KeptEmbeddings | None = None,
) -> tuple[list[Pair], MiningReport]:
    """Choose `negatives.per_query` negatives for each positive pair of a training set.

    Parameters
    ----------
    model
        Encoder that says what is near; not needed (None) for random negatives.
    keep
        Where the passages' embeddings are kept for the evaluation of the same encoder.
    """
    if settings.negatives.per_query == 0 or settings.negatives.sampling == "random":
        return choose(dataset, None, None, settings)
    if model is None:
        raise ValueError(f"{settings.negatives.sampling} negatives need an encoder")
    batch_size = settings.evaluation.batch_size
    passages = encode(model, dataset.passage_texts(), "passage", batch_size=batch_size, keep=keep)
    queries = encode(model, dataset.queries["text"].tolist(), "query", batch_size=batch_size)
    return choose(dataset, queries, passages, settings)


def choose(
    dataset: RetrievalDataset,
    queries: Embeddings | None,
    passages: Embeddings | None,
    settings: Settings,
) -> tuple[list[Pair], MiningReport]:
    """The negatives of each pair, given embeddings of shape (queries, d) and (passages, d).

    Random negatives need no embeddings. Equal scores are ordered by passage id, so the same
    embeddings always give the same negatives.
    """
    report = MiningReport()
    candidates = _Candidates(dataset, settings, report)
    search = None if passages is None else _Search(passages, settings.negatives.top_k)
    pairs: list[Pair] = []
    progress = tqdm(total=len(dataset.queries), desc="choosing negatives", unit="query")
    for start in range(0, len(dataset.queries), SEARCH_BATCH):
        rows = range(start, min(start + SEARCH_BATCH, len(dataset.queries)))
        if search is None or queries is None:
            for row in rows:
                pairs.extend(candidates.at_random(row))
        else:
            scores, found = search(queries[rows.start : rows.stop])
            for position, row in enumerate(rows):
                positive_scores = candidates.positive_scores(row, queries[row], search.passages)
                near = (scores[position], found[position])
                pairs.extend(candidates.nearest(row, near, positive_scores))
        progress.update(len(rows))
    progress.close()
    report.pairs = len(pairs)
    return pairs, report


class _Search:
    """Exact inner-product search over passage embeddings of shape (passages, d)."""

    def __init__(self, passages: Embeddings, top_k: int) -> None:
        import faiss

        self.passages = passages
        self.top_k = min(top_k, len(passages))
        self.index = faiss.IndexFlatIP(passages.shape[1])
        self.index.add(passages)

    def __call__(self, queries: Embeddings) -> tuple[Embeddings, Rows]:
        """Scores and corpus rows, each of shape (queries, top_k)."""
        scores, rows = self.index.search(queries, self.top_k)
        return scores, rows


class _Candidates:
    """Walks each query's candidates in order and keeps those that may be negatives."""

    def __init__(self, dataset: RetrievalDataset, settings: Settings, report: MiningReport) -> None:
        self.settings = settings
        self.report = report
        self.query_ids: list[str] = dataset.queries["id"].tolist()
        self.ids: list[str] = dataset.corpus["id"].tolist()
        self.texts = dataset.passage_texts()
        self.row_of = {corpus_id: row for row, corpus_id in enumerate(self.ids)}
        self.positives = dataset.positives()

    def at_random(self, row: int) -> list[Pair]:
        """The pairs of one query, with negatives drawn from the whole corpus."""
        return [(q, p, self._fill(row, [])) for q, p in self._pairs(row)]

    def nearest(
        self, row: int, near: tuple[Embeddings, Rows], positive_scores: dict[str, float]
    ) -> list[Pair]:
        """The pairs of one query, with negatives among its nearest passages.

        What the bounds leave short is filled at random, and reported.
        """
        pairs = []
        ranked = self._rank(row, near)
        for query_id, positive in self._pairs(row):
            chosen = self._within_bounds(ranked, positive_scores[positive])
            chosen = chosen[: self.settings.negatives.per_query]
            self.report.filled_at_random += self.settings.negatives.per_query - len(chosen)
            pairs.append((query_id, positive, self._fill(row, chosen)))
        return pairs

    def positive_scores(
        self, row: int, query: Embeddings, passages: Embeddings
    ) -> dict[str, float]:
        """Similarity of each positive of a query to it."""
        return {p: float(passages[self.row_of[p]] @ query) for _, p in self._pairs(row)}

    def _pairs(self, row: int) -> list[tuple[str, str]]:
        query_id = self.query_ids[row]
        return [(query_id, p) for p in sorted(self.positives.get(query_id, {}))]

    def _rank(self, row: int, near: tuple[Embeddings, Rows]) -> list[tuple[float, str]]:
        """Candidates by falling score, ties by id, without positives and their duplicates."""
        positives = {p for _, p in self._pairs(row)}
        texts = {self.texts[self.row_of[p]] for p in positives}
        scores, found = near
        order = sorted(zip((-scores).tolist(), (self.ids[r] for r in found.tolist()), strict=True))
        kept = []
        for rank, (minus_score, corpus_id) in enumerate(order):
            if corpus_id in positives:
                self.report.skip("positive")
            elif self.texts[self.row_of[corpus_id]] in texts:
                self.report.skip("same text as a positive")
            elif rank < self.settings.negatives.skip_first:
                self.report.skip("within skip_first")
            else:
                kept.append((-minus_score, corpus_id))
        return kept

    def _within_bounds(self, ranked: list[tuple[float, str]], positive_score: float) -> list[str]:
        """Candidates within the bounds that the positive's score sets."""
        negatives = self.settings.negatives
        ceiling = positive_score - negatives.relative_margin * abs(positive_score)
        floor = positive_score - self.settings.finetuning.margin
        kept = []
        for score, corpus_id in ranked:
            if negatives.relative_margin > 0 and score >= ceiling:
                self.report.skip("too near the positive (relative_margin)")
            elif negatives.sampling == "semi_hard" and score >= positive_score:
                self.report.skip("not below the positive (semi_hard)")
            elif negatives.sampling == "semi_hard" and score <= floor:
                self.report.skip("below the positive by the margin or more (semi_hard)")
            else:
                kept.append(corpus_id)
        return kept

    def _fill(self, row: int, chosen: list[str]) -> list[str]:
        """The chosen negatives, filled up with distinct random ones."""
        positives = {p for _, p in self._pairs(row)}
        texts = {self.texts[self.row_of[p]] for p in positives}
        missing = self.settings.negatives.per_query - len(chosen)
        if missing == 0:
            return chosen
        # A generator of the query's own: its draws do not depend on the queries before it.
        random = np.random.default_rng([self.settings.seed, row])
        draws = min(len(self.ids), 2 * (missing + len(chosen) + len(positives)) + 16)
        others = (int(r) for r in random.choice(len(self.ids), size=draws, replace=False))
        taken = positives | set(chosen)
        allowed = (r for r in others if self.ids[r] not in taken and self.texts[r] not in texts)
        return chosen + [self.ids[r] for r in islice(allowed, missing)]


def write_negatives(pairs: list[Pair], report: MiningReport, directory: Path) -> None:
    """Write `negatives.parquet` and `report.json`."""
    pq.write_table(table(pairs, SCHEMA), directory / "negatives.parquet")
    write_json(
        directory / "report.json",
        {
            "pairs": report.pairs,
            "skipped": dict(sorted(report.skipped.items())),
            "filled_at_random": report.filled_at_random,
        },
    )


def read_negatives(directory: Path) -> list[Pair]:
    """Read what `write_negatives` wrote."""
    rows = pq.read_table(directory / "negatives.parquet", schema=SCHEMA).to_pylist()
    return [(r["query_id"], r["positive_id"], r["negative_ids"]) for r in rows]
