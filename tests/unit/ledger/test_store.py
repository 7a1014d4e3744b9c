"""The ledger on disk: what is written, what is refused, and its index."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from ettin_retrieval.ledger import store
from ettin_retrieval.ledger.store import (
    index_problem,
    read_entry,
    read_ledger,
    read_measurement,
    read_queries,
    write_index,
)
from ettin_retrieval.runtime.errors import InputError
from tests.ledgers import measurement, write

BASE = "tiny/base-seed42"


def test_a_measurement_is_read_as_it_was_written(tmp_path: Path) -> None:
    new = measurement("tiny", "base", {"T": [0.25, 0.5]}, commit="a")
    assert store.write_measurement(tmp_path, new) == "written"
    read = read_measurement(tmp_path, BASE)
    assert (read.entry, read.records) == (new.entry, new.records)
    assert read.queries.equals(new.queries)
    assert read_queries(tmp_path, read.entry).equals(new.queries)


def test_entries_are_in_order_of_model_arm_and_seed(tmp_path: Path) -> None:
    for model, checkpoint, seed in (("b", "base", 10), ("b", "base", 9), ("a", "finetuned", 1)):
        write(tmp_path, model, checkpoint, {"T": 0.5}, seed=seed)
    write(tmp_path, "a", "base", {"T": 0.5}, seed=1)
    assert [entry.name for entry in read_ledger(tmp_path)] == [
        "a/base-seed1", "a/finetuned-guide-seed1", "b/base-seed9", "b/base-seed10",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda _: "{", "not valid JSON"),
        (lambda _: "[]", "not a file of the ledger"),
        (
            lambda text: text.replace('"seed": 42', '"seed": 43'),
            "holds tiny/base-seed43; a file is",
        ),
        (lambda text: text.replace('"schema": 2', '"schema": 3'), "schema 3 .* reads 2"),
        (lambda text: text.replace('"schema": 2,', ""), "schema 1 of the ledger; run `ettin"),
    ],
)
def test_an_entry_that_cannot_be_read_is_reported_in_one_line(
    tmp_path: Path, change: Callable[[str], str], message: str
) -> None:
    write(tmp_path, "tiny", "base", {"T": 0.5})
    path = tmp_path / f"{BASE}.json"
    path.write_text(change(path.read_text()))
    with pytest.raises(InputError, match=message) as error:
        read_entry(path)
    assert str(error.value).startswith(f"{path}: ")


def test_per_query_scores_and_records_that_are_missing_are_named(tmp_path: Path) -> None:
    write(tmp_path, "tiny", "base", {"T": 0.5})
    [run] = (tmp_path / "tiny").glob("run-*.json")
    run.write_text('{"schema": 2, "runs": {}}')
    with pytest.raises(InputError, match=f"{run.name}: no record of run .* {BASE} refers to"):
        read_measurement(tmp_path, BASE)
    run.unlink()
    with pytest.raises(InputError, match=f"{run.name}: no record of run"):
        read_measurement(tmp_path, BASE)
    (tmp_path / f"{BASE}.queries.parquet").unlink()
    with pytest.raises(InputError, match=f"no such file; it belongs to {BASE}.json"):
        read_queries(tmp_path, read_entry(tmp_path / f"{BASE}.json"))


def test_the_record_of_a_run_lies_once_and_only_as_long_as_an_entry_refers_to_it(
    tmp_path: Path,
) -> None:
    def records(name: str) -> list[Any]:
        path = tmp_path / f"tiny/run-{name}-seed42.json"
        return list(json.loads(path.read_text())["runs"].values()) if path.is_file() else []

    for checkpoint in ("base", "finetuned"):
        write(tmp_path, "tiny", checkpoint, {"T": 0.5}, commit="a")
    assert records("guide") == [{"commit": "a"}]
    write(tmp_path, "tiny", "base", {"T": 0.25}, commit="b")
    assert sorted(record["commit"] for record in records("guide")) == ["a", "b"]
    write(tmp_path, "tiny", "finetuned", {"T": 0.25}, commit="b")
    assert records("guide") == [{"commit": "b"}]
    write(tmp_path, "tiny", "base", {"T": 0.5}, recipe="paper", commit="c")
    assert (records("guide"), records("paper")) == ([{"commit": "b"}], [{"commit": "c"}])
    (tmp_path / "tiny/finetuned-guide-seed42.json").unlink()
    write(tmp_path, "tiny", "finetuned", {"T": 0.5}, recipe="paper", commit="c")
    assert [path.name for path in (tmp_path / "tiny").glob("run-*")] == ["run-paper-seed42.json"]


def test_a_killed_write_leaves_the_earlier_entry_readable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "tiny", "base", {"T": 0.5}, commit="a")
    before = read_measurement(tmp_path, BASE)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(pq, "write_table", killed)
        write(tmp_path, "tiny", "base", {"T": 0.25}, commit="b")
    after = read_measurement(tmp_path, BASE)
    assert (after.entry, after.records) == (before.entry, before.records)
    assert write(tmp_path, "tiny", "base", {"T": 0.25}, commit="b") == "replaced"


def test_the_index_names_the_first_file_that_differs(tmp_path: Path) -> None:
    write(tmp_path, "tiny", "base", {"T": 0.5})
    assert "base-seed42.json: not in the index" in str(index_problem(tmp_path))
    write_index(tmp_path)
    assert index_problem(tmp_path) is None
    path = tmp_path / f"{BASE}.json"
    text = path.read_text()
    path.write_text(text + "\n")
    assert str(index_problem(tmp_path)).startswith(f"{path}: changed since the index was written")
    path.write_text(text)
    (tmp_path / f"{BASE}.queries.parquet").unlink()
    problem = str(index_problem(tmp_path))
    assert "queries.parquet: in the index, but missing" in problem
    assert "run `ettin-retrieval index` and `dvc repro tables`" in problem


@pytest.mark.parametrize("content", ["", "[]", "{}"])
def test_a_file_that_is_not_an_index_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "ledger.json").write_text(content)
    assert str(index_problem(tmp_path)).endswith(
        "not a ledger's index; run `ettin-retrieval index`"
    )


def test_the_index_covers_the_records_of_runs(tmp_path: Path) -> None:
    write(tmp_path, "tiny", "base", {"T": 0.5}, commit="a")
    write_index(tmp_path)
    [run] = (tmp_path / "tiny").glob("run-*.json")
    run.write_text(run.read_text().replace('"a"', '"b"'))
    assert str(index_problem(tmp_path)).startswith(f"{run}: changed")
