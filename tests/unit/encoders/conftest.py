"""A checkpoint for the tests of this package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ettin_retrieval.encoders.checkpoint import load_checkpoint
from tests.small import save_small_checkpoint


@pytest.fixture(scope="package")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture
def model(checkpoint: Path) -> Any:
    return load_checkpoint(checkpoint)
