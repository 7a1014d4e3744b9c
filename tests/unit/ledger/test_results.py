"""The stage `results`: from the outputs of the pipeline to entries of the ledger."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from ruamel.yaml import YAML

from ettin_retrieval import pipeline
from ettin_retrieval.ledger import results
from ettin_retrieval.ledger.provenance import outputs_behind, outputs_digest
from ettin_retrieval.ledger.store import index_problem, read_ledger, read_measurement
from ettin_retrieval.runtime.files import write_json
from ettin_retrieval.settings.load import load_settings
from tests.unit.ledger.pipeline import write_pipeline
from tests.workspace import ROOT

MANIFEST = {
    "split": "test", "source": "s", "revision": "1",
    "notes": {"subsampled_from": 9, "heldout_tasks": ["Leases", "Contracts"]},
    "counts": {"corpus": 3, "queries_with_positive": 2},
}  # fmt: skip
CUT = {
    "base": {"queries": [1, 2], "passages": [0, 3]},
    "finetuned": {"queries": [2, 2], "passages": [3, 3]},
}
PATHS = ("metrics", "scores", "models", "benchmark", "training", "results")
SETTINGS = load_settings(ROOT / "params.yaml")


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """The outputs of a pipeline that scored two tasks."""
    monkeypatch.chdir(tmp_path)
    write_pipeline(tmp_path)
    write_json(tmp_path / "training/train/manifest.json", MANIFEST)
    queries = pd.DataFrame({"query_id": ["q", "r"], "ndcg_at_10": 0.5, "mrr_at_10": 0.25})
    for task in ("Leases", "Contracts"):
        write_json(tmp_path / f"benchmark/{task}/manifest.json", MANIFEST)
    for checkpoint in ("base", "finetuned"):
        scores = {"Contracts.ndcg_at_10": 0.5, "Leases.ndcg_at_10": 0.5}
        write_json(tmp_path / f"metrics/{checkpoint}.json", scores)
        write_json(tmp_path / f"models/{checkpoint}/checkpoint.json", {"fingerprint": checkpoint})
        (tmp_path / "scores" / checkpoint).mkdir(parents=True)
        for task in ("Leases", "Contracts"):
            queries.to_parquet(tmp_path / f"scores/{checkpoint}/{task}.queries.parquet")
            write_json(tmp_path / f"scores/{checkpoint}/{task}.cut.json", CUT[checkpoint])
    return {name: tmp_path / name for name in PATHS}


def test_both_checkpoints_are_entered_with_what_made_them(paths: dict[str, Path]) -> None:
    pipeline.record_cost(Path("models/base"), 1.25, SETTINGS)
    summary = results.run(SETTINGS, paths)
    assert summary == "tiny/base-seed42 written, tiny/finetuned-guide-seed42 written"
    entries = read_ledger(paths["results"])
    assert [entry.name for entry in entries] == ["tiny/base-seed42", "tiny/finetuned-guide-seed42"]
    for entry, checkpoint in zip(entries, ("base", "finetuned"), strict=True):
        read = read_measurement(paths["results"], entry.name)
        assert entry.weights == {"fingerprint": checkpoint}
        assert entry.precision == SETTINGS.evaluation.precision
        assert entry.scores == {"Contracts.ndcg_at_10": 0.5, "Leases.ndcg_at_10": 0.5}
        assert entry.tasks["Leases"] == {
            "split": "test", "queries": 2, "passages": 3, "source": "s", "revision": "1",
            "subsampled_from": 9, "cut": CUT[checkpoint],
        }  # fmt: skip
        assert read.queries["task"].tolist() == ["Contracts", "Contracts", "Leases", "Leases"]
        [run] = entry.runs
        assert run["tasks"] == ["Contracts", "Leases"]
        assert run["outputs_sha256"] == outputs_digest(outputs_behind(checkpoint))
        assert read.records[run["run"]]["training_data"] == MANIFEST
        assert list(read.records[run["run"]]["costs"]) == ["models/base"]
    assert entries[0].runs[0]["run"] == entries[1].runs[0]["run"]
    assert index_problem(paths["results"]) is None


def test_a_second_run_changes_no_byte(paths: dict[str, Path]) -> None:
    results.run(SETTINGS, paths)
    before = {path: path.read_bytes() for path in paths["results"].rglob("*.*")}
    pipeline.record_cost(Path("models/base"), 1.25, SETTINGS)
    summary = results.run(SETTINGS, paths)
    assert summary == "tiny/base-seed42 unchanged, tiny/finetuned-guide-seed42 unchanged"
    assert {path: path.read_bytes() for path in paths["results"].rglob("*.*")} == before


def test_an_entry_records_the_settings_of_params_yaml(paths: dict[str, Path]) -> None:
    """And not those of metrics/settings.json, which `dvc repro results` does not write again."""
    changed = SETTINGS.with_changes({"finetuning.learning_rate": 0.5})
    results.run(changed, paths)
    text = (paths["results"] / "tiny/run-guide-seed42.json").read_text()
    [record] = json.loads(text)["runs"].values()
    assert record["settings"] == json.loads(json.dumps(changed.resolved()))
    assert record["settings"]["finetuning"]["learning_rate"] == 0.5


@pytest.mark.parametrize(("swept", "tuned"), [("base", True), ("another", False)])
def test_a_run_says_whether_its_rate_was_tuned(
    paths: dict[str, Path], swept: str, tuned: bool
) -> None:
    """By the sweep of the encoder that training starts from."""
    sweep = {"encoder": swept, "chosen": {"learning_rate": SETTINGS.learning_rate}}
    write_json(Path("studies/sweeps/tiny-guide.json"), sweep)
    results.run(SETTINGS, paths)
    text = (paths["results"] / "tiny/run-guide-seed42.json").read_text()
    [record] = json.loads(text)["runs"].values()
    assert record["learning_rate"] == {"value": 0.002, "tuned": tuned}
    stages = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    assert "studies/sweeps" in stages["results"]["deps"], "a new sweep changes the record"


def test_every_file_that_the_stage_writes_is_an_output_or_the_index(
    paths: dict[str, Path],
) -> None:
    """What is neither is missing in the commit of a DVC experiment."""
    stages = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    outputs = [next(iter(out)) for out in stages["results"]["outs"]]
    results.run(SETTINGS, paths)
    values = {"${model}": "tiny", "${recipe}": "guide", "${seed}": "42"}
    for name, value in values.items():
        outputs = [output.replace(name, value) for output in outputs]
    written = [path for path in paths["results"].rglob("*") if path.is_file()]
    names = {path.relative_to(paths["results"].parent).as_posix() for path in written}
    assert names == {*outputs, "results/ledger.json"}


def test_a_scored_task_that_is_not_held_out_is_named(
    paths: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    results.run(SETTINGS, paths)
    assert not caplog.messages
    shutil.rmtree(paths["results"])
    notes = {"heldout_tasks": ["Leases"]}
    write_json(paths["training"] / "train/manifest.json", MANIFEST | {"notes": notes})
    results.run(SETTINGS, paths)
    [said] = [line for line in caplog.messages if "decontaminated" in line]
    assert said == "not decontaminated against Contracts: not among the tasks of data.heldout"
    record = read_measurement(paths["results"], "tiny/finetuned-guide-seed42").records
    assert [run.get("not_held_out") for run in record.values()] == [["Contracts"]]
