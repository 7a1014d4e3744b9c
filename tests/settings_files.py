"""Copies of the settings files with some keys changed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.workspace import ROOT

FILES = ("params.yaml", "encoders.yaml", "recipes.yaml")


def write_settings(directory: Path, changes: Mapping[str, Any]) -> Path:
    """Write the three settings files into a directory and return the path of params.yaml.

    Parameters
    ----------
    changes
        Keys as `dvc exp run -S` takes them: `seed`, `encoders.yaml:ettin_1b.lr.paper`.
    """
    yaml = YAML(typ="safe")
    yaml.default_flow_style = False
    contents = {name: yaml.load((ROOT / name).read_text(encoding="utf-8")) for name in FILES}
    for key, value in changes.items():
        file, _, dotted = key.rpartition(":")
        *parents, last = dotted.split(".")
        section = contents[file or "params.yaml"]
        for parent in parents:
            section = section[parent]
        section[last] = value
    for name, content in contents.items():
        with (directory / name).open("w", encoding="utf-8") as target:
            yaml.dump(content, target)
    return directory / "params.yaml"
