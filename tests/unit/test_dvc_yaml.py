"""Both dvc.yaml and the code agree: a stage depends on every module that decides its outputs."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path
from typing import Any

import grimp
import pytest
from ruamel.yaml import YAML

from ettin_retrieval.settings.rates import SWEEPS
from tests.workspace import ROOT, Workspace


def load(path: str) -> Any:
    return YAML(typ="safe").load((ROOT / path).read_text(encoding="utf-8"))


STAGES = load("dvc.yaml")["stages"]
STUDIES = load("studies/dvc.yaml")["stages"]
ALL = STAGES | {f"studies/{name}": stage for name, stage in STUDIES.items()}
"""Stages of the pipeline, and of the project in studies/."""

DECIDE_NO_BYTE = {
    "settings": "DVC tracks the values that a stage reads",
    "pipeline": "parses paths, logs, notes costs in a file that is not an output",
    "preflight": "checks the machine, the user's directories and the hub",
    "cli": "runs no stage",
}
"""Modules of the package that change no output, though stages import them, and why."""


@cache
def imports() -> grimp.ImportGraph:
    """Which module imports which, without the imports of the modules that decide no byte."""
    graph = grimp.build_graph("ettin_retrieval", exclude_type_checking_imports=True, cache_dir=None)
    for module in sorted(graph.modules):
        if module.split(".")[1:2] and module.split(".")[1] in DECIDE_NO_BYTE:
            for imported in graph.find_modules_directly_imported_by(module):
                graph.remove_import(importer=module, imported=imported)
    return graph


def source(module: str) -> Path:
    """Path of a module's file, from the root of the repository."""
    path = Path("src", *module.split("."))
    return path / "__init__.py" if (ROOT / path).is_dir() else path.with_suffix(".py")


def dependencies(stage: str) -> list[Path]:
    """Paths from the root of the repository."""
    directory = Path(stage).parent
    return [Path(os.path.normpath(directory / str(dep))) for dep in ALL[stage]["deps"]]


@pytest.mark.parametrize("stage", ALL)
def test_a_stage_depends_on_every_module_that_decides_its_output(stage: str) -> None:
    graph = imports()
    module = ALL[stage]["cmd"].split("-m ")[1].split()[0]
    module = f"{module}.__main__" if f"{module}.__main__" in graph.modules else module
    tracked = dependencies(stage)
    untracked = [
        graph.find_shortest_chain(module, used) or (module,)
        for used in sorted(graph.find_upstream_modules(module) | {module})
        if used.split(".")[1] not in DECIDE_NO_BYTE
        and not any(path in tracked for path in (source(used), *source(used).parents))
    ]
    chains = [" -> ".join(chain) for chain in untracked]
    assert not chains, f"{stage} depends on the first and not on the last module of {chains}"


@pytest.mark.parametrize("stage", ALL)
def test_the_user_s_paths_never_go_through_the_shell(stage: str) -> None:
    """A path may have any character: DVC hands commands to a shell, so they read the settings."""
    assert "local." not in ALL[stage]["cmd"]


def test_every_source_dependency_exists() -> None:
    for stage in ALL:
        for dep in dependencies(stage):
            if dep.parts[0] == "src":
                assert (ROOT / dep).exists(), f"{stage} depends on {dep}, which does not exist"


def test_stages_read_the_recipe_where_a_recipe_decides() -> None:
    reading = {name for name, stage in STAGES.items() if "${recipe}" in str(stage.get("params"))}
    assert reading == {"training_data", "negatives", "finetuning"}


REPORTING = [name for name in STUDIES if name != "scientific_data"]
TRAINING = [name for name in REPORTING if name not in {"tiny_world", "lengths"}]


def test_the_studies_use_the_pipeline_s_model_and_recipe() -> None:
    assert load("studies/dvc.yaml")["vars"] == ["../params.yaml"]
    assert set(REPORTING) == {*TRAINING, "lengths", "tiny_world"}
    assert set(TRAINING) == {
        "ablations", "contamination", "cross_domain", "few_shot", "multi_stage",
    }  # fmt: skip


@pytest.mark.parametrize("study", STUDIES)
def test_a_study_depends_on_every_path_that_its_command_reads(study: str) -> None:
    options = re.findall(r"--\S+ (\S+)", STUDIES[study]["cmd"])
    written = {Path("studies", path) for out in STUDIES[study]["outs"] for path in out}
    read = {*map(Path, options)} - written
    depends = {*dependencies(f"studies/{study}")}
    assert not [path for path in read if not any(d.is_relative_to(path) for d in depends)]


@pytest.mark.parametrize("study", [*TRAINING, "tiny_world"])
def test_a_study_depends_on_the_sweeps_that_tune_its_rates(study: str) -> None:
    assert SWEEPS in dependencies(f"studies/{study}")


@pytest.mark.parametrize("study", REPORTING)
def test_what_a_study_reports_is_kept_in_git(study: str) -> None:
    outs = {path: options for out in STUDIES[study]["outs"] for path, options in out.items()}
    assert f"{study}/tables" in outs
    assert all(options["cache"] is False for options in outs.values())
    assert Path("src/ettin_retrieval/reports/templates") in dependencies(f"studies/{study}")


@pytest.mark.parametrize(
    ("study", "stages"),
    [
        ("scientific_data", ["training_data", "negatives"]),
        *((study, ["finetuning", "evaluate"]) for study in TRAINING),
        ("lengths", ["evaluate"]),
        ("tiny_world", ["training_data", "negatives", "finetuning", "evaluate"]),
    ],
)
def test_a_study_reads_the_settings_of_the_stages_it_repeats(study: str, stages: list[str]) -> None:
    """Of params.yaml. A study is of all seeds, or takes those of its own settings."""
    own = {
        key
        for entry in STUDIES[study]["params"]
        if isinstance(entry, dict)
        for key in entry.get("../params.yaml", [])
    }
    needed = {key for stage in stages for key in STAGES[stage]["params"] if isinstance(key, str)}
    needed -= {"data.train", "data.msmarco_config"}  # of the pipeline's own source
    if study == "tiny_world":
        needed -= {"seed"}
    missing = {key for key in needed if not own & {key, key.partition(".")[0]}}
    assert not missing


def test_dvc_yaml_fits_on_two_screens() -> None:
    assert len((ROOT / "dvc.yaml").read_text(encoding="utf-8").splitlines()) <= 120


def test_packages_import_only_what_lies_below_them() -> None:
    # In a subprocess: import-linter disables the loggers of other packages.
    done = Workspace(ROOT).run("lint-imports", "--no-cache")
    assert done.returncode == 0, done.stdout
