"""Install the locked packages and this project into the environment running this file.

`--test` adds what the tests need. Nothing happens when the environment already
holds what the locks say. Run by the Makefile; standard library only.
"""

import hashlib
import importlib.metadata
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "locks"

# --no-deps: the lock is complete, so nothing else may come in.
# --no-build-isolation: the few source-only packages are built with the locked
#   setuptools instead of whatever is newest today.
# --no-compile: most of what is installed is never imported.
OPTIONS = ["-qq", "--no-deps", "--no-build-isolation", "--no-compile"]


def pip(*args: str, **kwargs) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *args]
    return subprocess.run(command, cwd=ROOT, text=True, **kwargs)


def fail(message: str) -> None:
    sys.exit(f"install: {message}")


def install(lock: Path, **kwargs) -> bool:
    return pip("install", *OPTIONS, "--require-hashes", "-r", str(lock), **kwargs).returncode == 0


def install_lock(name: str) -> None:
    if not install(LOCKS / f"{name}.txt"):
        fail(f"locks/{name}.txt could not be installed (pip's reason is above)")


def torch_build(version: str) -> str:
    """The build pip would pick by itself: a local one such as 2.13.0+cpu, if offered.

    With hashes given, pip passes over any offer whose hash it does not know, and
    would fetch gigabytes of CUDA libraries for someone who configured a source
    of CPU builds. So it is asked first.
    """
    listing = pip("index", "versions", "torch", capture_output=True).stdout
    offers = re.findall(rf"(?<![\w.]){re.escape(version)}\+[\w.]+", listing)
    return offers[0] if offers else version


def install_torch() -> None:
    text = (LOCKS / "torch.txt").read_text()
    version = re.search(r"^torch==([\w.]+)", text, flags=re.MULTILINE)[1]
    try:
        if importlib.metadata.version("torch").split("+")[0] == version:
            return  # this build or one the user put there
    except importlib.metadata.PackageNotFoundError:
        pass

    build = torch_build(version)
    if build == version:
        return install_lock("torch")
    with tempfile.TemporaryDirectory() as tmp:
        lock = Path(tmp) / "torch.txt"
        lock.write_text(text.replace(f"torch=={version}", f"torch=={build}"))
        if install(lock, stderr=subprocess.DEVNULL):
            return
    # A build with a local version never comes from the registry: the user chose
    # where it comes from, and the lock cannot know every such file.
    print(f"install: WARNING torch {build} is from your own source and its hash is not in the lock")
    if pip("install", *OPTIONS, f"torch=={build}").returncode:
        fail(f"torch {build} could not be installed")


def needs_cuda() -> bool:
    """Whether the installed build of torch itself asks for the CUDA libraries."""
    return any(r.startswith(("nvidia-", "cuda-")) for r in importlib.metadata.requires("torch"))


def key(group: str) -> str:
    """Digest of all that the installed environment follows from."""
    digest = hashlib.sha256(f"{sys.version} {ROOT}".encode())
    names = ["build", "base", "torch", "cuda"] + ["test"] * (group == "test")
    files = [LOCKS / f"{name}.txt" for name in names]
    for path in [ROOT / "pyproject.toml", Path(__file__), *files]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def main() -> None:
    test = "--test" in sys.argv
    if sys.prefix == sys.base_prefix:
        fail("this is not a virtual environment; use make")
    groups = ["run", "test"] if test else ["run"]
    stamps = {Path(sys.prefix) / f"installed-{group}": key(group) for group in groups}
    if all(stamp.exists() and stamp.read_text() == value for stamp, value in stamps.items()):
        return

    # Written again last, so that an interrupted install starts over.
    for stamp in Path(sys.prefix).glob("installed-*"):
        stamp.unlink()
    print("Installing the locked packages into .venv: this takes minutes", flush=True)
    for name in ("build", "base"):
        install_lock(name)
    install_torch()
    if needs_cuda():
        install_lock("cuda")
    if test:
        install_lock("test")
    if pip("install", *OPTIONS, "-e", ".").returncode:
        fail("the project itself could not be installed")
    check = pip("check", capture_output=True)
    if check.returncode:
        fail(f"the installed packages do not fit together:\n{check.stdout}")
    for stamp, value in stamps.items():
        stamp.write_text(value)


if __name__ == "__main__":
    main()
