"""Reading and writing files: JSON in one fixed form, digests, atomic replacement."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parents[1]


def sha256_file(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_json(content: Any) -> str:
    """Hex digest of a value's canonical JSON.

    >>> sha256_json({"b": 2, "a": 1}) == sha256_json({"a": 1, "b": 2})
    True
    """
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def code_digest(*packages: str) -> str:
    """Digest of the source files of some of this project's packages, `runtime` and `data` included.

    The packages a stage depends on in `dvc.yaml`: a cache keyed on it is invalidated exactly when
    DVC would re-run the stage.
    """
    names = sorted({*packages, "runtime", "data"})
    files = [path for name in names for path in sorted((PACKAGE / name).rglob("*.py"))]
    return sha256_json({path.relative_to(PACKAGE).as_posix(): sha256_file(path) for path in files})


def read_json(path: Path) -> Any:
    """The content of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_json(path: Path, content: Any) -> None:
    """Write JSON in one fixed form: two spaces, a final newline, no NaN."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def write_lines(path: Path, lines: Iterable[str]) -> Path:
    """Write lines of text, each ended by a newline, and return the path."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{line}\n" for line in lines)
    return path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A new directory that replaces `path` when the block ends; on failure `path` is untouched.

    A stage that is killed half-way keeps its earlier output.
    """
    partial = path.with_name(path.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    if path.exists():
        shutil.rmtree(path)
    partial.rename(path)
