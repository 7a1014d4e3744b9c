"""What the tiny world talks about: places, and the concepts in concepts.csv.

The wordings of a concept share no word, so that matching words cannot find one by another.
"""

from __future__ import annotations

import csv
from pathlib import Path

Concept = tuple[str, ...]
"""The wordings of one concept."""

FIRST_NAMES = """
North South East West Upper Lower Old New Great Little Long Royal Saint Fort Port Mount Lake
Castle Abbey Market Stoney White Black Red Green Silver Golden Dry High Middle Cold Bishop King
Queen Prince Bright Hidden Twin Broad Grand
"""

SECOND_NAMES = """
Ashford Aldbury Barton Bexley Bradwell Brampton Burwick Carlow Clifton Corby Crosby Dalton
Denholm Dunmore Easton Elmswell Fairholt Farley Gresham Halton Harwick Hatfield Henley Holbrook
Ingleby Kelham Kendal Kirkby Langley Linton Ludlow Marlow Melton Milford Morley Newick Norbury
Oakham Orford Oxley Penrith Preston Quorley Radley Ripley Rugby Selby Shelby Stafford Stanton
Sutton Thornby Tilbury Upton Walden Warwick Weston Whitby Wilton Yarrow
"""

PLACES = tuple(
    f"{first} {second}" for first in FIRST_NAMES.split() for second in SECOND_NAMES.split()
)
"""So many that a random passage is hardly ever on the same place."""


with Path(__file__).with_name("concepts.csv").open(newline="", encoding="utf-8") as file:
    _ROWS = list(csv.reader(file))


def _table(name: str) -> tuple[Concept, ...]:
    return tuple(tuple(wordings) for table, *wordings in _ROWS if table == name)


# Shared by both domains, as places are.
FINDINGS, GENERAL_ASPECTS = _table("finding"), _table("general aspect")
# Everyday things and services.
WEB_ASPECTS, WEB_SUBJECTS = _table("web aspect"), _table("web subject")
# Health conditions.
SCIENTIFIC_ASPECTS, SCIENTIFIC_SUBJECTS = _table("scientific aspect"), _table("scientific subject")
