"""Resolve pyproject.toml into the lock files beside this one (`make lock`).

`--upgrade` takes the newest versions that the ranges allow; without it locked versions stay where
they still fit. The resolution is one and universal (every supported Python and platform). It is
split into files because builds of torch need different things.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

UV = "uv==0.13.9"
ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "locks"

# The registry has no CPU builds, so the resolver cannot list their hashes. These are torch's own
# for Linux x86-64, by Python: cp311's was computed from the file, the others are as public lock
# files agree on them.
CPU_TORCH = {
    "2.13.0": {
        "cp311": "6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b",
        "cp312": "4ca4a9394b0c771238a4f73590fdbbc4debad85ed0fa63d026ae1b085da7d6e2",
        "cp313": "3fbf9c9d1f3c10c2d59d04aca426dee9ccc6ceb32d255c61e93acc3b4f75fae6",
    }
}

ABOUT = {
    "build": "What builds and installs the rest",
    "base": "What the experiment imports, less torch",
    "torch": "Torch: the registry's builds and the CPU builds known to locks/refresh.py",
    "cuda": "What the registry's Linux build of torch needs and CPU builds do not",
    "test": "What the tests and linters add",
}

Lock = dict[str, str]
"""Package to its block of a lock file: the requirement, its hashes and what needs it."""


def blocks(text: str) -> Lock:
    """The packages of a lock file's text."""
    parts = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)
    return {part.split("==")[0]: part for part in parts if "==" in part}


def cuda_names(lock: Lock) -> set[str]:
    """GPU libraries that nothing but torch needs."""
    names = {name for name in lock if re.match(r"nvidia-|cuda-|triton$", name)}
    notes = {
        name: re.findall(r"^ +# +(?:via +)?([\w.-]+)", lock[name], re.MULTILINE) for name in names
    }
    needed_by = {name: set(found) - {"via"} for name, found in notes.items()}
    while extra := {name for name in names if not needed_by[name] <= names | {"torch"}}:
        names -= extra
    return names


def resolve(uv: Path, pins: Lock, *arguments: str, stdin: str = "") -> Lock:
    """The lock of some requirements; versions among the pins stay where they fit."""
    lock = uv.with_name("lock.txt")
    # uv prefers the versions that its output file already has.
    lock.write_text(
        "".join(re.split(r"[ \\\n]", pin, maxsplit=1)[0] + "\n" for pin in pins.values())
    )
    command = [
        *(str(uv), "pip", "compile", "--quiet", "--universal", "--python-version", "3.11"),
        *("--fork-strategy", "fewest", "--generate-hashes", "--no-header", "--allow-unsafe"),
        *("--output-file", str(lock), *arguments),
    ]
    env = os.environ | {"UV_CUSTOM_COMPILE_COMMAND": "make lock"}
    quiet = subprocess.DEVNULL
    subprocess.run(command, cwd=ROOT, check=True, text=True, input=stdin, stdout=quiet, env=env)
    return blocks(lock.read_text())


def with_cpu_builds(torch: str) -> str:
    """Torch's block with the hashes of its CPU builds first."""
    requirement, rest = torch.split("\n", 1)
    known = CPU_TORCH[requirement.removeprefix("torch==").split()[0]].values()
    return "\n".join([requirement, *(f"    --hash=sha256:{digest} \\" for digest in known), rest])


def main() -> None:
    """Write all lock files."""
    old: Lock = {}
    if "--upgrade" not in sys.argv:
        old = blocks("".join(path.read_text() for path in LOCKS.glob("*.txt")))
    with tempfile.TemporaryDirectory() as directory:
        venv.create(directory, with_pip=True)
        programs = Path(directory) / "bin"
        subprocess.run([programs / "pip", "install", "-qq", UV], check=True)
        uv, project = programs / "uv", ("pyproject.toml", "--extra", "cpu")
        full = resolve(uv, old, *project, "--extra", "test")
        run = resolve(uv, full, *project)
        build = resolve(uv, old | full, "-", stdin="pip\nsetuptools\n")
    rest = {name: block for name, block in full.items() if name not in build}
    torch = {"torch": with_cpu_builds(rest.pop("torch"))}
    cuda = {name: rest.pop(name) for name in sorted(cuda_names(rest))}
    base = {name: block for name, block in rest.items() if name in run}
    test = {name: block for name, block in rest.items() if name not in run}
    for name, lock in zip(ABOUT, (build, base, torch, cuda, test), strict=True):
        head = f"# {ABOUT[name]}.\n# Made by `make lock`; not edited.\n"
        (LOCKS / f"{name}.txt").write_text(head + "".join(lock.values()))
        print(f"locks/{name}.txt: {len(lock)} packages")


if __name__ == "__main__":
    main()
