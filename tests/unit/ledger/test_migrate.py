"""A ledger of schema 1, converted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ettin_retrieval.ledger.migrate import migrate
from ettin_retrieval.ledger.store import (
    index_problem,
    read_ledger,
    read_measurement,
    write_index,
)
from ettin_retrieval.runtime.errors import InputError
from tests.ledgers import measurement, write

SETTINGS = {"recipe": "guide", "seed": 42, "data": {"train": "synthetic"}}


def old_run(**changes: Any) -> dict[str, Any]:
    """What schema 1 held of a run, in each of its entries."""
    run = {
        "commit": "a", "outputs_sha256": "d1", "checkpoint": {"identity": "w1", "pooling": "cls"},
        "training_data": None, "settings": SETTINGS, "precision": "fp32",
        "costs": {"models/base": {"seconds": 1.0}},
    }  # fmt: skip
    return run | changes


def write_old(
    results: Path, checkpoint: str, scores: dict[str, float], provenance: dict[str, Any], **of: Any
) -> Path:
    """Write an entry as schema 1 had it."""
    new = measurement("tiny", checkpoint, scores, **of)
    path = results / f"{new.entry.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = new.entry.content()
    for key in ("schema", "weights", "precision", "runs"):
        del content[key]
    for record in content["tasks"].values():
        record["source"] = "synthetic"
    path.write_text(json.dumps(content | {"provenance": provenance}))
    new.queries.to_parquet(path.with_suffix(".queries.parquet"))
    return path


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Base and fine-tuned of one run, and two tasks more of the base by another."""
    further = old_run(commit="b", outputs_sha256="d2", tasks=["U", "V"])
    base = old_run(further_runs=[further])
    write_old(tmp_path, "base", {"T": 0.25, "U": 0.5, "V": 0.75}, base)
    costs = {"models/finetuned": {"seconds": 2.0}}
    weights = {"identity": "w2", "source": "embedded"}
    tuned = old_run(
        outputs_sha256="d3", checkpoint=weights, training_data={"source": "synthetic"}, costs=costs
    )
    write_old(tmp_path, "finetuned", {"T": 0.5}, tuned)
    write_index(tmp_path)
    return tmp_path


def test_an_unmigrated_entry_is_one_line_that_names_the_command(results: Path) -> None:
    with pytest.raises(InputError) as error:
        read_ledger(results)
    assert str(error.value) == (
        f"{results}/tiny/base-seed42.json: schema 1 of the ledger; run `ettin-retrieval migrate "
        f"--results {results}`"
    )


def test_everything_that_an_entry_said_is_still_there(results: Path) -> None:
    assert [path.name for path in migrate(results)] == [
        "base-seed42.json", "finetuned-guide-seed42.json",
    ]  # fmt: skip
    base, tuned = (read_measurement(results, entry.name) for entry in read_ledger(results))
    assert base.entry.scores["V.ndcg_at_10"] == 0.75
    assert base.entry.weights == {"fingerprint": "w1", "pooling": "cls"}
    assert tuned.entry.weights == {"fingerprint": "w2", "source": "tiny"}
    assert base.entry.precision == "fp32"
    assert base.entry.tasks["T"] == {"split": "test", "queries": 2, "source": "tiny"}
    assert base.queries["task"].tolist() == ["T", "T", "U", "U", "V", "V"]
    assert [(run["outputs_sha256"], run["tasks"]) for run in base.entry.runs] == [
        ("d1", ["T"]), ("d2", ["U", "V"]),
    ]  # fmt: skip
    assert [(run["outputs_sha256"], run["tasks"]) for run in tuned.entry.runs] == [("d3", ["T"])]
    assert [record["commit"] for record in base.records.values()] == ["a", "b"]
    assert index_problem(results) is None


def test_base_and_fine_tuned_of_one_run_share_its_record(results: Path) -> None:
    migrate(results)
    base, tuned = (read_measurement(results, entry.name) for entry in read_ledger(results))
    [(reference, shared)] = tuned.records.items()
    assert base.entry.runs[0]["run"] == reference
    assert base.records[reference] == shared
    assert shared["training_data"] == {"source": "tiny"}
    assert shared["settings"]["data"] == {"train": "tiny"}
    assert set(shared["costs"]) == {"models/base", "models/finetuned"}
    assert not {"checkpoint", "precision", "outputs_sha256", "tasks"} & set(shared)
    written = json.loads((results / "tiny/run-guide-seed42.json").read_text())
    assert len(written["runs"]) == 2


def test_a_second_time_changes_nothing(results: Path) -> None:
    migrate(results)
    before = {path: path.read_bytes() for path in results.rglob("*.*")}
    assert migrate(results) == []
    assert {path: path.read_bytes() for path in results.rglob("*.*")} == before


def test_the_record_of_a_study_s_run_is_named_after_its_arm(tmp_path: Path) -> None:
    write_old(tmp_path, "shots10", {"T": 0.5}, old_run())
    migrate(tmp_path)
    [entry] = read_ledger(tmp_path)
    assert entry.runs[0]["run"].startswith("run-shots10-seed42#")


def test_later_entries_and_their_index_stay_as_they_are(tmp_path: Path) -> None:
    write(tmp_path, "tiny", "base", {"T": 0.5})
    write_index(tmp_path)
    (tmp_path / "tiny/base-seed42.json").open("a").write("\n")
    assert migrate(tmp_path) == []
    assert "changed since the index was written" in str(index_problem(tmp_path))


def test_a_task_may_have_the_old_name_of_a_source(tmp_path: Path) -> None:
    write_old(tmp_path, "base", {"synthetic": 0.5}, old_run())
    migrate(tmp_path)
    [entry] = read_ledger(tmp_path)
    assert list(entry.tasks) == entry.runs[0]["tasks"] == ["synthetic"]


@pytest.mark.parametrize("content", ["{", "[]", "{}"])
def test_a_malformed_entry_is_named_and_nothing_is_converted(results: Path, content: str) -> None:
    path = results / "tiny/finetuned-guide-seed42.json"
    path.write_text(content)
    before = {path: path.read_bytes() for path in results.rglob("*.*")}
    with pytest.raises(InputError, match="restore it with git") as error:
        migrate(results)
    assert str(error.value).startswith(f"{path}: ")
    assert {path: path.read_bytes() for path in results.rglob("*.*")} == before
