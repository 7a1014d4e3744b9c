"""The concepts of the tiny world, from concepts.yaml."""

from __future__ import annotations

from pathlib import Path

from ruamel.yaml import YAML

Concept = tuple[str, ...]
"""The wordings of one concept."""

_TABLES = YAML(typ="safe").load(Path(__file__).with_name("concepts.yaml"))


def _concepts(table: str) -> tuple[Concept, ...]:
    return tuple(tuple(wordings) for wordings in _TABLES[table])


PLACES = tuple(
    f"{first} {second}" for first in _TABLES["first_names"] for second in _TABLES["second_names"]
)
FINDINGS = _concepts("findings")
GENERAL_ASPECTS = _concepts("general_aspects")
WEB_ASPECTS = _concepts("web_aspects")
WEB_SUBJECTS = _concepts("web_subjects")
SCIENTIFIC_ASPECTS = _concepts("scientific_aspects")
SCIENTIFIC_SUBJECTS = _concepts("scientific_subjects")
