"""A checkpoint and a dataset for the tests of this package."""

from __future__ import annotations

from pathlib import Path

import pytest

from ettin_retrieval.data.dataset import RetrievalDataset
from ettin_retrieval.sources import tiny
from tests.small import save_small_checkpoint


@pytest.fixture(scope="package")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="package")
def dataset() -> RetrievalDataset:
    return tiny.benchmark()["TinySciFact"]
