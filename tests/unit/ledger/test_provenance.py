"""What a run records, and which outputs are behind a checkpoint's scores."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from ettin_retrieval.ledger import provenance
from ettin_retrieval.ledger.provenance import (
    changed_files,
    outputs_behind,
    outputs_digest,
    run_record,
    run_reference,
)
from tests.unit.ledger.pipeline import BEHIND_BASE, write_pipeline
from tests.workspace import ROOT


def test_outputs_behind_a_checkpoint_are_those_of_the_stages_upstream(tmp_path: Path) -> None:
    write_pipeline(tmp_path)
    assert outputs_behind("base", tmp_path) == BEHIND_BASE
    behind = outputs_behind("finetuned", tmp_path)
    assert behind == {
        "data/benchmark": "b.dir", "data/training": "t.dir", "metrics/finetuned.json": "ef",
        "models/base": "m.dir", "models/finetuned": "f.dir", "plots/loss.json": "l",
    }  # fmt: skip
    assert outputs_behind("base", tmp_path / "nowhere") == {}
    assert outputs_digest({}) is None
    # As anyone can compute it from a committed dvc.lock.
    text = "{" + ",".join(f'"{path}":"{md5}"' for path, md5 in sorted(behind.items())) + "}"
    assert outputs_digest(behind) == hashlib.sha256(text.encode()).hexdigest()


def test_every_output_behind_an_entry_re_runs_the_stage_that_writes_it() -> None:
    stages = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    behind = {*outputs_behind("base", ROOT), *outputs_behind("finetuned", ROOT)}
    assert len(behind) >= 12
    assert behind <= set(stages["results"]["deps"])


def test_a_reference_depends_on_everything_but_the_costs() -> None:
    record = {"commit": "a", "settings": {"seed": 42}}
    reference = run_reference("guide", 42, record)
    assert reference.startswith("run-guide-seed42#")
    assert run_reference("guide", 42, record | {"costs": {"models/base": 1}}) == reference
    assert run_reference("guide", 42, record | {"commit": "b"}) != reference


def test_changed_files_are_those_that_the_pipeline_does_not_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert changed_files() is None
    assert run_record({})["dirty"] is None
    names = ["params.yaml", "src/a.py", "dvc.lock", "metrics/base.json", "results/tiny/x.json",
             "studies/few_shot/tables/t.md", "studies/dvc.yaml"]  # fmt: skip
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("1")
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.org"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "start"]):
        subprocess.run([*git, *command], check=True)
    for name in names:
        (tmp_path / name).write_text("2")
    (tmp_path / "new").write_text("untracked")
    assert changed_files() == ["params.yaml", "src/a.py", "studies/dvc.yaml"]
    assert run_record({})["dirty"] is True
    for name in ("src/a.py", "studies/dvc.yaml"):
        (tmp_path / name).write_text("1")
    # Settings are recorded value by value, so a changed params.yaml hides nothing.
    record = run_record({"model": "tiny"}, {"source": "tiny"}, {"models/base": {"seconds": 1.0}})
    assert (record["dirty"], record["changed_files"]) == (False, ["params.yaml"])
    assert len(record["commit"]) == 40
    assert record["settings"] == {"model": "tiny"}
    assert record["training_data"] == {"source": "tiny"}
    assert record["costs"] == {"models/base": {"seconds": 1.0}}
    assert set(provenance.VERSIONS) < set(record["versions"])
    assert record["hardware"]["cores"] >= 1
