"""Settings from params.yaml and the two files beside it, encoders.yaml and recipes.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.reader import ReaderError

from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.settings.messages import one_line
from ettin_retrieval.settings.schema import ENCODER_PREFIX, RecipeName, Settings

RENAMED = {
    "data.remove_overlap": "data.decontaminate",
    "negatives.draw": "negatives.sampling_strategy",
    "negatives.per_query": "negatives.num_negatives",
    "negatives.skip_first": "negatives.range_min",
    "negatives.top_k": "negatives.range_max",
    "evaluation.batch_size": "encoding.batch_size",
    "evaluation.keep_embeddings": "evaluation.cache_embeddings",
    "encoders": "the file encoders.yaml",
    "recipes": "the file recipes.yaml",
    "studies": "the file studies/params.yaml",
}
"""Keys of earlier versions and where they are now."""

RECIPES = get_args(RecipeName)

ENTRY = ("track", "base", "lr")
"""Keys of an entry of encoders.yaml; `base` names a family or is a mapping like one."""


def load_settings(
    path: str | Path = "params.yaml", changes: Mapping[str, Any] | None = None
) -> Settings:
    """Read and validate the settings.

    Parameters
    ----------
    path
        A params.yaml; encoders.yaml and recipes.yaml lie beside it.
    changes
        Top-level keys that replace those of the file, such as `model`.

    Raises
    ------
    InputError
        One line that names the file, the key and the allowed values.
    """
    path = Path(path)
    content = read_yaml(path)
    for key, now in RENAMED.items():
        if _has(content, key):
            raise InputError(f"{path}: {key}: renamed; it is now {now}")
    files = {name: path.with_name(f"{name}.yaml") for name in ("encoders", "recipes")}
    content |= changes or {}
    content["recipes"] = read_yaml(files["recipes"])
    content["encoders"], bases = _encoders(files["encoders"])
    try:
        return Settings.model_validate(content)
    except ValidationError as error:
        raise InputError(one_line(error, {"": path, **files}, bases)) from None


def read_yaml(path: Path) -> dict[str, Any]:
    """A mapping in YAML 1.2, as DVC reads it: 2e-5 is a number, `yes` is a text.

    Raises
    ------
    InputError
        The file is missing, not valid YAML, or not a mapping with text keys.
    """
    text = ""
    try:
        text = path.read_bytes().decode("utf-8")
        content = YAML(typ="safe").load(text)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run from the root of the repository") from None
    except IsADirectoryError:
        raise InputError(f"{path}: a directory; it must be a file of settings") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise InputError(f"{path}:{line}: not UTF-8; save the file as UTF-8") from None
    except MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise InputError(f"{where}: not valid YAML: {error.problem}") from None
    except ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise InputError(f"{path}:{line}: not valid YAML: {error.reason}") from None
    except RecursionError:
        raise InputError(f"{path}: not valid settings: nested too deeply") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: must be a mapping of settings")
    _check_keys(content, f"{path}: ")
    return content


def _check_keys(content: dict[Any, Any], where: str) -> None:
    for key, value in content.items():
        if not isinstance(key, str):
            raise InputError(f"{where}{key}: a key must be text; write '{key}' in quotes")
        if isinstance(value, dict):
            _check_keys(value, f"{where}{key}.")


def _has(content: Any, key: str) -> bool:
    first, _, rest = key.partition(".")
    if not isinstance(content, dict) or first not in content:
        return False
    return _has(content[first], rest) if rest else True


def _encoders(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Entries of encoders.yaml as `schema.Encoder` wants them, and the key of each one's base."""
    content = read_yaml(path)
    families = {k: v for k, v in content.items() if not k.startswith(ENCODER_PREFIX)}
    encoders, bases = {}, {}
    for name in [key for key in content if key not in families]:
        encoders[name] = _merged(name, content[name], families, f"{path}: {name}")
        base = content[name]["base"]
        bases[name] = base if isinstance(base, str) else f"{name}.base"
    for name in sorted(families.keys() - bases.values()):
        raise InputError(
            f"{path}: {name}: no encoder has it as its base; write {ENCODER_PREFIX}{name} for an "
            f"encoder that model: {name} selects"
        )
    return encoders, bases


def _merged(name: str, entry: Any, families: dict[str, Any], where: str) -> dict[str, Any]:
    _check_entry(entry, where)
    base = entry["base"]
    if isinstance(base, str) and base not in families:
        raise InputError(f"{where}.base: no family {base!r}; there are {', '.join(families)}")
    base = families[base] if isinstance(base, str) else base
    if not isinstance(base, dict):
        raise InputError(f"{where}.base: must name a family or be a mapping with a source")
    merged = {"shape": None, **base, "track": entry["track"]}
    if isinstance(base.get("source"), str):
        merged["source"] = base["source"].replace("{size}", name.removeprefix(ENCODER_PREFIX))
    rates = entry["lr"]
    for recipe in RECIPES:
        if isinstance(base.get(recipe), dict):
            merged[recipe] = base[recipe] | {"learning_rate": rates[recipe]}
    return merged


def _check_entry(entry: Any, where: str) -> None:
    if not isinstance(entry, dict):
        raise InputError(f"{where}: must be a mapping with {', '.join(ENTRY)}")
    for key in entry:
        if key not in ENTRY:
            raise InputError(f"{where}.{key}: unknown key; allowed: {', '.join(ENTRY)}")
    for key in ENTRY:
        if key not in entry:
            raise InputError(f"{where}.{key}: missing; write a value for it")
    rates = entry["lr"]
    if not isinstance(rates, dict) or sorted(rates) != sorted(RECIPES):
        raise InputError(f"{where}.lr: write one learning rate each for {' and '.join(RECIPES)}")
