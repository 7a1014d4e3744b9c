"""What the ledger says of an expected score."""

from __future__ import annotations

from dataclasses import replace

import mteb
import pytest

from ettin_retrieval.ledger.entry import Entry
from ettin_retrieval.reports.measure import Measured, measure, scored_tasks
from ettin_retrieval.reports.references import Expected, read_references
from ettin_retrieval.tasks import ENG_V2_TASKS, METRICS, flat_metrics
from tests.small import ROOT

BENCHMARKS = read_references(ROOT / "expected").benchmarks


def test_the_papers_benchmark_has_mtebs_ten_tasks() -> None:
    tasks = mteb.get_benchmark("MTEB(eng, v2)").tasks
    retrieval = {t.metadata.name for t in tasks if t.metadata.type == "Retrieval"}
    assert BENCHMARKS["MTEB(eng, v2)"].keys() == retrieval


def test_the_papers_average_is_measured_by_the_ten_tasks() -> None:
    scores = flat_metrics({name: dict.fromkeys(METRICS, 0.48) for name in ENG_V2_TASKS})
    entry = Entry(
        "1b", "finetuned", 42, recipe="paper", scores=scores,
        tasks={name: {"split": "test"} for name in ENG_V2_TASKS},
    )  # fmt: skip
    assert len(scored_tasks(entry)) == 10
    wanted = Expected(
        "1b", "finetuned", "MTEB(eng, v2)", None, "ndcg_at_10", 0.5, 0.005, "paper", None,
        recipe="paper",
    )  # fmt: skip
    assert measure([entry], wanted, BENCHMARKS).value == pytest.approx(0.48)
    for other in (replace(wanted, task="MTEB(eng, v1)"), replace(wanted, recipe="guide")):
        assert measure([entry], other, BENCHMARKS).value is None


def test_a_task_on_a_cut_corpus_is_never_compared_with_the_whole_one() -> None:
    cut = "SciFact-subsampled-100"
    scores = flat_metrics({cut: dict.fromkeys(METRICS, 0.5)}, own=True)
    assert all("." in key for key in scores), "an average"
    entry = Entry("1b", "base", 42, scores, {cut: {"split": "test"}})
    assert scored_tasks(entry) == {cut: "test"}  # the table of tasks shows it under this name
    whole = Expected("1b", "base", "SciFact", "test", "ndcg_at_10", 0.7, 0.01, "guide", None)
    average = Expected("1b", "base", "MTEB(eng, v1)", None, "ndcg_at_10", 0.7, 0.01, "g", None)
    for wanted in (whole, average):
        assert measure([entry], wanted, BENCHMARKS) == Measured(None, reason="subsampled")
