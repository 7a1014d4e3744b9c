"""dvc.yaml: what a change re-runs, and that a mistake is told in one line before any work."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path

import pandas as pd
import pytest
from ruamel.yaml import YAML

from tests.workspace import ROOT, Workspace
from ettin_retrieval.ledger import results
from ettin_retrieval.runtime.files import write_json
from ettin_retrieval.settings.load import load_settings

STAGES = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]


EVALUATIONS = {"evaluate_base", "evaluate_finetuned"}


def stages_of_changed_params(workspace: Workspace) -> set[str]:
    """Stages of dvc.yaml, not of the studies, that DVC finds changed because of a parameter."""
    done = workspace.run("dvc", "status", "--json", "dvc.yaml")
    assert done.returncode == 0, done.stderr
    return {
        stage
        for stage, changes in json.loads(done.stdout).items()
        for change in changes
        if isinstance(change, dict)
        and "params.yaml" in change.get("changed deps", {})
        # The stage `settings` depends on the whole file: it says "modified", not which keys.
        and change["changed deps"]["params.yaml"] != "modified"
    }


@pytest.mark.parametrize(
    ("before", "after", "stages"),
    [
        ("  learning_rate: auto", "  learning_rate: 0.002", {"finetuning"}),
        ("  temperature: 0.05", "  temperature: 0.1", {"finetuning"}),
        ("checkpoint: finetuned", "checkpoint: base", {"scores"}),
        ("  top_k: 100", "  top_k: 50", {"negatives"}),
        ("  batch_size: 32", "  batch_size: 16", {"negatives", "finetuning", *EVALUATIONS}),
        ("keep_embeddings: false", "keep_embeddings: true", set()),
        # Distillation takes passages that the teacher has scored.
        ("  objective: contrastive", "  objective: margin_mse", {"negatives", "finetuning"}),
        # Another size's settings concern no stage of this one.
        ("max_passage_length: 512", "max_passage_length: 256", set()),
        ("max_corpus_size: null", "max_corpus_size: 1000", {"benchmark_data"}),
        ("msmarco_config: v1.1", "msmarco_config: v2.1", {"training_data"}),
    ],
)
def test_a_setting_re_runs_the_stages_that_read_it(
    workspace: Workspace, before: str, after: str, stages: set[str]
) -> None:
    workspace.set_params(lambda text: text.replace(before, after))
    assert stages_of_changed_params(workspace) == stages


def test_an_entry_says_the_settings_that_its_scores_were_made_with(tmp_path: Path) -> None:
    """Those of params.yaml now: `dvc repro results` makes no file of settings anew."""
    manifest = {
        "split": "test", "source": "s", "revision": "1", "notes": {},
        "counts": {"corpus": 3, "queries_with_positive": 1},
    }  # fmt: skip
    write_json(tmp_path / "benchmark/Leases/manifest.json", manifest)
    write_json(tmp_path / "training/train/manifest.json", manifest)
    scored = pd.DataFrame({"query_id": ["q"], "ndcg_at_10": [0.5], "mrr_at_10": [0.5]})
    for checkpoint in ("base", "finetuned"):
        write_json(tmp_path / f"metrics/{checkpoint}.json", {"Leases.ndcg_at_10": 0.5})
        write_json(tmp_path / f"models/{checkpoint}/checkpoint.json", {"identity": checkpoint})
        (tmp_path / "scores" / checkpoint).mkdir(parents=True)
        scored.to_parquet(tmp_path / "scores" / checkpoint / "Leases.queries.parquet")
    settings = load_settings(ROOT / "params.yaml")
    changed = settings.with_changes({"finetuning.learning_rate": 0.5})
    names = ("metrics", "scores", "models", "benchmark", "training", "results")
    results.body(changed, {name: tmp_path / name for name in names})
    entry = json.loads((tmp_path / "results/tiny/finetuned-guide-seed42.json").read_text())
    assert entry["provenance"]["settings"]["finetuning"]["learning_rate"] == 0.5
    assert entry["provenance"]["training_data"] == manifest


def test_every_module_of_a_stage_is_there() -> None:
    for name, stage in STAGES.items():
        for dep in stage["deps"]:
            if str(dep).startswith("src/"):
                assert (ROOT / dep).exists(), f"{name} depends on {dep}, which does not exist"


DECIDE_NOTHING = {
    "__init__.py": "empty but for the docstring",
    "errors.py": "what messages look like",
    "params.py": "what its code reads is in params.yaml, whose keys each stage tracks one by one",
    "stages/__init__.py": "parses paths, checks and logs",
    "sources/__init__.py": "empty",
    "evaluation/__init__.py": "empty",
}
"""Modules that decide no output's content, whoever imports them, and why."""

CHECKS = {"encoding.py", "hub.py", "model_directory.py"} | {
    f"sources/{source}.py" for source in ("beir", "msmarco", "triplets")
}
"""What stage settings asks of the machine, the hub and the user's directories."""
MADE_ELSEWHERE = {"hub.py", "model_directory.py", "tokenizer.py"}
"""What makes an encoder; a stage that only loads one uses none of it."""
COSTS = {"provenance.py"}
"""Every stage notes what it cost, in data/costs.json, which is no output."""
NO_ARITHMETIC = COSTS | {"determinism.py"}
"""Stages whose numbers do not depend on threads and instruction set."""
NOT_USED = {
    "settings": NO_ARITHMETIC | CHECKS,
    "training_data": NO_ARITHMETIC,
    "benchmark_data": NO_ARITHMETIC,
    "base_encoder": COSTS,
    "negatives": COSTS | MADE_ELSEWHERE,
    # Reads what the stage negatives wrote.
    "finetuning": COSTS | MADE_ELSEWHERE | {"negatives.py", "mining_report.py", "passage_index.py"},
    # Of results.py (and so merging.py) the names of the averages, which other tests hold fast.
    "evaluate_base": COSTS | MADE_ELSEWHERE | {"merging.py", "results.py"},
    "evaluate_finetuned": COSTS | MADE_ELSEWHERE | {"merging.py", "results.py"},
    "scores": NO_ARITHMETIC,
    # Of stages/settings.py the settings in force alone.
    "results": {"determinism.py", "preflight.py"} | CHECKS,
    # Reads the ledger; entries are merged where they are written.
    "tables": NO_ARITHMETIC | {"merging.py"},
}
"""Stage to the modules that it imports, and of which it uses nothing that decides its outputs."""


def modules_of(path: Path, seen: set[Path]) -> set[Path]:
    """A module and all of the package that it imports, now or later."""
    if path in seen:
        return seen
    seen.add(path)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("ettin_retrieval"):
            for name in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names)):
                place = ROOT / "src" / str(name).replace(".", "/")
                for imported in (place.with_suffix(".py"), place / "__init__.py"):
                    if imported.is_file():
                        modules_of(imported, seen)
    return seen


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_every_module_that_decides_its_output(name: str) -> None:
    stage = STAGES[name]
    tracked = [ROOT / dep for dep in map(str, stage["deps"]) if dep.startswith("src/")]
    module = stage["cmd"].split("-m ")[1].split()[0]
    used = modules_of(ROOT / "src" / (module.replace(".", "/") + ".py"), set())
    untold = {
        path.relative_to(ROOT / "src/ettin_retrieval").as_posix()
        for path in used
        if not any(path == dep or dep in path.parents for dep in tracked)
    }
    assert untold - set(DECIDE_NOTHING) <= NOT_USED[name]
    assert NOT_USED[name] <= {p.relative_to(ROOT / "src/ettin_retrieval").as_posix() for p in used}


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("model: tiny", "model: 2b", "unknown model '2b'"),
        ("temperature: 0.05", "temperatur: 0.05", "did you mean temperature?"),
        ("sampling: hard", "sampling: harder", "it must be random, hard or semi_hard"),
    ],
)
def test_a_typo_stops_dvc_repro_and_leaves_outputs_intact(
    workspace: Workspace, before: str, after: str, told: str
) -> None:
    metrics = workspace.path / "metrics" / "mteb.json"
    scores = metrics.read_bytes()
    workspace.set_params(lambda text: text.replace(before, after, 1))
    done = workspace.run("dvc", "repro")
    assert done.returncode != 0
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and told in errors[0], done.stderr
    assert "Traceback" not in done.stderr
    assert metrics.read_bytes() == scores


def test_a_directory_without_safetensors_is_refused(workspace: Workspace) -> None:
    workspace.set_params(lambda text: text.replace("model: tiny", "model: local"))
    encoder = workspace.path / "pickled"
    encoder.mkdir()
    (encoder / "config.json").write_text("{}")
    (encoder / "pytorch_model.bin").write_bytes(b"pickle")
    done = workspace.stage("base_encoder", "--local", "pickled", "--encoder", "models/base")
    assert done.returncode == 1
    assert done.stderr.strip().count("\n") == 0, done.stderr
    assert "no .safetensors weights in it" in done.stderr
    assert not (workspace.path / "models/base").exists()


def test_fp16_on_a_cpu_is_refused(workspace: Workspace) -> None:
    from ettin_retrieval.encoders.precision import check_precision
    from ettin_retrieval.runtime.errors import InputError

    with pytest.raises(InputError, match="fp16 needs a GPU"):
        check_precision("fp16", "cpu", "finetuning.precision")


def test_a_failing_stage_leaves_its_last_output(tmp_path: Path) -> None:
    from ettin_retrieval.runtime.files import replacing

    target = tmp_path / "out"
    with replacing(target) as directory:
        (directory / "a").write_text("first")
    with pytest.raises(KeyboardInterrupt), replacing(target) as directory:
        (directory / "a").write_text("half")
        raise KeyboardInterrupt
    assert (target / "a").read_text() == "first"
    assert not (tmp_path / "out.partial").exists()


def test_importing_a_stage_does_not_import_torch(workspace: Workspace) -> None:
    """Arithmetic is pinned before torch is loaded, and a typo is told within a second."""
    modules = " ".join(
        f"import ettin_retrieval.stages.{name};"
        for name in ("finetuning", "evaluation", "negatives", "base_encoder", "results")
    )
    done = workspace.run(
        sys.executable, "-c", f"import sys; {modules} sys.exit('torch' in sys.modules)"
    )
    assert done.returncode == 0, done.stderr
