"""A stage's command starts fast."""

from __future__ import annotations

import sys

from ruamel.yaml import YAML

from tests.workspace import ROOT, Workspace

STAGES = [
    stage
    for path in ("dvc.yaml", "studies/dvc.yaml")
    for stage in YAML(typ="safe").load((ROOT / path).read_text(encoding="utf-8"))["stages"].values()
]


def test_importing_a_stage_does_not_import_torch() -> None:
    """Arithmetic is pinned before torch is loaded, and a typo is reported within a second."""
    modules = {stage["cmd"].split("-m ")[1].split()[0] for stage in STAGES}
    code = f"""
import importlib, sys
for name in {sorted(modules)}:
    if hasattr(importlib.import_module(name), "__path__"):
        importlib.import_module(name + ".__main__")
sys.exit("torch" in sys.modules)
"""
    done = Workspace(ROOT).run(sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr
