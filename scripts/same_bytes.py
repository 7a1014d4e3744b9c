"""Compare the outputs of two checkouts: the proof that a change moved no number.

    python scripts/same_bytes.py OLD NEW --renames docs/renames.yaml

Weights, Parquet files and pictures must have the same bytes. Text files (JSON, CSV, Markdown,
LaTeX) must be equal after the listed renames. A ledger of an earlier schema is migrated first.
Prints one line per difference and a summary; exits 1 if there is a difference.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from ettin_retrieval.ledger.migrate import migrate

OUTPUTS = ("data/benchmark", "data/heldout", "data/training", "data/negatives", "data/scores",
           "models/base", "models/finetuned", "metrics", "plots", "results", "tables")  # fmt: skip

TEXT = {".json", ".csv", ".md", ".tex"}


def main() -> int:
    """Compare, and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--renames", type=Path, help="YAML: files, keys, values, text, ignored")
    given = parser.parse_args()
    renames: dict[str, Any] = {"files": {}, "keys": {}, "values": {}, "text": {}, "ignored": {}}
    if given.renames:
        renames |= YAML(typ="safe").load(given.renames.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as scratch:
        old = {renames["files"].get(n, n): p for n, p in files(given.old, Path(scratch)).items()}
        new = files(given.new, Path(scratch) / "new")
        differences = [
            *(f"{name}: only in {given.old}" for name in sorted(old.keys() - new.keys())),
            *(f"{name}: only in {given.new}" for name in sorted(new.keys() - old.keys())),
        ]
        identical = renamed = 0
        for name in sorted(old.keys() & new.keys()):
            if old[name].read_bytes() == new[name].read_bytes():
                identical += 1
            elif name.endswith(tuple(TEXT)) and same_text(old[name], new[name], name, renames):
                renamed += 1
            else:
                differences.append(f"{name}: differs")
    for line in differences:
        print(line)
    print(f"{identical} files with the same bytes, {renamed} equal after renames, "
          f"{len(differences)} differences")  # fmt: skip
    return 1 if differences else 0


def files(root: Path, scratch: Path) -> dict[str, Path]:
    """Path below the root to file, of all outputs; the ledger in the present schema."""
    shutil.copytree(root / "results", scratch / "results", ignore=lambda d, _: ["studies"])
    migrate(scratch / "results")
    found: dict[str, Path] = {}
    for output in OUTPUTS:
        base = scratch if output == "results" else root
        paths = [path for path in sorted((base / output).rglob("*")) if path.is_file()]
        found |= {path.relative_to(base).as_posix(): path for path in paths}
    return found


def same_text(old: Path, new: Path, name: str, renames: dict[str, Any]) -> bool:
    """Whether two text files are equal after the renames."""
    if name.endswith(".json"):
        before, after = (json.loads(path.read_text(encoding="utf-8")) for path in (old, new))
        ignored: list[str] = renames["ignored"].get(name, [])
        return bool(normal(before, renames, ignored) == normal(after, renames, ignored))
    text = old.read_text(encoding="utf-8")
    for a, b in {**renames["text"], **renames["values"]}.items():
        text = text.replace(a, b)
    return text == new.read_text(encoding="utf-8")


def normal(content: Any, renames: dict[str, Any], ignored: list[str]) -> Any:
    """JSON with the new names, without ignored keys."""
    if isinstance(content, dict):
        pairs = {renames["keys"].get(key, key): value for key, value in content.items()}
        return {k: normal(v, renames, ignored) for k, v in pairs.items() if k not in ignored}
    if isinstance(content, list):
        return [normal(value, renames, ignored) for value in content]
    if isinstance(content, str):
        for a, b in renames["text"].items():
            content = content.replace(a, b)
        return renames["values"].get(content, content)
    return content


if __name__ == "__main__":
    sys.exit(main())
