"""Scores against an independent computation: transformers for embeddings, pytrec_eval for metrics.

What no published figure at hand covers: an encoder of ModernBERT's kind, lengths of its own for
queries and passages, several shards, bf16.
"""

from __future__ import annotations

import io
from dataclasses import replace
from math import log2
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest
import pytrec_eval
import torch
from transformers import AutoModel, AutoTokenizer

from ettin_retrieval.data.dataset import (
    CORPUS,
    QRELS,
    QUERIES,
    Origin,
    RetrievalDataset,
    frame,
    passage_text,
)
from ettin_retrieval.encoders.checkpoint import load_checkpoint, read_checkpoint
from ettin_retrieval.encoders.encode import TextEncoder
from ettin_retrieval.encoders.precision import has_bf16
from ettin_retrieval.evaluation import search as search_module
from ettin_retrieval.evaluation.result_files import run_table
from ettin_retrieval.evaluation.score import TaskScores, score_task
from ettin_retrieval.evaluation.search import ExactSearch
from tests.collections import minilm
from tests.small import LetterCounts

QUERY_LENGTH, PASSAGE_LENGTH = 7, 40

RECORD = {
    "fingerprint": "0" * 64, "parameters": 1, "embedding_dimension": 2, "normalize": False,
    "max_passage_length": 9,
}  # fmt: skip


@pytest.fixture(scope="module")
def collection(dataset: RetrievalDataset) -> RetrievalDataset:
    """40 queries over 1,000 passages, most of them longer than is read, judged 1 to 3."""
    few = dataset.with_queries(dataset.queries["id"].tolist()[:40])
    longer = few.corpus["text"] + " " + few.corpus["text"].to_numpy()[::-1]
    grades = [1 + row % 3 for row in range(len(few.qrels))]
    return replace(few, corpus=few.corpus.assign(text=longer), qrels=few.qrels.assign(score=grades))


def scored(model: Any, record: dict[str, Any], dataset: RetrievalDataset) -> TaskScores:
    return score_task(ExactSearch(TextEncoder(model, 8), record), "collection", dataset)


def embedded(checkpoint: Path, texts: list[str], length: int) -> npt.NDArray[np.float32]:
    """Mean of the last hidden states of the first `length` tokens, of length 1, text by text."""
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model = AutoModel.from_pretrained(checkpoint, dtype=torch.float32).eval()
    assert model.config.model_type == "modernbert"
    rows = []
    with torch.inference_mode():
        for text in texts:
            tokens = tokenizer(text, truncation=True, max_length=length, return_tensors="pt")
            rows.append(model(**tokens).last_hidden_state[0].mean(dim=0))
    vectors: npt.NDArray[np.float32] = torch.nn.functional.normalize(torch.stack(rows)).numpy()
    return vectors


def test_a_modernbert_with_two_lengths_scores_as_by_transformers_and_pytrec_eval(
    checkpoint: Path, collection: RetrievalDataset
) -> None:
    model: Any = load_checkpoint(checkpoint)
    model[0].query_length, model[0].document_length = QUERY_LENGTH, PASSAGE_LENGTH
    ours = scored(model, read_checkpoint(checkpoint), collection)
    assert ours.cut is not None
    assert min(ours.cut["queries"][0], ours.cut["passages"][0]) > 10, "both lengths matter"
    passages = list(map(passage_text, collection.corpus["title"], collection.corpus["text"]))
    queries = collection.queries["text"].tolist()
    similarity = (
        embedded(checkpoint, queries, QUERY_LENGTH)
        @ embedded(checkpoint, passages, PASSAGE_LENGTH).T
    )
    ids = collection.corpus["id"].tolist()
    run = {
        query: dict(zip(ids, row.tolist(), strict=True))
        for query, row in zip(collection.queries["id"], similarity, strict=True)
    }
    judged = {query: dict(found) for query, found in collection.judgments().items()}
    expected = pytrec_eval.RelevanceEvaluator(judged, {"ndcg_cut.10"}).evaluate(run)
    for query, value in ours.per_query.set_index("query_id")["ndcg_at_10"].to_dict().items():
        assert value == pytest.approx(expected[str(query)]["ndcg_cut_10"], abs=1e-5)
    for query, hits in ours.run.items():
        wrong = max(abs(score - run[query][passage]) for passage, score in hits.items())
        assert wrong < 1e-5


def test_several_shards_give_the_bytes_of_one(
    collection: RetrievalDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With whole numbers for similarities, whose sums are exact, and so with many ties."""
    written = []
    for shard in (16_384, 300, 7):
        monkeypatch.setattr(search_module, "SHARD", shard)
        buffer = io.BytesIO()
        pq.write_table(run_table(scored(LetterCounts(), RECORD, collection).run), buffer)
        written.append(buffer.getvalue())
    assert written[0] == written[1] == written[2]


def test_several_shards_score_as_one(
    checkpoint: Path, collection: RetrievalDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, record = load_checkpoint(checkpoint), read_checkpoint(checkpoint)
    one = scored(model, record, collection).per_query
    monkeypatch.setattr(search_module, "SHARD", 300)
    several = scored(model, record, collection).per_query
    assert several["query_id"].equals(one["query_id"])
    np.testing.assert_allclose(several["ndcg_at_10"], one["ndcg_at_10"], atol=1e-5)


def test_graded_judgments_are_gains() -> None:
    """Every passage scores the same, so trec_eval ranks by descending id: worked out by hand."""
    graded = RetrievalDataset(
        frame([(passage, "", "one text") for passage in "abc"], CORPUS),
        frame([("q", "a")], QUERIES),
        frame([("q", "a", 3), ("q", "b", 0), ("q", "c", 1)], QRELS),
        Origin("beir", "1", "unknown", "test"),
    ).validate()
    scores = scored(LetterCounts(), RECORD, graded).scores
    gains, ideal = 1 / log2(2) + 3 / log2(4), 3 / log2(2) + 1 / log2(3)
    assert scores["ndcg_at_10"] == pytest.approx(gains / ideal)
    assert scores["mrr_at_10"] == 1


@pytest.mark.skipif(not has_bf16("cpu"), reason="this CPU, as it is used here, has no bf16")
def test_bf16_moves_similarities_by_less_than_a_hundredth() -> None:
    """Of a real encoder; the nearest passage stays the nearest where the next is farther off."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(minilm(), local_files_only=True)
    topics = ("rent", "heating", "parking", "pets", "noise", "keys", "repairs", "deposit")
    texts = [f"Clause {n} of the lease deals with {topic}." for n in range(9) for topic in topics]
    queries = [f"what does clause {n} say about {topic}" for n in (2, 5) for topic in topics]
    found = []
    for precision in ("fp32", "bf16"):
        encoder = TextEncoder(model, 8, precision)
        found.append(encoder.encode(queries, "query") @ encoder.encode(texts, "passage").T)
    exact, rounded = found
    assert 1e-5 < np.abs(exact - rounded).max() < 0.01, "computed in bf16, and near"
    second, first = np.sort(exact, axis=1)[:, -2:].T
    clear = first - second > 0.02
    assert (exact.argmax(axis=1) == rounded.argmax(axis=1))[clear].all()
