"""Run the benchmarks and record what they find, or check it against what is recorded.

python -m benchmarks.run                          # all, into benchmarks/
python -m benchmarks.run --only encoding,search   # the others stay as they are
python -m benchmarks.run --check                  # the quick ones; records nothing
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks import encoding, finetuning, kill_resume, memory, mining, pipeline, search
from benchmarks.harness import ROOT
from benchmarks.record import Section, commit_and_machine, read, regressions, write

RECORD = ROOT / "benchmarks"

QUICK: dict[str, Callable[[], Section]] = {
    "encoding": encoding.measure,
    "search": search.measure,
    "mining": mining.measure,
    "finetuning": finetuning.measure,
    "startup": pipeline.measure_startup,
}
"""What `--check` measures unless `--only` names others."""

BENCHMARKS = QUICK | {
    "memory": memory.measure,
    "growth": search.measure_growth,
    "pipeline": pipeline.measure,
    "kill_resume": kill_resume.measure,
    "gpu": encoding.measure_gpu,
}
"""In the order of the table."""


def main(arguments: list[str] | None = None) -> int:
    """1 where a check found a regression."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run")
    parser.add_argument("--only", metavar="NAME,...", help=f"of {', '.join(BENCHMARKS)}")
    scifact = f"SciFact in BEIR layout to encode (default: ${encoding.SCIFACT}, or TinySciFact)"
    parser.add_argument("--scifact", type=Path, metavar="DIR", help=scifact)
    parser.add_argument("--check", action="store_true", help="compare with results.json")
    given = parser.parse_args(arguments)
    if given.scifact:
        os.environ[encoding.SCIFACT] = str(given.scifact.resolve())
    names = given.only.split(",") if given.only else list(QUICK if given.check else BENCHMARKS)
    if unknown := set(names) - set(BENCHMARKS):
        parser.error(f"--only: no benchmark {unknown.pop()!r}; choose from {', '.join(BENCHMARKS)}")
    return check(names) if given.check else record(names)


def record(names: Sequence[str], directory: Path = RECORD) -> int:
    """Measure, and write each benchmark's findings at once."""
    for name in names:
        sections = read(directory) | {name: measure(name)}
        write({known: sections[known] for known in BENCHMARKS if known in sections}, directory)
        if name == "growth":
            search.draw_growth(sections[name], directory / "growth.png")
    print((directory / "table.md").read_text(encoding="utf-8"))
    return 0


def check(names: Sequence[str], directory: Path = RECORD) -> int:
    """1 where a benchmark is worse than recorded, and is so again when measured once more."""
    recorded, found = read(directory), []
    for name in names:
        lines = regressions(recorded.get(name), measure(name))
        if lines:
            # Another program that ran meanwhile does not come back the second time.
            print("\n".join([*lines, f"{name}: measuring again"]), file=sys.stderr, flush=True)
            lines = regressions(recorded.get(name), measure(name))
        found += [f"{name}: {line}" for line in lines]
    print("\n".join(found) or f"no regression in {', '.join(names)}")
    return 1 if found else 0


def measure(name: str) -> Section:
    """Run one benchmark."""
    return replace(BENCHMARKS[name](), measured=commit_and_machine())


if __name__ == "__main__":
    sys.exit(main())
