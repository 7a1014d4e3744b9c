"""One line for a settings error: the file, the key, what it may be."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from ettin_retrieval.settings.schema import RECIPE_SECTIONS, Encoder, Settings

BOUNDS = {
    "greater_than": ("gt", "greater than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than_equal": ("le", "at most"),
}

TYPES = {
    "int": "a whole number", "float": "a number", "bool": "true or false", "string": "text",
    "list": "a list", "dict": "a mapping", "none_required": "null",
    "finite_number": "a finite number", "too_short": "a list of at least one",
    "model": "a mapping of settings",
}  # fmt: skip
"""Kind of a pydantic error, or its first word, to the expected type in words."""


def one_line(
    error: ValidationError,
    files: Mapping[str, Path],
    bases: Mapping[str, str] | None = None,
    model: type[BaseModel] = Settings,
) -> str:
    """The first thing that is wrong, and how many more there are.

    Parameters
    ----------
    files
        First part of a location to the file that holds it; "" to the file of all others.
    bases
        Entry of encoders.yaml to the key that holds what it shares with others.
    model
        What was validated.
    """
    # Unknown keys first: a misspelt required key is reported twice, and the typo is the cause.
    details = sorted(error.errors(), key=lambda d: d["type"] != "extra_forbidden")
    # Without a recipe no `auto` can be filled in, and each would be an error of its own.
    details = [d for d in details if d["loc"] == ("recipe",)] or details
    bases = bases or {}
    # The values of a recipe fill in params.yaml, where the same error is found again.
    details = [d for d in details if d["loc"][:1] == ("recipes",)] or details
    first, location = details[0], _location(details[0])
    message = _message(first, location, details, model)
    places = {_place(_location(detail), files, bases) for detail in details}
    more = f" (and {len(places) - 1} more)" if len(places) > 1 else ""
    return f"{_place(location, files, bases)}: {message}{more}"


def _location(detail: Any) -> list[str]:
    return [str(part) for part in detail["loc"] if not _is_union_branch(str(part))]


def _place(location: list[str], files: Mapping[str, Path], bases: Mapping[str, str]) -> str:
    """The file and the key in it."""
    first, *rest = location or [""]
    if first == "encoders" and rest:
        name, *keys = rest
        if keys[1:] == ["learning_rate"]:
            rest = [name, "lr", keys[0]]
        elif keys != ["track"]:
            rest = [bases[name], *keys]
    key = ".".join(rest if first in files else location)
    return f"{files.get(first, files[''])}: {key}".removesuffix(": ")


def _message(first: Any, location: list[str], details: list[Any], model: type[BaseModel]) -> str:
    if first["type"] == "extra_forbidden":
        allowed = sorted(_section(location[:-1], model).model_fields)
        close = difflib.get_close_matches(location[-1], allowed, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        return f"unknown key; {hint}allowed: {', '.join(allowed)}"
    if first["type"] == "missing":
        return "missing; write a value for it"
    if first["type"] == "value_error":
        return str(first["ctx"]["error"])
    depth = len(location)
    same_key = [d for d in details if d["loc"][:depth] == first["loc"][:depth]]
    wanted = " or ".join(dict.fromkeys(map(_expectation, same_key)))
    if not wanted.endswith("auto") and _may_be_auto(location):
        wanted += " or auto"
    return f"{first['input']!r} is not allowed; it must be {wanted}"


def _may_be_auto(location: list[str]) -> bool:
    """Whether the recipe has a value for the key."""
    model = RECIPE_SECTIONS.get(location[0]) if len(location) > 1 else None
    return model is not None and location[1] in model.model_fields


def _expectation(detail: Any) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "literal_error":
        return str(context["expected"]).replace("'", "")
    if kind in BOUNDS:
        name, words = BOUNDS[kind]
        bound = context[name]
        return f"{words} {bound if isinstance(bound, int) else f'{bound:g}'}"
    return TYPES.get(kind, TYPES.get(kind.split("_")[0], str(detail["msg"]).lower()))


def _is_union_branch(part: str) -> bool:
    """pydantic adds the branch of a union to the location, such as `constrained-int`."""
    branches = {"int", "float", "bool", "str", "none", "function-after", "Shape"}
    return part in branches or part.startswith(("literal[", "constrained-", "list["))


def _section(location: list[str], model: type[BaseModel]) -> type[BaseModel]:
    """The model at a location below another."""
    for part in location:
        if model is Settings and part == "encoders":
            model = Encoder
        elif part in model.model_fields:
            annotation = model.model_fields[part].annotation
            options = [annotation, *get_args(annotation)]
            model = next(o for o in options if isinstance(o, type) and issubclass(o, BaseModel))
    return model
