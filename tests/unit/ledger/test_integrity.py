"""What `ettin-retrieval verify` finds before it compares a score: tampering and staleness."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ettin_retrieval.ledger.integrity import lock_problems, mean_problems, problems
from ettin_retrieval.ledger.provenance import outputs_behind, outputs_digest
from ettin_retrieval.ledger.store import read_ledger, write_index
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.tasks import CQADUPSTACK, CQADUPSTACK_PARTS
from tests.ledgers import measurement, write
from tests.unit.ledger.pipeline import LOCK, write_pipeline


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """The ledger of the run that dvc.lock records."""
    write_pipeline(tmp_path)
    for checkpoint in ("base", "finetuned"):
        digest = outputs_digest(outputs_behind(checkpoint, tmp_path))
        write(tmp_path / "results", "tiny", checkpoint, {"T": [0.5, 1.0]}, seed=7, recipe="paper",
              flat={"T.recall_at_100": 0.1}, outputs=digest)  # fmt: skip
    write(tmp_path / "results", "tiny", "base", {"T": 0.5}, seed=8, outputs="of another seed")
    write_index(tmp_path / "results")
    return tmp_path / "results"


def test_an_entry_has_the_digest_of_the_dvc_lock_that_made_it(
    results: Path, tmp_path: Path
) -> None:
    assert list(lock_problems(results, tmp_path)) == []
    lock = tmp_path / "dvc.lock"
    lock.write_text(LOCK.replace("t.dir", "u.dir"))
    [problem] = lock_problems(results, tmp_path)
    assert problem.startswith(f"{results}/tiny/finetuned-paper-seed7.json: made from other data")
    lock.write_text(LOCK.replace("seed: 7", "seed: 9"))
    assert [p.partition(": ")[2][:7] for p in lock_problems(results, tmp_path)] == ["missing"] * 2
    lock.write_text(LOCK.partition("  results:")[0])
    assert list(lock_problems(results, tmp_path)) == []
    lock.unlink()
    [problem] = lock_problems(results, tmp_path)
    assert "no such file" in problem


def test_any_run_of_an_entry_may_be_the_one_of_dvc_lock(results: Path, tmp_path: Path) -> None:
    write(results, "tiny", "base", {"U": 0.5}, seed=7, outputs="of other tasks")
    assert len(read_ledger(results)[0].runs) == 2
    assert list(lock_problems(results, tmp_path)) == []


def test_a_changed_file_of_the_ledger_is_named(results: Path, tmp_path: Path) -> None:
    assert list(problems(results, tmp_path)) == []
    path = results / "tiny/base-seed7.json"
    # Of this metric the ledger has no per-query scores: only the index can show it.
    path.write_text(path.read_text().replace("0.1", "0.9"))
    [problem] = problems(results, tmp_path)
    assert problem.startswith(f"{path}: changed since the index was written")
    write_index(results)
    assert list(problems(results, tmp_path)) == []
    path.write_text(path.read_text().replace('"T.ndcg_at_10": 0.75', '"T.ndcg_at_10": 0.76'))
    write_index(results)
    assert list(problems(results, tmp_path)) == [
        f"{path}: T.ndcg_at_10 is 0.760000, but the mean over its queries is 0.750000"
    ]


def test_an_entry_without_the_record_of_its_run_is_an_error(results: Path, tmp_path: Path) -> None:
    (results / "tiny/run-paper-seed7.json").unlink()
    with pytest.raises(InputError, match=r"run-paper-seed7\.json: no record of run"):
        list(problems(results, tmp_path))


def test_cqadupstack_is_checked_as_the_mean_of_its_parts(tmp_path: Path) -> None:
    first, *parts = sorted(CQADUPSTACK_PARTS)
    scores: dict[str, float | list[float]] = dict.fromkeys(parts, 0.25)
    new = measurement("1b", "base", {**scores, first: [0.25, 0.75, 0.5]})
    mean = (11 * 0.25 + 0.5) / 12  # over forums, not over queries
    for score, found in ((mean, 0), (float(new.queries["ndcg_at_10"].mean()), 1)):
        flat = {f"{CQADUPSTACK}.ndcg_at_10": score, "X.mrr_at_10": 0.5, "average": 0.3}
        changed = replace(new, entry=replace(new.entry, scores=flat))
        lines = list(mean_problems(tmp_path, changed))
        assert len(lines) == found + 1
        assert lines[-1].endswith("X.mrr_at_10: base-seed42.queries.parquet has no query of it")


def test_means_may_differ_by_the_rounding_of_a_sum(tmp_path: Path) -> None:
    new = measurement("1b", "base", {"T": [0.1, 0.2, 0.6]})
    for distance, found in ((1e-12, 0), (1e-5, 1)):
        changed = replace(new.entry, scores={"T.ndcg_at_10": 0.3 + distance})
        assert len(list(mean_problems(tmp_path, replace(new, entry=changed)))) == found
