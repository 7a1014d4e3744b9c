"""Collecting ledger entries from revisions of a temporary git repository."""

import json
import subprocess
from dataclasses import replace

import pandas as pd
import pytest

from ettin_retrieval.cli import main
from ettin_retrieval.ledger.collect import collect
from ettin_retrieval.ledger.entry import Entry
from ettin_retrieval.ledger.store import (
    index_problem,
    read_ledger,
    read_queries,
    write_entry,
    write_index,
)
from ettin_retrieval.runtime.errors import InputError

BASE = Entry("tiny", "base", 42, {"T.ndcg_at_10": 0.25}, {"T": {"queries": 2}}, {"commit": "a"})
TUNED = replace(
    BASE, checkpoint="finetuned", recipe="guide", scores={"T.ndcg_at_10": 0.5, "T.mrr_at_10": 0.4}
)


def queries(first=0.0):
    return pd.DataFrame(
        {"task": "T", "query_id": ["a", "b"], "ndcg_at_10": [first, 0.5], "mrr_at_10": 0.4}
    )


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository whose branch main has an empty ledger."""
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "Somebody")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "somebody@example.org")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    git(tmp_path, "init", "-q", "-b", "main")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "start")
    return tmp_path


def git(root, *arguments):
    done = subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def experiment(root, name, *entries, index=False):
    """Commit entries where DVC keeps an experiment: refs/exps/AA/BBB.../NAME; leave the tree."""
    start = git(root, "rev-parse", "main")
    git(root, "checkout", "-q", "--detach", start)
    for entry, frame in entries:
        write_entry(root / "results", entry, frame)
    if index:
        write_index(root / "results")
    git(root, "add", "results")
    git(root, "commit", "-q", "-m", name)
    git(root, "update-ref", f"refs/exps/{start[:2]}/{start[2:]}/{name}", "HEAD")
    git(root, "checkout", "-q", "main")


def test_entries_of_experiments_and_of_a_named_branch_come_together(repository):
    experiment(repository, "tidy-newt", (BASE, queries()))
    experiment(repository, "glad-hare", (BASE, queries()), (TUNED, queries(0.5)))
    git(repository, "checkout", "-q", "-b", "other")
    write_entry(repository / "results", replace(TUNED, seed=43), queries())
    git(repository, "add", "results")
    git(repository, "commit", "-q", "-m", "another seed")
    git(repository, "checkout", "-q", "main")
    assert not (repository / "results").exists()

    collected = collect(repository, ["tidy-newt", "glad-hare", "other"])

    names = ["tiny/base-seed42", "tiny/finetuned-guide-seed42", "tiny/finetuned-guide-seed43"]
    assert collected.written == names
    assert collected.conflicts == []
    ledger = read_ledger(repository / "results")
    assert [entry.name for entry in ledger] == names
    assert ledger[1] == TUNED
    assert read_queries(repository / "results", ledger[1]).equals(queries(0.5))
    # What the stage `tables` depends on: without it nothing would seem changed.
    index = json.loads((repository / "results" / "ledger.json").read_text())
    assert [name.removesuffix(".json") for name in index if name.endswith(".json")] == names


def test_runs_in_temporary_workspaces_lose_none_of_their_rows(repository, monkeypatch, capsys):
    """As `dvc exp run --temp` leaves them: each has seen its own size, and its own index, alone."""
    monkeypatch.chdir(repository)
    for size in ("17m", "150m", "1b"):
        rows = [(replace(entry, model=size), queries()) for entry in (BASE, TUNED)]
        experiment(repository, f"size-{size}", *rows, index=True)
    assert not (repository / "results").exists(), "nothing of them is in the workspace"
    assert main(["collect"]) == 0
    assert capsys.readouterr().out.endswith("6 collected, 0 there already, 0 in conflict\n")
    entries = read_ledger(repository / "results")
    assert {(e.model, e.arm) for e in entries} == {
        (size, arm) for size in ("17m", "150m", "1b") for arm in ("base", "finetuned-guide")
    }
    assert index_problem(repository / "results") is None


def test_one_experiment_by_name(repository):
    experiment(repository, "tidy-newt", (BASE, queries()))
    experiment(repository, "glad-hare", (TUNED, queries()))
    assert collect(repository, ["glad-hare"]).written == ["tiny/finetuned-guide-seed42"]


def test_the_same_numbers_again_change_no_byte(repository):
    """Another provenance is no other number: the first measurement goes on being told."""
    experiment(repository, "tidy-newt", (replace(BASE, provenance={"commit": "b"}), queries()))
    write_entry(repository / "results", BASE, queries())
    before = {p: p.read_bytes() for p in (repository / "results" / "tiny").iterdir()}
    collected = collect(repository, [])
    assert (collected.written, collected.present) == ([], ["tiny/base-seed42"])
    assert collected.conflicts == []
    assert {p: p.read_bytes() for p in (repository / "results" / "tiny").iterdir()} == before


def test_other_numbers_are_a_conflict_and_the_file_stays(repository):
    experiment(repository, "tidy-newt", (TUNED, queries()))
    mine = replace(TUNED, scores={"T.ndcg_at_10": 0.5, "T.mrr_at_10": 0.375})
    write_entry(repository / "results", mine, queries())
    [conflict] = collect(repository, []).conflicts
    assert str(conflict) == (
        "conflict: tiny/finetuned-guide-seed42: T.mrr_at_10: "
        "0.375 (working tree) or 0.4 (tidy-newt)"
    )
    assert read_ledger(repository / "results") == [mine]


def test_two_revisions_that_differ_are_a_conflict_and_neither_is_written(repository):
    experiment(repository, "glad-hare", (replace(BASE, scores={"T.ndcg_at_10": 0.75}), queries()))
    experiment(repository, "tidy-newt", (BASE, queries()), (TUNED, queries()))
    collected = collect(repository, [])
    assert collected.written == ["tiny/finetuned-guide-seed42"]
    [conflict] = collected.conflicts
    assert (conflict.key, conflict.metric) == ("tiny/base-seed42", "T.ndcg_at_10")
    assert dict(zip(conflict.revisions, conflict.values, strict=True)) == {
        "glad-hare": "0.75",
        "tidy-newt": "0.25",
    }
    # Naming one of the two decides.
    assert collect(repository, ["tidy-newt"]).written == ["tiny/base-seed42"]
    assert read_ledger(repository / "results")[0] == BASE


@pytest.mark.parametrize(
    ("theirs", "frame", "metric"),
    [
        (replace(BASE, tasks={"T": {"queries": 3}}), queries(), "task T"),
        (BASE, queries(0.25), "ndcg_at_10 of query a of T"),
        (BASE, queries()[:1], "query b of T"),
        (replace(BASE, scores={}), queries(), "T.ndcg_at_10"),
    ],
)
def test_whatever_differs_is_a_conflict(repository, theirs, frame, metric):
    experiment(repository, "tidy-newt", (theirs, frame))
    write_entry(repository / "results", BASE, queries())
    [conflict] = collect(repository, []).conflicts
    assert conflict.metric == metric
    assert conflict.values[0] != conflict.values[1]


def test_dvcs_own_references_are_no_experiments(repository):
    experiment(repository, "tidy-newt", (BASE, queries()))
    other = git(repository, "commit-tree", "-m", "stash", "main^{tree}")
    git(repository, "update-ref", "refs/exps/stash", other)
    git(repository, "update-ref", "refs/exps/exec/EXEC_HEAD", other)
    assert collect(repository, []).written == ["tiny/base-seed42"]
    with pytest.raises(InputError, match="EXEC_HEAD: no experiment"):
        collect(repository, ["EXEC_HEAD"])


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({".json": "{}"}, r"is missing beside it"),
        ({".json": "{}", ".queries.parquet": ""}, r"not a ledger entry"),
    ],
)
def test_a_malformed_entry_is_named_with_its_revision_and_nothing_is_written(
    repository, files, told
):
    experiment(repository, "tidy-newt", (BASE, queries()))
    git(repository, "checkout", "-q", "-b", "broken")
    path = repository / "results" / "tiny" / "finetuned-guide-seed42"
    path.parent.mkdir(parents=True)
    for suffix, content in files.items():
        path.with_name(path.name + suffix).write_text(content)
    git(repository, "add", "results")
    git(repository, "commit", "-q", "-m", "broken")
    git(repository, "checkout", "-q", "main")
    where = r"^broken:results/tiny/finetuned-guide-seed42\.json: .*"
    with pytest.raises(InputError, match=where + told):
        collect(repository, ["tidy-newt", "broken"])
    assert not (repository / "results").exists()
    # Where nothing is named, branches are not read at all.
    assert collect(repository, []).written == ["tiny/base-seed42"]


def test_tasks_of_one_checkpoint_from_two_experiments_fill_one_entry(repository):
    """As two runs in temporary workspaces leave them: each has seen its own tasks alone."""
    of = {"checkpoint": {"identity": "w1"}, "precision": "fp32"}
    first = replace(BASE, provenance={**of, "outputs_sha256": "1"})
    second = replace(
        first, scores={"U.ndcg_at_10": 0.75}, tasks={"U": {"queries": 2}},
        provenance={**of, "outputs_sha256": "2"},
    )  # fmt: skip
    experiment(repository, "tidy-newt", (first, queries()))
    experiment(repository, "glad-hare", (second, queries().assign(task="U")))
    assert collect(repository, []).written == ["tiny/base-seed42"]
    [entry] = read_ledger(repository / "results")
    assert entry.scores == {"T.ndcg_at_10": 0.25, "U.ndcg_at_10": 0.75}
    assert read_queries(repository / "results", entry)["task"].tolist() == ["T", "T", "U", "U"]
    assert collect(repository, []).present == ["tiny/base-seed42"]
    # Of other weights it is another checkpoint's row.
    other = replace(second, tasks={"V": {"queries": 2}}, scores={"V.ndcg_at_10": 0.5})
    other.provenance["checkpoint"] = {"identity": "w2"}
    experiment(repository, "loud-crab", (other, queries().assign(task="V")))
    [conflict] = collect(repository, []).conflicts
    assert (conflict.metric, conflict.values) == ("weights", ("w1", "w2"))


def test_two_experiments_of_one_name_have_to_be_told_apart(repository):
    experiment(repository, "tidy-newt", (BASE, queries()))
    git(repository, "commit", "-q", "--allow-empty", "-m", "further")
    experiment(repository, "tidy-newt", (TUNED, queries()))
    with pytest.raises(InputError, match="several experiments; name one of refs/exps/") as error:
        collect(repository, ["tidy-newt"])
    first = str(error.value).split()[-1]
    assert len(collect(repository, [first]).written) == 1


def test_the_order_of_the_queries_is_no_difference(repository):
    experiment(repository, "tidy-newt", (BASE, queries()[::-1]))
    write_entry(repository / "results", BASE, queries())
    assert collect(repository, []).conflicts == []


def test_unknown_revisions_and_directories_are_refused(repository, tmp_path_factory):
    with pytest.raises(InputError, match="nowhere: no experiment, branch, tag or commit"):
        collect(repository, ["nowhere"])
    with pytest.raises(InputError, match="--all: no experiment"):
        collect(repository, ["--all"])
    with pytest.raises(InputError, match="not a git repository"):
        collect(tmp_path_factory.mktemp("plain"), [])


def test_the_command_fails_on_a_conflict_alone(repository, monkeypatch, capsys):
    monkeypatch.chdir(repository)
    experiment(repository, "tidy-newt", (BASE, queries()))
    experiment(repository, "glad-hare", (replace(BASE, scores={"T.ndcg_at_10": 0.75}), queries()))
    assert main(["collect", "tidy-newt"]) == 0
    assert capsys.readouterr().out == (
        "collected tiny/base-seed42\n1 collected, 0 there already, 0 in conflict\n"
    )
    assert main(["collect", "tidy-newt"]) == 0
    assert main(["collect", "glad-hare"]) == 1
    told = capsys.readouterr().err
    assert "T.ndcg_at_10: 0.25 (working tree) or 0.75 (glad-hare)" in told
