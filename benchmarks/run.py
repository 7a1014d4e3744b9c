"""Run the benchmarks, record what they found, or check it against what was recorded.

All, into benchmarks/; some, while the others stay; another size; a check that records nothing:

    python -m benchmarks.run
    python -m benchmarks.run --only encoding,search
    python -m benchmarks.run --only search --size search.documents=1000
    python -m benchmarks.run --check
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import growth
from benchmarks.check import regressions
from benchmarks.contest import ROOT, disturbance
from benchmarks.encoding import SCIFACT
from benchmarks.record import Section, machine, read_sections, write_sections
from benchmarks.table import page
from ettin_retrieval.runtime.errors import InputError

NAMES = (
    "encoding", "search", "mining", "finetuning", "startup", "evaluation_memory", "growth",
    "pipeline", "gpu",
)  # fmt: skip
"""Each a module with `SIZES`, `REPETITIONS` and `measure`; in the order of the table."""

CHECKED = ("encoding", "search", "mining", "finetuning", "startup")
"""What `--check` measures again unless `--only` names others: minutes, and no whole pipeline."""


def main(arguments: list[str] | None = None) -> int:
    """Run what was asked for; 1 where a check found a regression or the user made a mistake."""
    given = _parser().parse_args(arguments)
    if given.scifact:
        os.environ[SCIFACT] = str(given.scifact.resolve())
    try:
        return _run(given)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _run(given: argparse.Namespace) -> int:
    names = chosen(given.only, CHECKED if given.check else NAMES)
    # All sizes first: a mistake in the last must not cost the time of the others.
    sizes = {name: sizes_of(name, given.size) for name in names}
    recorded = read_sections(given.output / "results.json")
    if given.check:
        return _check(recorded, sizes, given)
    measured: dict[str, Section] = {}
    for name in names:
        measured[name] = measure(name, sizes[name], given.repetitions)
        # Kept at once: an interrupted run goes on with --only and what is missing.
        write(recorded | measured, given.output)
    print((given.output / "table.md").read_text(encoding="utf-8"))
    return 0


def _check(
    recorded: dict[str, Section], sizes: dict[str, dict[str, Any]], given: argparse.Namespace
) -> int:
    """1 where a benchmark is worse than recorded, and is so again when measured once more."""
    if not recorded:
        raise InputError(
            f"{given.output / 'results.json'}: nothing is recorded to compare with; "
            "run `make benchmark`"
        )
    found = []
    for name, of in sizes.items():
        lines = regressions(recorded, {name: measure(name, of, given.repetitions)})
        if lines:
            # Another program that ran meanwhile does not come back the second time.
            print("\n".join([*lines, f"{name}: measuring again"]), file=sys.stderr, flush=True)
            lines = regressions(recorded, {name: measure(name, of, given.repetitions)})
        found += lines
    print("\n".join(found) if found else f"no regression in {', '.join(sizes)}")
    return 1 if found else 0


def measure(name: str, sizes: dict[str, Any], repetitions: int | None) -> Section:
    """Run one benchmark, with its own number of repetitions unless another is given."""
    start = time.monotonic()
    module = importlib.import_module(f"benchmarks.{name}")
    section: Section = module.measure(sizes, repetitions or module.REPETITIONS)
    print(f"{name}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    notes = [*section.notes, *disturbance(section.runs)]
    return replace(section, machine=machine(), notes=notes)


def write(sections: dict[str, Section], directory: Path) -> None:
    """Write results.json, table.md and growth.png."""
    directory.mkdir(parents=True, exist_ok=True)
    ordered = {name: sections[name] for name in NAMES if name in sections}
    write_sections(ordered, directory / "results.json")
    # From what was written, so that the page and the file cannot differ.
    ordered = read_sections(directory / "results.json")
    (directory / "table.md").write_text(page(ordered), encoding="utf-8")
    if "growth" in ordered:
        growth.draw(ordered["growth"], directory / "growth.png")


def chosen(only: str | None, usual: tuple[str, ...]) -> list[str]:
    """Names of the benchmarks to run, in the table's order.

    >>> chosen("search,encoding", NAMES)
    ['encoding', 'search']

    Raises
    ------
    InputError
        A name that is none of them.
    """
    wanted = usual if only is None else tuple(only.split(","))
    for name in wanted:
        if name not in NAMES:
            raise InputError(f"--only: no benchmark {name!r}; there are {', '.join(NAMES)}")
    return [name for name in NAMES if name in wanted]


def sizes_of(name: str, given: list[str]) -> dict[str, Any]:
    """Sizes of a benchmark: its own, and those of `NAME.KEY=VALUE`.

    >>> sizes_of("search", ["search.documents=1000", "mining.documents=5"])["documents"]
    1000

    Raises
    ------
    InputError
        A size that the benchmark does not have, or a value that is no whole number.
    """
    sizes: dict[str, Any] = dict(importlib.import_module(f"benchmarks.{name}").SIZES)
    for setting in given:
        key, _, value = setting.partition("=")
        benchmark, _, size = key.partition(".")
        if benchmark != name:
            continue
        if size not in sizes:
            raise InputError(f"--size: {name} has no {size!r}; it has {', '.join(sizes)}")
        if isinstance(sizes[size], int) and not value.isdecimal():
            raise InputError(f"--size {setting}: {value!r} is no whole number")
        sizes[size] = int(value) if isinstance(sizes[size], int) else value
    return sizes


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.run", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--only", metavar="NAME,...", help=f"of {', '.join(NAMES)}")
    parser.add_argument(
        "--size", action="append", default=[], metavar="NAME.KEY=VALUE", help="another size"
    )
    parser.add_argument("--repetitions", type=int, metavar="N", help="(default: each its own)")
    parser.add_argument(
        "--scifact",
        type=Path,
        metavar="DIR",
        help=f"SciFact in BEIR layout, to be encoded (default: ${SCIFACT}, or TinySciFact)",
    )
    parser.add_argument(
        "--check", action="store_true", help="compare ratios with those recorded in --output"
    )
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks", metavar="DIR")
    return parser


if __name__ == "__main__":
    sys.exit(main())
