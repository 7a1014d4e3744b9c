"""Two runs under one key of the ledger: filled further, left alone, or replaced and told."""

from __future__ import annotations

import logging
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ettin_retrieval.ledger.entry import Entry
from ettin_retrieval.ledger.store import read_entry, read_queries
from ettin_retrieval.ledger.store import write_entry as write
from ettin_retrieval.tasks import AVERAGE, AVERAGE_ENG_V2

SHARED = {"SciFact": 0.5, "NFCorpus": 0.25}


def entry(scores: dict[str, float], **provenance: Any) -> Entry:
    """What one run measured: nDCG@10 of each task."""
    tasks = {task: {"split": "test", "queries": 2, "revision": "r1"} for task in scores}
    flat = {f"{task}.ndcg_at_10": score for task, score in scores.items()}
    made = {"checkpoint": {"identity": "w1"}, "precision": "fp32", "outputs_sha256": "d1"}
    return Entry("1b", "base", 42, flat, tasks, made | provenance)


def queries(scores: dict[str, float]) -> pd.DataFrame:
    rows = [(task, q, score, 0.5) for task, score in scores.items() for q in ("a", "b")]
    return pd.DataFrame(rows, columns=["task", "query_id", "ndcg_at_10", "mrr_at_10"])


def run(results: Path, scores: dict[str, float], **provenance: Any) -> str:
    return write(results, entry(scores, **provenance), queries(scores))


def ledger(results: Path) -> Entry:
    return read_entry(results / "1b/base-seed42.json")


def test_another_list_of_tasks_fills_the_entry_further(tmp_path: Path) -> None:
    assert run(tmp_path, SHARED) == "written"
    assert run(tmp_path, {"SciFact": 0.5, "FEVER": 0.75}, outputs_sha256="d2", seed=7) == (
        "1 tasks added"
    )
    both = ledger(tmp_path)
    assert list(both.tasks) == ["FEVER", "NFCorpus", "SciFact"]
    assert both.scores == {
        "FEVER.ndcg_at_10": 0.75, "NFCorpus.ndcg_at_10": 0.25, "SciFact.ndcg_at_10": 0.5,
    }  # fmt: skip
    assert both.provenance["outputs_sha256"] == "d1"
    [further] = both.provenance["further_runs"]
    assert (further["tasks"], further["seed"]) == (["FEVER"], 7)
    rows = read_queries(tmp_path, both)
    assert rows["task"].tolist() == sorted(["FEVER", "NFCorpus", "SciFact"] * 2)
    before = (tmp_path / "1b/base-seed42.json").read_bytes()
    # Either run again, as `dvc repro` would: not a byte.
    assert run(tmp_path, SHARED) == "unchanged"
    assert run(tmp_path, {"SciFact": 0.5, "FEVER": 0.75}, outputs_sha256="d2") == "unchanged"
    assert (tmp_path / "1b/base-seed42.json").read_bytes() == before


def test_averages_over_different_tasks_are_no_average_of_the_whole(tmp_path: Path) -> None:
    for scores, averages in (
        ({"SciFact": 0.5}, {AVERAGE: 0.5}),
        ({"FEVER": 0.75}, {AVERAGE: 0.75, AVERAGE_ENG_V2: 0.25}),
    ):
        made = entry(scores)
        write(tmp_path, replace(made, scores=averages | made.scores), queries(scores))
    assert list(ledger(tmp_path).scores) == [
        AVERAGE_ENG_V2, "FEVER.ndcg_at_10", "SciFact.ndcg_at_10",
    ]  # fmt: skip


def test_the_same_tasks_named_one_by_one_give_no_average_and_contradict_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = entry(SHARED)
    write(tmp_path, replace(made, scores={AVERAGE: 0.375, **made.scores}), queries(SHARED))
    assert run(tmp_path, SHARED, outputs_sha256="d2") == "provenance renewed"
    assert ledger(tmp_path).scores[AVERAGE] == 0.375
    assert caplog.messages == []


def test_a_run_over_all_tasks_of_the_entry_takes_over_its_provenance(tmp_path: Path) -> None:
    run(tmp_path, {"SciFact": 0.5})
    assert run(tmp_path, SHARED, outputs_sha256="d2") == "1 tasks added"
    assert ledger(tmp_path).provenance["outputs_sha256"] == "d2"
    assert "further_runs" not in ledger(tmp_path).provenance
    # The same numbers from other files upstream: dvc.lock has new hashes, and so has the entry.
    assert run(tmp_path, SHARED, outputs_sha256="d3") == "provenance renewed"
    assert ledger(tmp_path).provenance["outputs_sha256"] == "d3"


@pytest.mark.parametrize(
    ("scores", "provenance", "told"),
    [
        (SHARED, {"checkpoint": {"identity": "w2"}}, "other weights"),
        (SHARED, {"precision": "bf16"}, "other precision (fp32, now bf16)"),
        ({"SciFact": 0.5, "NFCorpus": 0.375}, {}, "different numbers on NFCorpus"),
        ({"SciFact": 0.375, "FEVER": 0.5}, {}, "different numbers on SciFact"),
    ],
)
def test_what_does_not_agree_is_replaced_and_told(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    scores: dict[str, float],
    provenance: dict[str, Any],
    told: str,
) -> None:
    run(tmp_path, SHARED)
    with caplog.at_level(logging.WARNING):
        assert run(tmp_path, scores, **provenance) == "replaced"
    path = tmp_path / "1b/base-seed42.json"
    assert caplog.messages == [
        f"{path} replaced: {told}; the earlier one was not committed and is gone"
    ]
    assert ledger(tmp_path) == entry(scores, **provenance)


def test_data_of_another_revision_and_other_queries_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(tmp_path, SHARED)
    other = entry(SHARED)
    other.tasks["SciFact"]["revision"] = "r2"
    assert write(tmp_path, other, queries(SHARED)) == "replaced"
    moved = queries(SHARED)
    moved.loc[0, "mrr_at_10"] = 0.25  # the means that are kept do not show it
    assert write(tmp_path, other, moved) == "replaced"
    assert [m.partition("replaced: ")[2].partition(";")[0] for m in caplog.messages] == [
        "other data of SciFact", "different numbers on SciFact",
    ]  # fmt: skip


def test_where_the_earlier_one_was_committed_the_line_says_how_to_see_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    results = Path("results")
    run(results, SHARED)
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.org"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "a row"]):
        subprocess.run([*git, *command], check=True)
    run(results, {"SciFact": 0.375})
    assert caplog.messages[-1].endswith(
        "; `git show HEAD:results/1b/base-seed42.json` has the earlier one"
    )
    run(results, {"SciFact": 0.625})
    assert caplog.messages[-1].endswith("; the earlier one was not committed and is gone")


def test_the_parts_of_cqadupstack_may_be_told_singly_or_together(tmp_path: Path) -> None:
    """One benchmark lists the task and another two of its parts: no contradiction."""
    parts = [f"CQADupstack{number}Retrieval" for number in range(12)]
    scores = dict.fromkeys(parts, 0.5)
    whole = replace(entry(scores), scores={"CQADupstackRetrieval.ndcg_at_10": 0.5})
    write(tmp_path, whole, queries(scores))
    assert run(tmp_path, {parts[0]: 0.5, "FEVER": 0.5}) == "1 tasks added"
    assert list(ledger(tmp_path).scores) == [
        "CQADupstack0Retrieval.ndcg_at_10", "CQADupstackRetrieval.ndcg_at_10", "FEVER.ndcg_at_10",
    ]  # fmt: skip
