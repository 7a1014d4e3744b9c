"""Fixtures that several tests share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workspace import Workspace

# Tests reach no network but a hub on the loopback interface.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A copy of this repository that tests copy and leave as it is."""
    return Workspace.copy_to(tmp_path_factory.mktemp("repository"))


@pytest.fixture
def workspace(repository: Workspace, tmp_path: Path) -> Iterator[Workspace]:
    """A copy of this repository in which commands may be run."""
    target = tmp_path / "repository"
    shutil.copytree(repository.path, target)
    yield Workspace(target)
    shutil.rmtree(target, ignore_errors=True)
