"""Checks of a model directory without torch: which files it has, and whether they are complete."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from ettin_retrieval.runtime.errors import InputError

logger = logging.getLogger("ettin_retrieval")

CLASSIFIERS = ("ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering")
"""How the names of architectures end that were trained for something else than embeddings."""

LFS_POINTER = b"version https://git-lfs"
"""How a file begins that Git LFS has not fetched."""


def check_model_directory(directory: Path, where: str) -> None:
    """Check that a transformers or sentence-transformers directory has complete safetensors.

    Messages begin with `where`.

    Raises
    ------
    InputError
        The directory, its configuration, its pooling or its weights are missing or damaged.
    """
    if not directory.is_dir():
        problem = "this is a file" if directory.exists() else "no such directory"
        raise InputError(f"{where}: {problem}; set local.encoder to a model's directory")
    if (directory / "adapter_config.json").is_file():
        raise InputError(
            f"{where}: adapter_config.json in it: the weights of an adapter alone are not loaded; "
            "merge it into its base with merge_and_unload() and save the whole model"
        )
    configs = [path for n in ("config.json", "modules.json") if (path := directory / n).is_file()]
    if not configs:
        raise InputError(
            f"{where}: no config.json or modules.json in it; it must be a transformers or "
            "sentence-transformers directory"
        )
    for path in configs:
        _read_json(path, where)
    for module in _modules(directory, where):
        folder = directory / str(module.get("path", ""))
        if _is(module, "Pooling") and not (folder / "config.json").is_file():
            raise InputError(f"{where}: modules.json names a pooling, and {folder} is missing")
    weights = sorted(directory.rglob("*.safetensors"))
    if not weights:
        raise InputError(
            f"{where}: no .safetensors weights in it; convert them with the model's "
            "save_pretrained(safe_serialization=True), pickled weights are not loaded"
        )
    for path in weights:
        _check_safetensors(path, where)


def module_directories(directory: Path) -> list[Path]:
    """Where the files of each module of a checked directory are."""
    modules = _modules(directory, str(directory))
    return [directory / str(module.get("path", "")) for module in modules] or [directory]


def warn_of_a_classifier(directory: Path, where: str) -> None:
    """A cross-encoder can be pooled like any encoder, and scores nothing like one."""
    for folder in module_directories(directory):
        path = folder / "config.json"
        content = _read_json(path, where) if path.is_file() else {}
        named = content.get("architectures") if isinstance(content, dict) else None
        for architecture in named or []:
            if str(architecture).endswith(CLASSIFIERS):
                logger.warning(
                    "%s: its architecture is %s, a classifier: its head is not used, and its token "
                    "states were not trained to be pooled",
                    where,
                    architecture,
                )


def scores_by_dot_product(directory: Path, where: str) -> bool:
    """Whether a sentence-transformers directory wants dot products of unnormalised vectors."""
    path = directory / "config_sentence_transformers.json"
    if not path.is_file() or any(_is(m, "Normalize") for m in _modules(directory, where)):
        return False
    return bool(_read_json(path, where).get("similarity_fn_name") == "dot")


def _modules(directory: Path, where: str) -> list[dict[str, Any]]:
    path = directory / "modules.json"
    return _read_json(path, where) if path.is_file() else []


def _is(module: dict[str, Any], name: str) -> bool:
    return str(module.get("type", "")).endswith(f".{name}")


def _read_json(path: Path, where: str) -> Any:
    _check_fetched(path, where)
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise InputError(f"{where}: {path.name} is not valid JSON ({error})") from None


def _check_safetensors(path: Path, where: str) -> None:
    from safetensors import SafetensorError, safe_open

    _check_fetched(path, where)
    try:
        with safe_open(path, framework="numpy") as file:
            complete = bool(file.keys())
    except SafetensorError:
        complete = False
    if not complete:
        raise InputError(
            f"{where}: {path.name} is not a complete safetensors file "
            f"({path.stat().st_size:,} bytes); copy or download it again"
        )


def _check_fetched(path: Path, where: str) -> None:
    with path.open("rb") as file:
        if file.read(len(LFS_POINTER)) == LFS_POINTER:
            raise InputError(
                f"{where}: {path.name} is a pointer of Git LFS; fetch the file itself with "
                "`git lfs pull`"
            )
