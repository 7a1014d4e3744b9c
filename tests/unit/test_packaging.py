"""The lock says exactly what is installed, and matches pyproject.toml."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.workspace import ROOT

LOCKS = sorted((ROOT / "locks").glob("*.txt"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]


def requirements(lock: Path) -> list[str]:
    """Logical lines of a lock: a requirement with its hashes."""
    lines = [line for line in lock.read_text().splitlines() if not line.lstrip().startswith("#")]
    return [line for line in "\n".join(lines).replace("\\\n", " ").splitlines() if line.strip()]


def locked() -> dict[str, str]:
    """Package to version, over all locks."""
    lines = [line for lock in LOCKS for line in requirements(lock)]
    pairs = [line.split(";")[0].split("--hash")[0].strip().split("==") for line in lines]
    names = [canonicalize_name(name) for name, _ in pairs]
    assert len(names) == len(set(names)), "a package is locked twice"
    return dict(zip(names, (version for _, version in pairs), strict=True))


def test_the_lock_has_its_parts() -> None:
    assert [lock.stem for lock in LOCKS] == ["base", "build", "cuda", "test", "torch"]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_every_locked_requirement_is_exact_and_hashed(lock: Path) -> None:
    exact = re.compile(r"[a-z0-9-]+==[\w.]+( ; .+?)?( +--hash=sha256:[0-9a-f]{64})+ *")
    assert requirements(lock)
    assert [line for line in requirements(lock) if not exact.fullmatch(line)] == []


@pytest.mark.parametrize(
    "path", [*LOCKS, ROOT / "Makefile", ROOT / "pyproject.toml", *(ROOT / "locks").glob("*.py")]
)
def test_nothing_says_where_packages_come_from(path: Path) -> None:
    found = re.findall(r"\bhttps?:|--(?:extra-)?index|--find-links", path.read_text())
    assert found == []


def test_torch_is_one_release() -> None:
    assert "torch==2.13.0" in PROJECT["dependencies"]
    assert locked()["torch"] == "2.13.0"


def test_the_locks_have_one_faiss() -> None:
    assert "faiss-cpu" in locked()
    assert "faiss-gpu" not in locked()
    everywhere = [*PROJECT["dependencies"], *EXTRAS["test"]]
    assert not [r for r in everywhere if r.startswith("faiss")]
    assert [[r.split("==")[0] for r in EXTRAS[e]] for e in ("cpu", "gpu")] == [
        ["faiss-cpu"],
        ["faiss-gpu"],
    ]


@pytest.mark.parametrize("line", [*PROJECT["dependencies"], *EXTRAS["cpu"], *EXTRAS["test"]])
def test_locked_versions_are_within_the_declared_ranges(line: str) -> None:
    requirement = Requirement(line)
    assert requirement.specifier.contains(locked()[canonicalize_name(requirement.name)])


def test_a_second_installation_installs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = importlib.util.spec_from_file_location("install", ROOT / "locks" / "install.py")
    assert spec is not None and spec.loader is not None
    install = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(install)
    called = []

    def pip(*args: str, **_: Any) -> subprocess.CompletedProcess[str]:
        called.append(args)
        return subprocess.CompletedProcess(args, returncode=1)

    monkeypatch.setattr(install, "pip", pip)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["install.py", "--test"])
    for group in ("run", "test"):
        (tmp_path / f"installed-{group}").write_text(install.key(group))
    install.main()
    assert called == [] and capsys.readouterr().out == ""

    # Another lock is another key: pip runs again.
    (tmp_path / "installed-test").write_text("of another lock")
    with pytest.raises(SystemExit, match="could not be installed"):
        install.main()
    assert called
