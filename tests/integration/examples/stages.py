"""Run stages of dvc.yaml in the working directory, all in this process, to import torch once.

Usage: python stages.py NAME...
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from importlib import import_module
from pathlib import Path

from ruamel.yaml import YAML

from ettin_retrieval.runtime.determinism import pin_arithmetic
from ettin_retrieval.settings.load import load_settings

ROOT = Path(__file__).resolve().parents[3]
STAGES = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]


def run(name: str) -> None:
    """Call a stage's function with the paths of its command."""
    stage, _, checkpoint = name.partition("@")
    command = STAGES[stage]["cmd"].replace("${item.checkpoint}", checkpoint).split()
    module, options = command[2], command[3:]
    parser = ArgumentParser()
    for option in options[::2]:
        parser.add_argument(option, type=Path)
    paths = vars(parser.parse_args(options))
    import_module(f"{module}.__main__").run(load_settings("params.yaml"), paths)


if __name__ == "__main__":
    pin_arithmetic(load_settings("params.yaml").strict)
    for name in sys.argv[1:]:
        run(name)
