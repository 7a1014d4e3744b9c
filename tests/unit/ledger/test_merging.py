"""Two runs of one checkpoint: merged, left as they are, or replaced with a warning."""

from __future__ import annotations

import logging
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ettin_retrieval.ledger.entry import Entry
from ettin_retrieval.ledger.store import read_entry, read_measurement, read_queries
from ettin_retrieval.ledger.store import write_measurement as store
from ettin_retrieval.tasks import (
    AVERAGE,
    AVERAGE_ENG_V2,
    CQADUPSTACK,
    CQADUPSTACK_PARTS,
)
from tests.ledgers import measurement, write

SHARED = {"SciFact": 0.5, "NFCorpus": 0.25}
NAME = "1b/base-seed42"


def run(results: Path, scores: dict[str, float], **given: Any) -> str:
    return write(results, "1b", "base", scores, **given)


def ledger(results: Path) -> Entry:
    return read_entry(results / f"{NAME}.json")


def credited(entry: Entry) -> dict[str, list[str]]:
    """Digest of the outputs behind each run to the tasks that it measured."""
    return {run["outputs_sha256"]: run["tasks"] for run in entry.runs}


def files(results: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in results.glob("*/*")}


def test_another_list_of_tasks_fills_the_entry(tmp_path: Path) -> None:
    assert run(tmp_path, SHARED, commit="a") == "written"
    more = {"SciFact": 0.5, "FEVER": 0.75}
    assert run(tmp_path, more, outputs="d2", commit="b") == "1 tasks added"
    both = read_measurement(tmp_path, NAME)
    assert list(both.entry.tasks) == ["FEVER", "NFCorpus", "SciFact"]
    assert {k: v for k, v in both.entry.scores.items() if k.endswith("ndcg_at_10")} == {
        "FEVER.ndcg_at_10": 0.75, "NFCorpus.ndcg_at_10": 0.25, "SciFact.ndcg_at_10": 0.5,
    }  # fmt: skip
    assert credited(both.entry) == {"d1": ["SciFact", "NFCorpus"], "d2": ["FEVER"]}
    assert [record["commit"] for record in both.records.values()] == ["a", "b"]
    assert both.queries["task"].tolist() == sorted(["FEVER", "NFCorpus", "SciFact"] * 2)
    before = files(tmp_path)
    # Either run again, as `dvc repro` does: not a byte.
    assert run(tmp_path, SHARED, commit="a") == "unchanged"
    assert run(tmp_path, more, outputs="d2", commit="b") == "unchanged"
    assert files(tmp_path) == before


def test_the_same_run_at_another_cost_changes_no_byte(tmp_path: Path) -> None:
    run(tmp_path, SHARED, costs={"models/base": 1.0})
    before = files(tmp_path)
    assert run(tmp_path, SHARED, costs={"models/base": 2.0}) == "unchanged"
    assert files(tmp_path) == before


def test_an_average_over_some_of_the_tasks_is_dropped(tmp_path: Path) -> None:
    run(tmp_path, {"SciFact": 0.5}, flat={AVERAGE: 0.5})
    run(tmp_path, {"FEVER": 0.75}, flat={AVERAGE: 0.75, AVERAGE_ENG_V2: 0.25})
    assert [key for key in ledger(tmp_path).scores if "mrr" not in key] == [
        AVERAGE_ENG_V2, "FEVER.ndcg_at_10", "SciFact.ndcg_at_10",
    ]  # fmt: skip


def test_a_run_without_averages_does_not_contradict_one_with_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(tmp_path, SHARED, flat={AVERAGE: 0.375})
    assert run(tmp_path, SHARED, outputs="d2") == "provenance renewed"
    assert ledger(tmp_path).scores[AVERAGE] == 0.375
    assert caplog.messages == []


def test_a_run_over_all_tasks_of_the_entry_is_credited_with_all(tmp_path: Path) -> None:
    run(tmp_path, {"SciFact": 0.5}, commit="a")
    assert run(tmp_path, SHARED, outputs="d2", commit="b") == "1 tasks added"
    assert credited(ledger(tmp_path)) == {"d2": ["SciFact", "NFCorpus"]}
    # The same numbers from other files upstream: dvc.lock has new hashes, and so has the entry.
    assert run(tmp_path, SHARED, outputs="d3", commit="c") == "provenance renewed"
    both = read_measurement(tmp_path, NAME)
    assert credited(both.entry) == {"d3": ["SciFact", "NFCorpus"]}
    assert [record["commit"] for record in both.records.values()] == ["c"]


def test_a_run_over_some_tasks_takes_the_credit_for_those(tmp_path: Path) -> None:
    run(tmp_path, SHARED)
    assert run(tmp_path, {"SciFact": 0.5}, outputs="d2") == "provenance renewed"
    assert credited(ledger(tmp_path)) == {"d1": ["NFCorpus"], "d2": ["SciFact"]}
    assert list(ledger(tmp_path).tasks) == ["NFCorpus", "SciFact"]


@pytest.mark.parametrize(
    ("scores", "given", "why"),
    [
        (SHARED, {"weights": "w2"}, "other weights"),
        (SHARED, {"precision": "bf16"}, "other precision (fp32, now bf16)"),
        # Other lengths are a difference of their own, whatever the weights and numbers.
        (
            {"FEVER": 0.5},
            {"lengths": (512, 512)},
            "other lengths (64 and 512 tokens, now 512 and 512 tokens)",
        ),
        (
            {"SciFact": 0.75},
            {"lengths": (64, 256), "weights": "w2"},
            "other lengths (64 and 512 tokens, now 64 and 256 tokens)",
        ),
        ({"SciFact": 0.5, "NFCorpus": 0.375}, {}, "different numbers on NFCorpus"),
        ({"SciFact": 0.375, "FEVER": 0.5}, {}, "different numbers on SciFact"),
    ],
)
def test_what_does_not_agree_is_replaced_with_a_warning(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    scores: dict[str, float],
    given: dict[str, Any],
    why: str,
) -> None:
    run(tmp_path, SHARED)
    with caplog.at_level(logging.WARNING):
        assert run(tmp_path, scores, **given) == "replaced"
    path = tmp_path / f"{NAME}.json"
    assert caplog.messages == [
        f"{path} replaced: {why}; the earlier one was not committed and is gone"
    ]
    new = measurement("1b", "base", scores, **given)
    read = read_measurement(tmp_path, NAME)
    assert (read.entry, read.records) == (new.entry, new.records)
    assert read.queries.equals(new.queries)


def test_shares_of_cut_texts_are_no_other_data(tmp_path: Path) -> None:
    """Entries of earlier versions have none; a run that counts them adds them."""
    run(tmp_path, SHARED)
    assert run(tmp_path, SHARED, outputs="d2", cut={"SciFact": (0.5, 0.25)}) == "provenance renewed"
    task = ledger(tmp_path).tasks["SciFact"]
    assert task["cut"] == {"queries": [500, 1000], "passages": [250, 1000]}


def test_the_warning_names_other_data_and_other_queries(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(tmp_path, SHARED)
    other = measurement("1b", "base", SHARED)
    other.entry.tasks["SciFact"]["revision"] = "r2"
    assert store(tmp_path, other) == "replaced"
    moved = other.queries.copy()
    moved.loc[0, "mrr_at_10"] = 0.25  # the means that the entry holds do not show it
    assert store(tmp_path, replace(other, queries=moved)) == "replaced"
    assert store(tmp_path, replace(other, queries=moved.drop(index=1))) == "replaced"
    reasons = [m.partition("replaced: ")[2].partition(";")[0] for m in caplog.messages]
    assert reasons == ["other data of SciFact", *["different numbers on SciFact"] * 2]


def test_the_warning_says_where_a_committed_entry_still_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    results = Path("results")
    run(results, SHARED)
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.org"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "an entry"]):
        subprocess.run([*git, *command], check=True)
    run(results, {"SciFact": 0.375})
    assert caplog.messages[-1].endswith(
        f"; `git show HEAD:results/{NAME}.json` has the earlier one"
    )
    run(results, {"SciFact": 0.625})
    assert caplog.messages[-1].endswith("; the earlier one was not committed and is gone")


def test_forums_of_cqadupstack_and_their_mean_do_not_contradict_each_other(tmp_path: Path) -> None:
    """One benchmark has the task, and another two of its parts."""
    part = min(CQADUPSTACK_PARTS)
    run(tmp_path, {CQADUPSTACK: 0.5})
    assert run(tmp_path, {part: 0.5, "FEVER": 0.5}) == "1 tasks added"
    both = ledger(tmp_path)
    assert [key for key in both.scores if "mrr" not in key] == [
        f"{part}.ndcg_at_10", f"{CQADUPSTACK}.ndcg_at_10", "FEVER.ndcg_at_10",
    ]  # fmt: skip
    assert set(read_queries(tmp_path, both)["task"]) == {*CQADUPSTACK_PARTS, "FEVER"}
