"""One line for a settings error: the file, the key, what it may be."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from ettin_retrieval.settings.schema import Recipe, Settings

TYPES = {
    "int": "a whole number", "float": "a number", "bool": "true or false", "string": "text",
    "list": "a list", "dict": "a mapping", "none": "null", "too": "a list of at least one",
}  # fmt: skip
"""First word of the kind of a pydantic error to the expected type in words."""


def one_line(
    error: ValidationError, file: Path | str, model: type[BaseModel] = Settings, key: str = ""
) -> str:
    """The first thing that is wrong with a model below a key of a file, and how many more."""
    # Unknown keys first: a misspelt required key is reported twice, and the typo is the cause.
    details = sorted(error.errors(), key=lambda d: d["type"] != "extra_forbidden")
    # Without a recipe no `auto` can be filled in, and each would be an error of its own.
    details = [d for d in details if d["loc"] == ("recipe",)] or details
    location = _location(details[0])
    message = _message(details, location, model)
    others = len({tuple(_location(detail)) for detail in details}) - 1
    more = f" (and {others} more)" if others else ""
    place = ".".join(filter(None, [key, *location]))
    return ": ".join(filter(None, [str(file), place, message + more]))


def _location(detail: Any) -> list[str]:
    """Keys down to the error, without the branches of unions that pydantic adds to them."""
    branch = re.compile(r"int|float|bool|str|none|function-after|(literal|constrained|list)\W.*")
    return [part for part in map(str, detail["loc"]) if not branch.fullmatch(part)]


def _message(details: list[Any], location: list[str], model: type[BaseModel]) -> str:
    first = details[0]
    if first["type"] == "extra_forbidden":
        allowed = sorted(_section(location[:-1], model).model_fields)
        close = difflib.get_close_matches(location[-1], allowed, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        return f"unknown key; {hint}allowed: {', '.join(allowed)}"
    if first["type"] == "missing":
        return "missing; write a value for it"
    if first["type"] == "value_error":
        return str(first["ctx"]["error"])
    if first["type"] == "model_type":
        keys = ", ".join(_section(location, model).model_fields)
        return f"{first['input']!r} is not allowed; it must be a mapping with {keys}"
    depth = len(location)
    same_key = [d for d in details if d["loc"][:depth] == first["loc"][:depth]]
    wanted = " or ".join(dict.fromkeys(map(_expectation, same_key)))
    # A recipe's value is filled in for `auto` before the type is checked.
    if len(location) == 2 and location[1] in _section(location[:1], Recipe).model_fields:
        wanted = f"{wanted.removesuffix(' or auto')} or auto"
    return f"{first['input']!r} is not allowed; it must be {wanted}"


def _expectation(detail: Any) -> str:
    if detail["type"].split("_")[0] in TYPES:
        return TYPES[detail["type"].split("_")[0]]
    return str(detail["msg"]).removeprefix("Input should be ").replace("'", "")


def _section(location: list[str], model: type[BaseModel]) -> type[BaseModel]:
    """The model at a location below another."""
    for part in location:
        if part in model.model_fields:
            annotation = model.model_fields[part].annotation
            options = [annotation, *get_args(annotation)]
            model = next(o for o in options if isinstance(o, type) and issubclass(o, BaseModel))
    return model
