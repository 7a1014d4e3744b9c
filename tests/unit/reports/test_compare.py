"""Two entries of the ledger, as `ettin-retrieval compare` shows them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ettin_retrieval.cli import main
from tests.ledgers import EXPECTED, write

BASE = "tiny/base-seed42"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A base checkpoint, and fine-tuned ones with two seeds."""
    write(tmp_path, "tiny", "base", {"T": [0.2, 0.5, 0.7, 0.4]})
    write(tmp_path, "tiny", "finetuned", {"T": [0.5, 0.6, 0.5, 0.4]})
    write(tmp_path, "tiny", "finetuned", {"T": [0.7, 0.6, 0.7, 0.4]}, seed=43)
    return tmp_path


def compare(results: Path, *arguments: str) -> int:
    options = ["--results", str(results), "--expected", str(EXPECTED)]
    return main(["compare", *arguments, *options])


def test_tasks_are_compared_by_query_and_seeds_by_their_spread(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [BASE, "tiny/finetuned-guide-seed42"]
    assert compare(results, *names) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"A = {names[0]}, B = {names[1]}; ndcg_at_10 in points")
    first, spread = (line.split() for line in out.splitlines() if line.startswith("T "))
    assert first[:5] == ["T", "4", "45.0", "50.0", "+5.00"]
    assert first[-3:] == ["0.7500", "0.7500", "2/1/1"]
    # Seeds 42 and 43 have the means 0.5 and 0.6.
    assert "tiny/finetuned-guide over the seeds 42, 43" in out
    assert spread == ["T", "55.0", "7.07"]
    assert "tiny/base over the seeds" not in out


def test_another_metric_can_be_compared(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare(results, BASE, BASE, "--metric", "mrr_at_10") == 0
    out = capsys.readouterr().out
    assert "mrr_at_10 in points" in out
    assert "0/0/4" in out


def test_an_unknown_entry_is_an_error_that_lists_the_others(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare(results, BASE, "tiny/none-seed1") == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {results}: no entry tiny/none-seed1; there are {BASE}, ")


def test_only_tasks_that_both_scored_are_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, "17m", "base", {"SciFact": 0.5, "NQ": 0.5, "FEVER": 0.5})
    write(tmp_path, "1b", "base", {"SciFact": 0.75, "Touche2020": 0.5})
    write(tmp_path, "own", "base", {"contracts": 0.5})
    assert compare(tmp_path, "17m/base-seed42", "1b/base-seed42") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line.startswith(("SciFact", "NQ"))] == ["SciFact"]
    assert "left out, scored by A only: FEVER, NQ" in lines
    assert "left out, scored by B only: Touche2020" in lines
    assert compare(tmp_path, "17m/base-seed42", "own/base-seed42") == 1
    assert "have no task in common" in capsys.readouterr().err


def test_other_lengths_are_said_first_and_left_out_of_the_spread(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(results, "tiny", "finetuned", {"T": [1.0, 1.0, 1.0, 1.0]}, seed=44, lengths=(512, 512))
    tuned = "tiny/finetuned-guide-seed42"
    assert compare(results, BASE, tuned) == 0
    out = capsys.readouterr().out
    assert "not like with like" not in out
    why = "seed 44, other lengths (64 and 512 tokens or 512 and 512 tokens)"
    assert f"tiny/finetuned-guide: left out of the spread: {why}" in out
    assert "over the seeds 42, 43, in points" in out
    assert compare(results, BASE, "tiny/finetuned-guide-seed44") == 0
    assert capsys.readouterr().out.splitlines()[1] == (
        "not like with like: lengths (A 64 and 512 tokens, B 512 and 512 tokens); the differences "
        "below are also of this"
    )


def test_an_arm_is_all_its_seeds(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare(results, "tiny/base", "tiny/finetuned-guide") == 0
    out = capsys.readouterr().out
    assert out.startswith("A = tiny/base, B = tiny/finetuned-guide (seeds 42, 43); ndcg")
    row = next(line.split() for line in out.splitlines() if line.startswith("T "))
    # Per query 0.2, 0.5, 0.7, 0.4 against the means over seeds 0.6, 0.6, 0.6, 0.4.
    assert row[:5] == ["T", "4", "45.0", "55.0", "+10.00"]
    assert row[-1] == "2/1/1"
    assert "interval: bootstrap over seeds, and over queries within each task" in out
    assert "has one seed" not in out


def test_a_single_seed_says_what_is_not_in_its_interval(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare(results, BASE, "tiny/finetuned-guide-seed42") == 0
    out = capsys.readouterr().out
    assert "tiny/finetuned-guide-seed42 is one seed of 2: seed noise is in no interval; name" in out
    write(results, "17m", "base", {"T": [0.2, 0.5, 0.7, 0.4]})
    write(results, "17m", "finetuned", {"T": [0.5, 0.6, 0.5, 0.4]})
    assert compare(results, "17m/base", "17m/finetuned-guide") == 0
    # Tiny's seeds have the means 0.5 and 0.6.
    assert (
        "17m/finetuned-guide has one seed (42): seed noise is in no interval; standard deviation "
        "over seeds of other sizes: tiny 7.1 points (a task, root mean square)"
    ) in capsys.readouterr().out


def test_a_part_of_a_benchmark_is_named_as_such_and_has_no_average(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks = ("SciFact", "NQ", "FEVER", "ArguAna")
    for checkpoint, score in (("base", 0.25), ("finetuned", 0.5)):
        scores = dict.fromkeys((*tasks, "contracts", "leases"), score)
        write(tmp_path, "1b", checkpoint, scores)
    assert compare(tmp_path, "1b/base", "1b/finetuned-guide") == 0
    out = capsys.readouterr().out
    assert "\n4 of 15 tasks of MTEB(eng, v1)\n" in out
    assert "\ntasks of no benchmark\n" in out
    assert "Average" not in out
    assert "Holm p: over all 6 tasks above, one family" in out


def test_no_column_is_lost_in_a_narrow_terminal(
    results: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    assert compare(results, BASE, "tiny/finetuned-guide-seed42") == 0
    lines = capsys.readouterr().out.splitlines()
    header, row = lines[3:5]
    columns = "task queries A B B - A 95% interval p Holm p wins/losses/ties"
    assert " ".join(header.split()) == columns
    assert row.split()[-1] == "2/1/1"
