"""TREC files give trec_eval and MS MARCO's formula the scores that were reported."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import pytrec_eval

from ettin_retrieval.data.storage import read_dataset, write_dataset
from ettin_retrieval.evaluation.result_files import run_table
from ettin_retrieval.interop.trec import export_trec, run_lines, strictly_descending
from ettin_retrieval.runtime.errors import InputError
from tests.unit.interop.fixed_run import QRELS_OF_RUN, Scored


def test_the_reported_scores_are_those_worked_out_by_hand(scored: Scored) -> None:
    """q1: d9 d8 d7 ... finds d7 at 3, d0 at 12; q2: d2 d1 d4 d3 finds d1 at 2, d4 at 3.

    Gains are the judgments, discounts log2(rank + 1).
    """
    q1 = (1 / np.log2(4)) / (2 + 1 / np.log2(3))
    q2 = (1 / np.log2(3) + 2 / np.log2(4)) / (2 + 1 / np.log2(3))
    per_query = scored.task.per_query
    assert per_query["ndcg_at_10"].tolist() == pytest.approx([q1, q2, 0])
    assert per_query["mrr_at_10"].tolist() == pytest.approx([1 / 3, 1 / 2, 0])


def test_pytrec_eval_on_the_run_file_gives_the_reported_ndcg(
    scored: Scored, tmp_path: Path
) -> None:
    export_trec(scored.scores, tmp_path, scored.benchmark)
    with (tmp_path / "TinyTies.trec").open() as run, (tmp_path / "TinyTies.qrels").open() as qrels:
        evaluator = pytrec_eval.RelevanceEvaluator(pytrec_eval.parse_qrel(qrels), {"ndcg_cut.10"})
        by_query = evaluator.evaluate(pytrec_eval.parse_run(run))
    per_query = scored.task.per_query
    measured = [by_query[q]["ndcg_cut_10"] for q in per_query["query_id"]]
    assert measured == per_query["ndcg_at_10"].tolist()
    # mteb rounds its means to five digits.
    assert np.mean(measured) == pytest.approx(scored.task.scores["ndcg_at_10"], abs=5e-6)
    assert round(np.mean(measured), 5) == scored.task.result.scores["test"][0]["ndcg_at_10"]


def test_ms_marcos_formula_on_the_run_file_gives_the_reported_mrr(
    scored: Scored, tmp_path: Path
) -> None:
    """MS MARCO's evaluation reads ranks, not scores: 1/rank of the first relevant one in ten."""
    export_trec(scored.scores, tmp_path)
    reciprocal = dict.fromkeys(QRELS_OF_RUN, 0.0)
    for line in (tmp_path / "TinyTies.trec").read_text().splitlines():
        query, _, passage, rank, _, _ = line.split()
        if int(rank) <= 10 and QRELS_OF_RUN[query].get(passage, 0) > 0:
            reciprocal[query] = max(reciprocal[query], 1 / int(rank))
    mean = sum(reciprocal.values()) / len(reciprocal)
    assert mean == pytest.approx(scored.task.scores["mrr_at_10"], abs=1e-9)


def test_score_rank_and_line_give_the_same_order(scored: Scored, tmp_path: Path) -> None:
    [path] = export_trec(scored.scores, tmp_path)
    for query, lines in pd.read_csv(path, sep=" ", header=None, dtype={0: str}).groupby(0):
        scores = lines[4].to_numpy(np.float32)  # as trec_eval reads them
        assert (np.diff(scores) < 0).all(), query
        assert lines[3].tolist() == list(range(1, len(lines) + 1))
    first = path.read_bytes()
    export_trec(scored.scores, tmp_path)
    assert path.read_bytes() == first


def test_scores_without_ties_are_written_as_they_are() -> None:
    scores = np.sort(np.random.default_rng(0).normal(size=1000).astype(np.float32))[::-1]
    assert len(set(scores.tolist())) == 1000
    run = pd.DataFrame(
        {
            "query_id": "q",
            "corpus_id": [f"d{i}" for i in range(1000)],
            "rank": range(1, 1001),
            "score": scores,
        }
    )
    read = [np.float32(float(line.split()[4])) for line in run_lines(run)]
    assert read == scores.tolist()


def test_ties_of_zeros_are_broken_too() -> None:
    descending = strictly_descending(np.zeros(3, dtype=np.float32))
    assert (np.diff(descending) < 0).all()
    assert abs(descending).max() < 1e-40


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([0.1, 0.2], "rise from one rank"),
        ([float("nan"), 0.1], "not finite"),
        ([float("inf"), 0.1], "not finite"),
    ],
)
def test_a_run_that_is_out_of_order_or_not_finite_is_refused(
    scores: list[float], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        strictly_descending(np.array(scores, dtype=np.float32))


def test_an_id_with_white_space_is_refused(tmp_path: Path) -> None:
    pq.write_table(run_table({"q 1": {"d1": 0.5}}), tmp_path / "T.run.parquet")
    with pytest.raises(InputError, match="'q 1' has white space"):
        export_trec(tmp_path, tmp_path / "out")


def test_a_judged_id_with_white_space_is_refused_too(scored: Scored, tmp_path: Path) -> None:
    """Of a passage that is not in the corpus, and so in no run."""
    benchmark = tmp_path / "benchmark"
    dataset = read_dataset(scored.benchmark / "TinyTies")
    lost = pd.DataFrame({"query_id": ["q1"], "corpus_id": ["a b"], "score": [1]})
    qrels = pd.concat([dataset.qrels, lost], ignore_index=True)
    write_dataset(replace(dataset, qrels=qrels), benchmark / "TinyTies")
    with pytest.raises(InputError, match=r"TinyTies/qrels.parquet: id 'a b' has white space"):
        export_trec(scored.scores, tmp_path / "out", benchmark)


def test_a_directory_without_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no \.run\.parquet"):
        export_trec(tmp_path, tmp_path / "out")
