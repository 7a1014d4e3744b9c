"""Resolve pyproject.toml into the lock files beside this one (`make lock`).

Run with `--upgrade` to take the newest versions the ranges allow; without it
versions already locked stay wherever they still fit.

The resolution is one and universal (every supported Python and platform).
It is split into files because torch comes in builds that need different things:

    build.txt  what builds and installs the rest (pip, setuptools)
    base.txt   what the experiment imports, less torch
    torch.txt  torch
    cuda.txt   what the registry's Linux build of torch needs and CPU builds do not
    test.txt   what the tests and linters add
"""

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

# CPU-only builds are not in the registry, so the resolver cannot list their
# hashes. These are torch's own CPU builds for Linux x86-64, by Python: cp311's was
# computed from the file, the others are as public lock files agree on them.
CPU_TORCH = {
    "2.13.0": {
        "cp311": "6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b",
        "cp312": "4ca4a9394b0c771238a4f73590fdbbc4debad85ed0fa63d026ae1b085da7d6e2",
        "cp313": "3fbf9c9d1f3c10c2d59d04aca426dee9ccc6ceb32d255c61e93acc3b4f75fae6",
    }
}

ABOUT = {
    "build": "what builds and installs the rest",
    "base": "what the experiment imports, less torch",
    "torch": "torch: the registry's builds and the CPU builds known to locks/refresh.py",
    "cuda": "what the registry's Linux build of torch needs and CPU builds do not",
    "test": "what the tests and linters add",
}


def blocks(text: str) -> dict[str, str]:
    """Lock text by package: the requirement, its hashes and who asked for it."""
    parts = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)
    return {part.split("==")[0]: part for part in parts if "==" in part}


def parents(block: str) -> set[str]:
    """Names in a block's `# via` note."""
    lines = re.findall(r"^ +# +(?:via)?(.*)$", block, flags=re.MULTILINE)
    return {line.split()[0] for line in lines if line.strip()}


def cuda_names(lock: dict[str, str]) -> set[str]:
    """GPU libraries that nothing but torch asks for."""
    names = {n for n in lock if re.match(r"nvidia-|cuda-|triton$", n)}
    while extra := {n for n in names if not parents(lock[n]) <= names | {"torch"}}:
        names -= extra
    return names


def resolve(uv: Path, work: Path, *args: str, pins: str, stdin: str = "") -> dict[str, str]:
    out = work / "lock.txt"
    out.write_text(pins)  # uv prefers the versions its output file already has
    command = [
        *(uv, "pip", "compile", "--quiet", "--universal", "--python-version", "3.11"),
        *("--fork-strategy", "fewest", "--generate-hashes", "--no-header", "--allow-unsafe"),
        *("--output-file", out, *args),
    ]
    env = os.environ | {"UV_CUSTOM_COMPILE_COMMAND": "make lock"}
    subprocess.run(
        command, cwd=ROOT, check=True, text=True, input=stdin, stdout=subprocess.DEVNULL, env=env
    )
    return blocks(out.read_text())


def pinned(lock: dict[str, str]) -> str:
    return "".join(re.split(r"[ \\\n]", block, maxsplit=1)[0] + "\n" for block in lock.values())


def main() -> None:
    old: dict[str, str] = {}
    if "--upgrade" not in sys.argv:
        for path in LOCKS.glob("*.txt"):
            old |= blocks(path.read_text())

    with tempfile.TemporaryDirectory() as tmp:
        work = Path(tmp)
        venv.create(work / "venv", with_pip=True)
        bin_ = work / "venv" / "bin"
        subprocess.run([bin_ / "python", "-m", "pip", "install", "-qq", UV], check=True)
        uv, project = bin_ / "uv", ("pyproject.toml", "--extra", "cpu")
        full = resolve(uv, work, *project, "--extra", "test", pins=pinned(old))
        run = resolve(uv, work, *project, pins=pinned(full))
        build = resolve(uv, work, "-", pins=pinned(old | full), stdin="pip\nsetuptools\n")

    cuda = cuda_names(full)
    files: dict[str, list[str]] = {name: [] for name in ABOUT}
    files["build"] = list(build.values())
    for name, block in full.items():
        if name in build:
            continue
        if name == "torch":
            known = CPU_TORCH[re.match(r"torch==(\S+)", block)[1]].values()
            first, rest = block.split("\n", 1)
            block = "\n".join([first, *(f"    --hash=sha256:{h} \\" for h in known), rest])
            files["torch"].append(block)
        else:
            files["cuda" if name in cuda else "base" if name in run else "test"].append(block)
    for name, parts in files.items():
        head = f"# {ABOUT[name][0].upper()}{ABOUT[name][1:]}.\n# Made by `make lock`; not edited.\n"
        (LOCKS / f"{name}.txt").write_text(head + "".join(parts))
        print(f"locks/{name}.txt: {len(parts)} packages")


if __name__ == "__main__":
    main()
