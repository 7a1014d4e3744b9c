"""Collecting ledger entries from revisions of a temporary git repository."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ettin_retrieval.ledger.collect import collect
from ettin_retrieval.ledger.entry import Measurement
from ettin_retrieval.ledger.store import (
    index_problem,
    read_ledger,
    read_measurement,
    write_index,
    write_measurement,
)
from ettin_retrieval.runtime.errors import InputError
from tests.ledgers import measurement

BASE = measurement("tiny", "base", {"T": 0.25}, commit="a")
TUNED = measurement("tiny", "finetuned", {"T": 0.5}, commit="a")
NAMES = ["tiny/base-seed42", "tiny/finetuned-guide-seed42"]


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose branch main has an empty ledger."""
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "Somebody")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "somebody@example.org")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    git(tmp_path, "init", "-q", "-b", "main")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "start")
    return tmp_path


def git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def branch(root: Path, name: str, *measurements: Measurement) -> None:
    """Commit measurements on a branch; the working tree has none of them afterwards."""
    git(root, "checkout", "-q", "-b", name)
    for each in measurements:
        write_measurement(root / "results", each)
    write_index(root / "results")
    git(root, "add", "results")
    git(root, "commit", "-q", "-m", name)
    git(root, "checkout", "-q", "main")


def experiment(root: Path, name: str, *measurements: Measurement) -> None:
    """Commit measurements as DVC commits an experiment: refs/exps/AA/BBB.../NAME."""
    start = git(root, "rev-parse", "main")
    branch(root, name, *measurements)
    git(root, "update-ref", f"refs/exps/{start[:2]}/{start[2:]}/{name}", name)
    git(root, "branch", "-q", "-D", name)


def scored(of: Measurement, score: float) -> Measurement:
    """The same, with another nDCG@10 of task T in the entry."""
    return replace(of, entry=replace(of.entry, scores=of.entry.scores | {"T.ndcg_at_10": score}))


def files(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted((root / "results/tiny").iterdir())}


def test_entries_of_experiments_and_of_a_named_branch_are_brought_together(
    repository: Path,
) -> None:
    further = measurement("tiny", "finetuned", {"T": 0.5}, seed=43)
    experiment(repository, "tidy-newt", BASE)
    experiment(repository, "glad-hare", BASE, TUNED)
    branch(repository, "other", further)
    assert not (repository / "results").exists()

    collected = collect(repository, ["tidy-newt", "glad-hare", "other"])

    names = [*NAMES, "tiny/finetuned-guide-seed43"]
    assert (collected.written, collected.conflicts) == (names, [])
    ledger = repository / "results"
    assert [entry.name for entry in read_ledger(ledger)] == names
    read = read_measurement(ledger, names[1])
    assert (read.entry, read.records) == (TUNED.entry, TUNED.records)
    assert read.queries.equals(TUNED.queries)
    # What the stage `tables` depends on: without it DVC would see no change.
    index = json.loads((ledger / "ledger.json").read_text())["sha256"]
    assert {f"{name}.json" for name in names} <= set(index)
    assert index_problem(ledger) is None


def test_experiments_that_saw_only_their_own_size_lose_no_entry(repository: Path) -> None:
    """As `dvc exp run --temp` leaves them: with an index of the size alone."""
    sizes = ("17m", "150m", "1b")
    for size in sizes:
        both = [measurement(size, checkpoint, {"T": 0.5}) for checkpoint in ("base", "finetuned")]
        experiment(repository, f"size-{size}", *both)
    assert not (repository / "results").exists()
    assert len(collect(repository, []).written) == 6
    entries = read_ledger(repository / "results")
    assert {(entry.model, entry.arm) for entry in entries} == {
        (size, arm) for size in sizes for arm in ("base", "finetuned-guide")
    }
    assert index_problem(repository / "results") is None


def test_one_experiment_by_name(repository: Path) -> None:
    experiment(repository, "tidy-newt", BASE)
    experiment(repository, "glad-hare", TUNED)
    assert collect(repository, ["glad-hare"]).written == [NAMES[1]]


def test_the_same_numbers_from_another_run_change_no_byte(repository: Path) -> None:
    other = measurement("tiny", "base", {"T": 0.25}, commit="b", outputs="d2")
    experiment(repository, "tidy-newt", other)
    write_measurement(repository / "results", BASE)
    before = files(repository)
    collected = collect(repository, [])
    assert (collected.written, collected.present) == ([], NAMES[:1])
    assert collected.conflicts == []
    assert files(repository) == before


def test_other_numbers_are_a_conflict_and_the_file_stays(repository: Path) -> None:
    experiment(repository, "tidy-newt", TUNED)
    mine = scored(TUNED, 0.375)
    write_measurement(repository / "results", mine)
    [conflict] = collect(repository, []).conflicts
    assert str(conflict) == (
        "conflict: tiny/finetuned-guide-seed42: T.ndcg_at_10: "
        "0.375 (working tree) or 0.5 (tidy-newt)"
    )
    assert read_ledger(repository / "results") == [mine.entry]


def test_files_that_many_experiments_have_in_common_are_one_conflict(repository: Path) -> None:
    for name in ("tidy-newt", "glad-hare", "loud-crab"):
        experiment(repository, name, BASE)
    write_measurement(repository / "results", scored(BASE, 0.5))
    assert len(collect(repository, []).conflicts) == 1


def test_of_two_revisions_that_differ_neither_is_written(repository: Path) -> None:
    experiment(repository, "glad-hare", scored(BASE, 0.75))
    experiment(repository, "tidy-newt", BASE, TUNED)
    collected = collect(repository, [])
    assert collected.written == NAMES[1:]
    [conflict] = collected.conflicts
    assert (conflict.key, conflict.metric) == (NAMES[0], "T.ndcg_at_10")
    assert dict(zip(conflict.revisions, conflict.values, strict=True)) == {
        "glad-hare": "0.75",
        "tidy-newt": "0.25",
    }
    # Naming one of the two decides.
    assert collect(repository, ["tidy-newt"]).written == NAMES[:1]
    assert read_ledger(repository / "results")[0] == BASE.entry


@pytest.mark.parametrize(
    ("change", "metric"),
    [
        (lambda m: replace(m, entry=replace(m.entry, tasks={"T": {"queries": 3}})), "task T"),
        (lambda m: replace(m, entry=replace(m.entry, scores={})), "T.mrr_at_10"),
        (lambda m: replace(m, queries=m.queries.assign(ndcg_at_10=[0.5, 0.0])),
         "ndcg_at_10 of query q0 of T"),
        (lambda m: replace(m, queries=m.queries[:1]), "query q1 of T"),
    ],
)  # fmt: skip
def test_every_kind_of_difference_is_a_conflict(
    repository: Path, change: Callable[[Measurement], Measurement], metric: str
) -> None:
    experiment(repository, "tidy-newt", change(BASE))
    write_measurement(repository / "results", BASE)
    conflict = collect(repository, []).conflicts[0]
    assert conflict.metric == metric
    assert conflict.values[0] != conflict.values[1]


def test_the_order_of_queries_is_not_a_difference(repository: Path) -> None:
    experiment(repository, "tidy-newt", replace(BASE, queries=BASE.queries[::-1]))
    write_measurement(repository / "results", BASE)
    assert collect(repository, []).conflicts == []


def test_references_for_dvc_itself_are_not_experiments(repository: Path) -> None:
    experiment(repository, "tidy-newt", BASE)
    other = git(repository, "commit-tree", "-m", "stash", "main^{tree}")
    git(repository, "update-ref", "refs/exps/stash", other)
    git(repository, "update-ref", "refs/exps/exec/EXEC_HEAD", other)
    assert collect(repository, []).written == NAMES[:1]
    with pytest.raises(InputError, match="EXEC_HEAD: no experiment"):
        collect(repository, ["EXEC_HEAD"])


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("finetuned-guide-seed42.json", '{"schema": 2}', "json: not a ledger entry"),
        ("finetuned-guide-seed42.json", "{", "json: not valid JSON"),
        ("finetuned-guide-seed42.queries.parquet", None, "parquet: no such file; it belongs to"),
        ("run-guide-seed42.json", None, "json: no record of run"),
    ],
)
def test_a_malformed_entry_is_named_with_its_revision_and_nothing_is_written(
    repository: Path, file: str, content: str | None, message: str
) -> None:
    experiment(repository, "tidy-newt", BASE)
    path = repository / "results/tiny" / file
    git(repository, "checkout", "-q", "-b", "broken")
    write_measurement(repository / "results", TUNED)
    path.write_text(content) if content is not None else path.unlink()
    git(repository, "add", "results")
    git(repository, "commit", "-q", "-m", "broken")
    git(repository, "checkout", "-q", "main")
    with pytest.raises(InputError, match=message) as error:
        collect(repository, ["tidy-newt", "broken"])
    assert str(error.value).startswith(f"broken:results/tiny/{file}: ")
    assert not (repository / "results").exists()
    # If none is named, branches are not read.
    assert collect(repository, []).written == NAMES[:1]


def test_tasks_of_one_checkpoint_from_two_experiments_fill_one_entry(repository: Path) -> None:
    """As two runs in temporary workspaces leave them: each with its own tasks."""
    experiment(repository, "tidy-newt", BASE)
    second = measurement("tiny", "base", {"U": 0.75}, outputs="d2", commit="b")
    experiment(repository, "glad-hare", second)
    assert collect(repository, []).written == NAMES[:1]
    both = read_measurement(repository / "results", NAMES[0])
    assert both.entry.scores == BASE.entry.scores | second.entry.scores
    assert both.queries["task"].tolist() == ["T", "T", "U", "U"]
    assert both.records == BASE.records | second.records
    assert collect(repository, []).present == NAMES[:1]
    # A checkpoint with other weights is another measurement.
    experiment(repository, "loud-crab", measurement("tiny", "base", {"V": 0.5}, weights="w2"))
    [conflict] = collect(repository, []).conflicts
    assert (conflict.metric, conflict.values) == ("weights", ("w42", "w2"))


def test_entries_of_an_earlier_schema_are_converted(repository: Path) -> None:
    first = BASE.entry.content() | {"provenance": {"commit": "a", "precision": "fp32"}}
    for key in ("schema", "weights", "precision", "runs"):
        del first[key]
    experiment(repository, "tidy-newt", TUNED)
    git(repository, "checkout", "-q", "-b", "earlier", "main")
    write_measurement(repository / "results", BASE)
    (repository / "results/tiny/base-seed42.json").write_text(json.dumps(first))
    git(repository, "add", "results")
    git(repository, "commit", "-q", "-m", "schema 1")
    git(repository, "checkout", "-q", "main")
    assert collect(repository, ["earlier", "tidy-newt"]).written == NAMES
    [entry, _] = read_ledger(repository / "results")
    assert (entry.scores, entry.precision) == (BASE.entry.scores, "fp32")


def test_two_experiments_of_one_name_must_be_told_apart(repository: Path) -> None:
    experiment(repository, "tidy-newt", BASE)
    git(repository, "commit", "-q", "--allow-empty", "-m", "further")
    experiment(repository, "tidy-newt", TUNED)
    with pytest.raises(InputError, match="several experiments; name one of refs/exps/") as error:
        collect(repository, ["tidy-newt"])
    first = str(error.value).split()[-1]
    assert len(collect(repository, [first]).written) == 1


def test_unknown_revisions_and_directories_are_refused(
    repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with pytest.raises(InputError, match="nowhere: no experiment, branch, tag or commit"):
        collect(repository, ["nowhere"])
    with pytest.raises(InputError, match="--all: no experiment"):
        collect(repository, ["--all"])
    with pytest.raises(InputError, match="not a git repository"):
        collect(tmp_path_factory.mktemp("plain"), [])


def test_the_same_numbers_at_other_lengths_are_a_conflict(repository: Path) -> None:
    experiment(repository, "long", measurement("tiny", "base", {"T": 0.25}, lengths=(512, 512)))
    write_measurement(repository / "results", BASE)
    [conflict] = collect(repository, ["long"]).conflicts
    assert str(conflict) == (
        "conflict: tiny/base-seed42: lengths: 64 and 512 tokens (working tree) or 512 and 512 "
        "tokens (long)"
    )
