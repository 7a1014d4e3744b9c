"""When two texts are the same: the form in which they are compared.

Queries and passages are compared after normalisation, wherever a text must be recognised under
another id: what training and evaluation share, and what is known to be relevant to a question.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pandas as pd

Hashes = npt.NDArray[np.uint64]

HASHED_AT_ONCE = 16_384
"""Texts normalised at a time: caps the memory of their normalised forms."""


def normalised(text: str) -> str:
    r"""A text without what does not matter: Unicode compatibility forms, case and white space.

    >>> normalised("Ｗhat  is\u00a0the\nCAFE\u0301?") == normalised("what is the café?")
    True
    """
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def digest(text: str) -> bytes:
    """Digest of a normalised text.

    >>> digest(" A city.") == digest("a  CITY.") != digest("a city")
    True
    """
    # 16 bytes instead of the text: millions of passages fit in memory.
    return hashlib.blake2b(normalised(text).encode(), digest_size=16).digest()


def short_digests(digests: Iterable[bytes], count: int) -> Hashes:
    """The first 64 bits of so many digests, of shape (count,): files keep them, so no library's
    hash will do.
    """
    first = (int.from_bytes(whole[:8], "little") for whole in digests)
    return np.fromiter(first, dtype=np.uint64, count=count)


def hash_texts(texts: list[str]) -> Hashes:
    """Hash of each normalised text, of shape (texts,): for more texts than digests fit in memory.

    Among ten million texts two different ones share its 64 bits with a probability of 3 in a
    million. Mining then never takes the one as a negative beside the other.
    """
    hashes = np.empty(len(texts), dtype=np.uint64)
    for start in range(0, len(texts), HASHED_AT_ONCE):
        part = slice(start, start + HASHED_AT_ONCE)
        forms = np.array([normalised(text) for text in texts[part]], dtype=object)
        hashes[part] = pd.util.hash_array(forms, categorize=False)
    return hashes
