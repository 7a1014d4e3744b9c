"""Which build of torch is installed, and which packages are GPU libraries."""

from __future__ import annotations

import importlib.util
import subprocess
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
LOCKED = ["--require-hashes", "-r"]


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "locks" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("offered", "hash_known", "installed"),
    [
        ("2.13.0, 2.12.0", True, [[*LOCKED, "locks/torch.txt"]]),
        ("2.13.0+cpu, 2.13.0", True, [[*LOCKED, "/dev/stdin"]]),
        ("2.13.0+cpu, 2.13.0", False, [[*LOCKED, "/dev/stdin"], ["torch==2.13.0+cpu"]]),
        ("12.13.0+cpu, 2.13.0", True, [[*LOCKED, "locks/torch.txt"]]),
    ],
)
def test_a_local_build_of_torch_is_preferred_where_pip_offers_one(
    offered: str,
    hash_known: bool,
    installed: list[list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    install = load("install")
    commands: list[list[str]] = []

    def pip(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        if arguments[0] == "index":
            return subprocess.CompletedProcess(arguments, 0, f"torch ({offered})")
        commands.append([a for a in arguments[1:] if a not in install.OPTIONS])
        if "input" in options:
            assert "torch==2.13.0+cpu" in options["input"] and "--hash=sha256:" in options["input"]
        return subprocess.CompletedProcess(arguments, "input" in options and not hash_known)

    def not_installed(_: str) -> str:
        raise PackageNotFoundError

    monkeypatch.setattr(install, "pip", pip)
    monkeypatch.setattr(install, "version", not_installed)
    install.install_torch()
    assert commands == installed
    assert ("WARNING" in capsys.readouterr().out) == (not hash_known)


def test_an_installed_build_of_the_locked_release_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    install = load("install")
    monkeypatch.setattr(install, "pip", None)
    monkeypatch.setattr(install, "version", lambda _: "2.13.0+rocm6.4")
    install.install_torch()


def test_gpu_libraries_are_those_that_only_torch_needs() -> None:
    refresh = load("refresh")
    lock = "".join(path.read_text() for path in (ROOT / "locks").glob("*.txt"))
    names = refresh.cuda_names(refresh.blocks(lock))
    assert names == set(refresh.blocks((ROOT / "locks/cuda.txt").read_text()))
    assert "triton" in names
    assert "nvidia-ml-py" not in names, "dvclive needs it"
