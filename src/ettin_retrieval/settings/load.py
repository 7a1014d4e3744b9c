"""Settings from params.yaml and the two files beside it, encoders.yaml and recipes.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.reader import ReaderError

from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.settings.messages import one_line
from ettin_retrieval.settings.schema import ENCODER_PREFIX, Recipes, Settings
from ettin_retrieval.settings.sections import Entry, Family

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

Model = TypeVar("Model", bound=BaseModel)


def load_settings(
    path: str | Path = "params.yaml", changes: Mapping[str, Any] | None = None
) -> Settings:
    """Read and validate a params.yaml, with the encoders.yaml and recipes.yaml beside it.

    `changes` replace top-level keys of the file, such as `model`.

    Raises
    ------
    InputError
        One line that names the file, the key and the allowed values.
    """
    path = Path(path)
    content = read_yaml(path)
    for key, now in RENAMED.items():
        name, _, last = key.rpartition(".")
        section = content.get(name) if name else content
        if isinstance(section, dict) and last in section:
            raise InputError(f"{path}: {key}: renamed; it is now {now}")
    content |= changes or {}
    recipes = path.with_name("recipes.yaml")
    content["recipes"] = read_as(Recipes, recipes).model_dump()
    content["encoders"] = _encoders(path.with_name("encoders.yaml"))
    return validated(Settings, content, path)


def validated(model: type[Model], content: Any, file: Path | str, key: str = "") -> Model:
    """A file's content, or that of one of its keys, as a model.

    Raises
    ------
    InputError
        One line that names the file, the key and the allowed values.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise InputError(one_line(error, file, model, key)) from None


def read_as(model: type[Model], path: Path) -> Model:
    """A YAML file as a model; errors are those of `read_yaml` and `validated`."""
    return validated(model, read_yaml(path), path)


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


def _encoders(path: Path) -> dict[str, dict[str, Any]]:
    """The entries of encoders.yaml as `Encoder` wants them: each with the values of its base."""
    families = read_yaml(path)
    entries = {
        name: families.pop(name) for name in list(families) if name.startswith(ENCODER_PREFIX)
    }
    bases = {name: entry.get("base") for name, entry in entries.items() if isinstance(entry, dict)}
    for name in families:
        if name not in bases.values():
            raise InputError(
                f"{path}: {name}: no encoder has it as its base; write {ENCODER_PREFIX}{name} for "
                f"an encoder that model: {name} selects"
            )
    shared = {name: validated(Family, content, path, name) for name, content in families.items()}
    encoders = {}
    for name, content in entries.items():
        base = bases.get(name)
        if isinstance(base, str):
            if base not in shared:
                known = ", ".join(shared)
                raise InputError(f"{path}: {name}.base: no family {base!r}; there are {known}")
            content = content | {"base": shared[base]}
        entry = validated(Entry, content, path, name)
        encoder = entry.base.model_dump() | {"track": entry.track}
        encoder["source"] = entry.base.source.replace("{size}", name.removeprefix(ENCODER_PREFIX))
        for recipe, rate in entry.lr:
            encoder[recipe]["learning_rate"] = rate
        encoders[name] = encoder
    return encoders
