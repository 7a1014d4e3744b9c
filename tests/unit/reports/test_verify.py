"""Recording the ledger's scores, and verifying it against them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ettin_retrieval.reports.references import Reference
from ettin_retrieval.reports.verify import record, verify
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.settings.load import read_as
from ettin_retrieval.tasks import AVERAGE, GUIDE_TASKS, TINY_TASKS
from tests.ledgers import EXPECTED, references, write
from tests.workspace import ROOT

BASE, TUNED = "tiny/base-seed42.json", "tiny/finetuned-guide-seed42.json"


@pytest.fixture
def ledger(tmp_path: Path) -> tuple[Path, Path]:
    """Model tiny on every task: base 0.4, fine-tuned 0.7; references with nothing recorded."""
    results = tmp_path / "results"
    for checkpoint, score in (("base", 0.4), ("finetuned", 0.7)):
        write(results, "tiny", checkpoint, dict.fromkeys(TINY_TASKS, score), flat={AVERAGE: score})
    return results, references(tmp_path / "expected")


def test_what_is_recorded_verifies(ledger: tuple[Path, Path]) -> None:
    _, expected = ledger
    # Of each checkpoint the average, and two metrics of four tasks.
    assert record(*ledger) == 18
    once = (expected / "recorded.yaml").read_bytes()
    assert record(*ledger) == 18
    assert (expected / "recorded.yaml").read_bytes() == once
    assert verify(*ledger) == ["18 of 18 recorded scores reproduced"]
    first, *_ = read_as(Reference, expected / "recorded.yaml").values
    assert (first.model, first.task, first.metric, first.value, first.seed) == (
        "tiny", "tiny", "ndcg_at_10", 0.4, 42,
    )  # fmt: skip


def test_the_committed_record_is_what_the_committed_ledger_gives(tmp_path: Path) -> None:
    expected = references(tmp_path / "expected")
    record(ROOT / "results", expected)
    recorded = (expected / "recorded.yaml").read_bytes()
    assert recorded == (EXPECTED / "recorded.yaml").read_bytes()


@pytest.mark.parametrize(
    ("file", "before", "after", "verdict"),
    [(BASE, "0.4", "0.35", "below"), (TUNED, "0.7", "0.75", "above")],
)
def test_a_difference_on_either_side_fails_with_its_size(
    ledger: tuple[Path, Path], file: str, before: str, after: str, verdict: str
) -> None:
    record(*ledger)
    path = ledger[0] / file
    path.write_text(path.read_text().replace(before, after))
    *failed, summary = verify(*ledger)
    # Every score of the checkpoint has the same number here, and so the average has.
    assert len(failed) == 9
    for line in failed:
        assert f"is {verdict} the recorded" in line
        assert "by 0.050000; allowed 1e-06" in line
    assert summary == "9 of 18 recorded scores reproduced"


def test_one_passage_one_rank_lower_for_one_query_fails(ledger: tuple[Path, Path]) -> None:
    record(*ledger)
    path = ledger[0] / BASE
    honest = path.read_text()
    # Of MS MARCO's 6,980 queries: the tenth rank in place of the ninth.
    path.write_text(honest.replace("0.4", str(0.4 - (1 / 9 - 1 / 10) / 6980)))
    assert len(verify(*ledger)) == 10
    # The last bits of a sum, in another order.
    path.write_text(honest.replace("0.4", str(0.4 + 1e-15)))
    assert len(verify(*ledger)) == 1


def test_a_score_that_is_missing_fails(ledger: tuple[Path, Path]) -> None:
    record(*ledger)
    results, _ = ledger
    (results / TUNED).unlink()
    lines = verify(*ledger)
    assert (
        "tiny finetuned-guide seed 42 TinySciFact (test) ndcg_at_10: not run, recorded 0.700000"
        in lines
    )
    assert lines[-1] == "9 of 18 recorded scores reproduced"
    write(results, "tiny", "finetuned", {"TinySciFact": 0.7})
    assert verify(*ledger)[0] == (
        "tiny finetuned-guide seed 42 tiny ndcg_at_10: not run (1 of 4 tasks), recorded 0.700000"
    )


def test_no_interval_over_seeds_excuses_a_difference(ledger: tuple[Path, Path]) -> None:
    results, expected = ledger
    record(*ledger)
    path = expected / "recorded.yaml"
    path.write_text(path.read_text().replace(', "seed": 42', ""))
    # With 0.7 a mean of 0.75, whose interval over two seeds holds every score there is.
    write(results, "tiny", "finetuned", dict.fromkeys(TINY_TASKS, 0.8), seed=43)
    *failed, summary = verify(*ledger)
    assert summary == "9 of 18 recorded scores reproduced"
    assert all("0.750000 is above the recorded 0.700000" in line for line in failed)


def test_nothing_recorded_is_an_error(ledger: tuple[Path, Path]) -> None:
    with pytest.raises(InputError, match=r"recorded\.yaml: nothing is recorded"):
        verify(*ledger)


def test_recording_a_model_keeps_the_others(ledger: tuple[Path, Path]) -> None:
    record(*ledger)
    write(ledger[0], "1b", "base", dict.fromkeys(GUIDE_TASKS, 0.5))
    assert record(*ledger, ("1b",)) == 18 + 1 + 2 * 15
    assert verify(*ledger) == ["49 of 49 recorded scores reproduced"]
    with pytest.raises(InputError, match="17m: no entry in the ledger"):
        record(*ledger, ("17m",))
