"""Fixtures that several tests share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workspace import Workspace

# Tests reach no network but a hub of their own on loopback.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    """A copy of this repository in which commands may be run."""
    target = tmp_path / "repository"
    yield Workspace.copy_to(target)
    shutil.rmtree(target, ignore_errors=True)
