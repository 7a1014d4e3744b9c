"""mteb tasks as datasets."""

from __future__ import annotations

import pytest

from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.sources.benchmark_data import mteb


def test_an_unknown_task_is_refused_before_any_download() -> None:
    # The Hub cannot be reached in tests: using it would be another error.
    with pytest.raises(InputError, match="unknown task 'SciFakt'"):
        next(mteb.load(["SciFact", "SciFakt"]))
