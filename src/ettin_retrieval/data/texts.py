"""The form in which texts are compared: equal for texts that say the same to a reader."""

from __future__ import annotations

import unicodedata


def normalised(text: str) -> str:
    r"""A text without differences in Unicode compatibility forms, case and white space.

    >>> normalised("Ｗhat  is\u00a0the\nCAFE\u0301?")
    'what is the café?'
    """
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
