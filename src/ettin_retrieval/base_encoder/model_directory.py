"""Checks of an encoder's directory that need no torch: what is there, and whether it is whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ettin_retrieval.runtime.errors import InputError

LFS_POINTER = b"version https://git-lfs"
"""How a file begins that Git LFS has not fetched."""

POOLING = "Pooling"

NORMALIZE = "Normalize"


def check_model_directory(directory: Path, where: str) -> None:
    """See that a transformers or sentence-transformers directory has whole safetensors weights.

    Parameters
    ----------
    where
        What messages begin with.

    Raises
    ------
    InputError
        No such directory, no configuration or weights in it, a file that Git LFS has not
        fetched, that was cut short or is no JSON, or no directory of the pooling.
    """
    if not directory.is_dir():
        is_file = "this is a file" if directory.exists() else "no such directory"
        raise InputError(f"{where}: {is_file}; set local.encoder to a model's directory")
    described = [n for n in ("config.json", "modules.json") if (directory / n).is_file()]
    if not described:
        raise InputError(
            f"{where}: no config.json or modules.json in it; it must be a transformers or "
            "sentence-transformers directory"
        )
    for name in described:
        _json(directory / name, where)
    for module in _modules(directory, where):
        folder = directory / str(module.get("path", ""))
        if _is(module, POOLING) and not (folder / "config.json").is_file():
            raise InputError(f"{where}: modules.json names a pooling, and {folder} is missing")
    weights = sorted(directory.rglob("*.safetensors"))
    if not weights:
        raise InputError(
            f"{where}: no .safetensors weights in it; convert them with the model's "
            "save_pretrained(safe_serialization=True), pickled weights are not loaded"
        )
    for path in weights:
        _check_safetensors(path, where)


def transformer_directory(directory: Path) -> Path:
    """Where the transformers files of a checked directory are."""
    modules = _modules(directory, str(directory))
    return directory / str(modules[0].get("path", "")) if modules else directory


def scores_by_dot_product(directory: Path, where: str) -> bool:
    """Whether a sentence-transformers directory asks for dot products of unnormalised vectors."""
    path = directory / "config_sentence_transformers.json"
    if not path.is_file() or any(_is(m, NORMALIZE) for m in _modules(directory, where)):
        return False
    return bool(_json(path, where).get("similarity_fn_name") == "dot")


def _modules(directory: Path, where: str) -> list[dict[str, Any]]:
    path = directory / "modules.json"
    modules: list[dict[str, Any]] = _json(path, where) if path.is_file() else []
    return modules


def _is(module: dict[str, Any], name: str) -> bool:
    return str(module.get("type", "")).endswith(f".{name}")


def _json(path: Path, where: str) -> Any:
    content = path.read_bytes()
    if content.startswith(LFS_POINTER):
        raise InputError(f"{where}: {_not_fetched(path)}")
    try:
        return json.loads(content)
    except ValueError as error:
        raise InputError(f"{where}: {path.name} is not valid JSON ({error})") from None


def _check_safetensors(path: Path, where: str) -> None:
    """The file is as long as its header says: 8 bytes of length, a JSON header, the tensors."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        if LFS_POINTER.startswith(start) and size > 0:
            raise InputError(f"{where}: {_not_fetched(path)}")
        length = int.from_bytes(start, "little")
        header = file.read(length) if len(start) == 8 and length <= size - 8 else b""
    try:
        tensors = json.loads(header)
        ends = [t["data_offsets"][1] for name, t in tensors.items() if name != "__metadata__"]
        whole = bool(ends) and 8 + length + max(ends) == size
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        whole = False
    if not whole:
        raise InputError(
            f"{where}: {path.name} is no whole safetensors file ({size:,} bytes); copy or "
            "download it again"
        )


def _not_fetched(path: Path) -> str:
    return f"{path.name} is a pointer of Git LFS; fetch the file itself with `git lfs pull`"
