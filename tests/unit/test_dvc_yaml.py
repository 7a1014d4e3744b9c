"""dvc.yaml and the code agree: a stage depends on every module that decides its outputs."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import grimp
import pytest
from ruamel.yaml import YAML

from tests.workspace import ROOT, Workspace

STAGES = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]

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


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_every_module_that_decides_its_output(stage: str) -> None:
    graph = imports()
    module = STAGES[stage]["cmd"].split("-m ")[1].split()[0]
    module = f"{module}.__main__" if f"{module}.__main__" in graph.modules else module
    tracked = [Path(dep) for dep in STAGES[stage]["deps"]]
    untracked = [
        graph.find_shortest_chain(module, used) or (module,)
        for used in sorted(graph.find_upstream_modules(module) | {module})
        if used.split(".")[1] not in DECIDE_NO_BYTE
        and not any(path in tracked for path in (source(used), *source(used).parents))
    ]
    chains = [" -> ".join(chain) for chain in untracked]
    assert not chains, f"{stage} depends on the first and not on the last module of {chains}"


def test_every_source_dependency_exists() -> None:
    for name, stage in STAGES.items():
        for dep in map(str, stage["deps"]):
            if dep.startswith("src/"):
                assert (ROOT / dep).exists(), f"{name} depends on {dep}, which does not exist"


def test_stages_read_the_recipe_where_a_recipe_decides() -> None:
    reading = {name for name, stage in STAGES.items() if "${recipe}" in str(stage.get("params"))}
    assert reading == {"training_data", "negatives", "finetuning"}


def test_dvc_yaml_fits_on_two_screens() -> None:
    assert len((ROOT / "dvc.yaml").read_text(encoding="utf-8").splitlines()) <= 120


def test_packages_import_only_what_lies_below_them() -> None:
    # In a subprocess: import-linter disables the loggers of other packages.
    done = Workspace(ROOT).run("lint-imports", "--no-cache")
    assert done.returncode == 0, done.stdout
