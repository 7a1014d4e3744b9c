"""Install the locked packages and this project into the environment that runs this file.

`--test` adds what the tests need. Nothing happens where the environment already holds what the
locks say. Run by the Makefile; standard library only.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "locks"

# --no-deps: the lock is complete, so nothing else may come in.
# --no-build-isolation: the few source-only packages are built with the locked setuptools.
# --no-compile: most of what is installed is never imported.
OPTIONS = ("-qq", "--no-deps", "--no-build-isolation", "--no-compile")


def pip(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run pip."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    return subprocess.run(command, cwd=ROOT, text=True, check=False, **options)


def install(*arguments: str, **options: Any) -> bool:
    """Whether pip could install something."""
    return pip("install", *OPTIONS, *arguments, **options).returncode == 0


def install_lock(name: str) -> None:
    """Install exactly the files whose hashes a lock holds."""
    if not install("--require-hashes", "-r", f"locks/{name}.txt"):
        sys.exit(f"install: locks/{name}.txt could not be installed (pip's reason is above)")


def install_torch() -> None:
    """Install the build that pip would pick by itself: a local one such as +cpu, if offered.

    Given hashes, pip passes over files that it has no hash of, and would fetch gigabytes of CUDA
    libraries for someone who configured a source of CPU builds.
    """
    lock = (LOCKS / "torch.txt").read_text()
    (locked,) = re.findall(r"^torch==([\w.]+)", lock, flags=re.MULTILINE)
    try:
        if version("torch").split("+")[0] == locked:
            return  # this build, or one that the user installed
    except PackageNotFoundError:
        pass
    listing = pip("index", "versions", "torch", capture_output=True).stdout
    local = re.search(rf"(?<![\w.]){re.escape(locked)}\+[\w.]+", listing)
    if local is None:
        return install_lock("torch")
    build = local[0]
    hashed = lock.replace(f"torch=={locked}", f"torch=={build}")
    quiet = {"stderr": subprocess.DEVNULL}
    if not install("--require-hashes", "-r", "/dev/stdin", input=hashed, **quiet):
        # The registry has no local versions: the user chose where this one comes from.
        print(
            f"install: WARNING: torch {build} is from your own source; the lock has no hash of it"
        )
        if not install(f"torch=={build}"):
            sys.exit(f"install: torch {build} could not be installed")


def key(group: str) -> str:
    """Digest of everything that determines the installed environment."""
    names = ["build", "base", "torch", "cuda"] + ["test"] * (group == "test")
    files = [ROOT / "pyproject.toml", Path(__file__), *(LOCKS / f"{name}.txt" for name in names)]
    content = b"".join(path.read_bytes() for path in files)
    return hashlib.sha256(f"{sys.version} {ROOT}".encode() + content).hexdigest()


def main() -> None:
    """Install, unless the environment's stamps say that this was done."""
    groups = ["run", "test"] if "--test" in sys.argv else ["run"]
    if sys.prefix == sys.base_prefix:
        sys.exit("install: this is not a virtual environment; use make")
    stamps = {Path(sys.prefix) / f"installed-{group}": key(group) for group in groups}
    if all(stamp.exists() and stamp.read_text() == value for stamp, value in stamps.items()):
        return
    # Written again last, so that an interrupted installation starts over.
    for stamp in Path(sys.prefix).glob("installed-*"):
        stamp.unlink()
    print("Installing the locked packages into .venv: this takes minutes", flush=True)
    install_lock("build")
    install_lock("base")
    install_torch()
    if any(name.startswith(("nvidia-", "cuda-")) for name in requires("torch") or []):
        install_lock("cuda")
    if "test" in groups:
        install_lock("test")
    if not install("-e", "."):
        sys.exit("install: the project itself could not be installed")
    check = pip("check", capture_output=True)
    if check.returncode:
        sys.exit(f"install: the installed packages do not fit together:\n{check.stdout}")
    for stamp, value in stamps.items():
        stamp.write_text(value)


if __name__ == "__main__":
    main()
