"""What `ettin-retrieval verify` finds before it compares a score: tampering and staleness."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from ruamel.yaml import YAML

from tests.workspace import ROOT, Workspace
from ettin_retrieval.cli import main
from ettin_retrieval.ledger import provenance
from ettin_retrieval.ledger.entry import Entry
from ettin_retrieval.ledger.integrity import lock_problems, mean_problems, problems
from ettin_retrieval.ledger.store import index_problem, read_ledger, write_entry, write_index
from ettin_retrieval.tasks import CQADUPSTACK_PARTS

PIPELINE = """
stages:
  results:
    deps: [metrics/base.json, models/base, metrics/finetuned.json, models/finetuned, src/a.py]
"""
LOCK = """
schema: '2.0'
stages:
  settings:
    outs: [{path: metrics/settings.json, md5: s}]
  benchmark_data:
    outs: [{path: data/benchmark, md5: b.dir}]
  training_data:
    outs: [{path: data/training, md5: t.dir}]
  base_encoder:
    outs: [{path: models/base, md5: m.dir}]
  finetuning:
    deps: [{path: data/training, md5: t.dir}, {path: models/base, md5: m.dir}]
    outs: [{path: models/finetuned, md5: f.dir}, {path: plots/loss.json, md5: l}]
  evaluate_base:
    deps: [{path: models/base, md5: m.dir}, {path: data/benchmark, md5: b.dir}]
    outs: [{path: metrics/base.json, md5: eb}]
  evaluate_finetuned:
    deps: [{path: models/finetuned, md5: f.dir}, {path: data/benchmark, md5: b.dir}]
    outs: [{path: metrics/finetuned.json, md5: ef}]
  results:
    params: {params.yaml: {model: tiny, recipe: paper, seed: 7}}
    outs: [{path: results/tiny/base-seed7.json, md5: r}]
"""
BEHIND_BASE = {"data/benchmark": "b.dir", "metrics/base.json": "eb", "models/base": "m.dir"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "dvc.yaml").write_text(PIPELINE)
    (tmp_path / "dvc.lock").write_text(LOCK)
    return tmp_path


def digest(outputs: dict[str, str]) -> str:
    """As anyone can compute it from a committed dvc.lock."""
    text = "{" + ",".join(f'"{k}":"{v}"' for k, v in sorted(outputs.items())) + "}"
    return hashlib.sha256(text.encode()).hexdigest()


def row(results: Path, checkpoint: str, outputs_sha256: str | None = None, seed: int = 7) -> None:
    queries = pd.DataFrame(
        {"task": "T", "query_id": ["a", "b"], "ndcg_at_10": [0.5, 1.0], "mrr_at_10": 0.5}
    )
    recipe = "paper" if checkpoint == "finetuned" else None
    scores = {"T.ndcg_at_10": 0.75, "T.mrr_at_10": 0.5, "T.recall_at_100": 0.1}
    made = {"outputs_sha256": outputs_sha256}
    entry = Entry("tiny", checkpoint, seed, recipe=recipe, scores=scores,
                  tasks={"T": {"split": "test"}}, provenance=made)  # fmt: skip
    write_entry(results, entry, queries)
    write_index(results)


def test_outputs_behind_a_checkpoint_are_those_of_the_stages_upstream(root: Path) -> None:
    assert provenance.outputs_behind("base", root) == BEHIND_BASE
    behind = provenance.outputs_behind("finetuned", root)
    assert behind == {
        "data/benchmark": "b.dir", "data/training": "t.dir", "metrics/finetuned.json": "ef",
        "models/base": "m.dir", "models/finetuned": "f.dir", "plots/loss.json": "l",
    }  # fmt: skip
    assert provenance.outputs_digest(behind) == digest(behind)
    assert provenance.outputs_behind("base", root / "nowhere") == {}


def test_every_output_behind_an_entry_re_runs_the_stage_that_writes_it() -> None:
    stages = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    behind = set(provenance.outputs_behind("base", ROOT))
    behind |= set(provenance.outputs_behind("finetuned", ROOT))
    assert len(behind) >= 12
    assert behind <= set(stages["results"]["deps"])


def test_the_entry_that_dvc_lock_made_has_its_digest(root: Path) -> None:
    results = root / "results"
    row(results, "base", digest(BEHIND_BASE))
    row(results, "finetuned", digest(provenance.outputs_behind("finetuned", root)))
    row(results, "base", "of another seed", seed=8)
    assert lock_problems(results, root) == []
    lock = root / "dvc.lock"
    lock.write_text(LOCK.replace("t.dir", "u.dir"))
    [told] = lock_problems(results, root)
    assert told.startswith(f"{results}/tiny/finetuned-paper-seed7.json: made from other data")
    lock.write_text(LOCK.replace("seed: 7", "seed: 9"))
    assert [told.partition(": ")[2][:7] for told in lock_problems(results, root)] == ["missing"] * 2
    lock.unlink()
    assert "no such file" in lock_problems(results, root)[0]


def test_a_changed_file_of_the_ledger_is_named(root: Path) -> None:
    results = root / "results"
    row(results, "base", digest(BEHIND_BASE))
    row(results, "finetuned", digest(provenance.outputs_behind("finetuned", root)))
    assert problems(results, root) == []
    path = results / "tiny/base-seed7.json"
    # Of this metric no per-query scores are kept: the index alone can tell.
    path.write_text(path.read_text().replace("0.1", "0.9"))
    [told] = problems(results, root)
    assert told.startswith(f"{path}: changed since the index was written")
    write_index(results)
    assert problems(results, root) == []
    path.write_text(path.read_text().replace("0.75", "0.76"))
    write_index(results)
    [told] = problems(results, root)
    assert "T.ndcg_at_10 is 0.760000, but the mean over its queries is 0.750000" in told
    (results / "tiny/base-seed7.queries.parquet").rename(results / "tiny/gone")
    assert "in the index, but not there" in str(index_problem(results))


def test_the_committed_ledger_verifies_and_a_changed_one_does_not(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(workspace.path)
    assert main(["verify"]) == 0, capsys.readouterr().out
    lock = workspace.path / "dvc.lock"
    honest = lock.read_text()
    [weights] = {out["md5"] for out in outs_of(honest, "base_encoder")}
    lock.write_text(honest.replace(weights, "0" * 32 + ".dir"))
    capsys.readouterr()
    assert main(["verify"]) == 1
    told = capsys.readouterr().out
    for name in ("base-seed42", "finetuned-guide-seed42"):
        assert f"results/tiny/{name}.json: made from other data or weights" in told
    assert "recorded scores reproduced" in told


def outs_of(lock: str, stage: str) -> list[dict[str, str]]:
    outs: list[dict[str, str]] = YAML(typ="safe").load(lock)["stages"][stage]["outs"]
    return outs


def test_cqadupstack_is_checked_as_the_mean_of_its_parts(tmp_path: Path) -> None:
    parts = sorted(CQADUPSTACK_PARTS)
    frame = pd.DataFrame({"task": parts, "query_id": "q", "ndcg_at_10": 0.25, "mrr_at_10": 0.25})
    frame = pd.concat([frame, frame[:1].assign(query_id="r", ndcg_at_10=0.75)])
    mean = (11 * 0.25 + 0.5) / 12  # over forums, not over queries
    for score, found in ((mean, 0), (frame["ndcg_at_10"].mean(), 1)):
        scores = {"CQADupstackRetrieval.ndcg_at_10": float(score), "X.mrr_at_10": 0.5}
        entry = Entry("1b", "base", 42, scores, {part: {"split": "test"} for part in parts})
        write_entry(tmp_path, entry, frame)
        told = mean_problems(tmp_path, read_ledger(tmp_path)[0])
        assert len(told) == found + 1
        assert "X.mrr_at_10: no query of it" in told[-1]


def test_changed_files_are_those_that_the_pipeline_does_not_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert provenance.changed_files() is None
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
    assert provenance.changed_files() == ["params.yaml", "src/a.py", "studies/dvc.yaml"]
    record = provenance.provenance({}, None, {"evaluation": {"precision": "bf16"}})
    assert record["dirty"] is True
    for name in ("src/a.py", "studies/dvc.yaml"):
        (tmp_path / name).write_text("1")
    # Settings are recorded value by value, so that a changed params.yaml hides nothing.
    record = provenance.provenance({}, None, {"evaluation": {"precision": "bf16"}})
    assert (record["dirty"], record["changed_files"]) == (False, ["params.yaml"])
    assert record["precision"] == "bf16"


def test_costs_are_those_of_this_run_s_own_outputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = {"model": "tiny", "recipe": "guide", "seed": 42}
    for output, made_for in (
        ("models/base", run),
        ("data/scores/base", run),
        ("data/negatives", run | {"recipe": "paper"}),
        ("data/training", run | {"model": "1b"}),
        ("tables", run),
    ):
        provenance.note_cost(Path(output), 1.25, made_for)
    upstream = ["models/base", "data/scores/base", "data/negatives", "data/training"]
    costs = provenance.costs_of(upstream, run)
    assert sorted(costs) == ["data/scores/base", "models/base"]
    assert costs["models/base"]["seconds"] == 1.2
    assert sorted(provenance.costs_of(upstream, {"model": "tiny", "seed": 42})) == [
        "data/negatives", "data/scores/base", "models/base",
    ]  # fmt: skip
    assert json.loads((tmp_path / "data/costs.json").read_text())["tables"]["model"] == "tiny"
