"""Runs one stage of dvc.yaml: settings, paths, pinned arithmetic, one line of log, its cost.

A stage's module has a function `run(settings, paths)`. It reads files of earlier stages, calls the
library, writes its files, and returns what its log line ends with.
"""

from __future__ import annotations

import argparse
import logging
import resource
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from ettin_retrieval.runtime.determinism import pin_arithmetic
from ettin_retrieval.runtime.device import strict_mode_warnings
from ettin_retrieval.runtime.distributed import is_first_rank
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.runtime.files import read_json, write_json
from ettin_retrieval.runtime.process import prepare_process
from ettin_retrieval.settings.load import load_settings
from ettin_retrieval.settings.schema import Settings

logger = logging.getLogger("ettin_retrieval")

COSTS = Path("data/costs.json")
"""Seconds and peak memory of each stage's last run on this machine. Neither git nor DVC tracks
them, because they differ from run to run."""

Paths = dict[str, Path]
Run = Callable[[Settings, Paths], str | None]


def run_stage(stage: str, run: Run, *, reads: Sequence[str] = (), writes: Sequence[str]) -> None:
    """Parse the paths, validate the settings, run the stage and log one line.

    Parameters
    ----------
    stage
        Name of the stage, for messages.
    run
        Takes the settings and the paths by option name.
    reads, writes
        Options that take a path. What is read must exist.
    """
    parser = argparse.ArgumentParser(prog=stage)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), metavar="FILE")
    for option in [*reads, *writes]:
        parser.add_argument(f"--{option}", dest=option, type=Path, required=True, metavar="PATH")
    paths: Paths = vars(parser.parse_args())
    prepare_process()
    start = time.monotonic()
    try:
        settings = load_settings(paths.pop("params"))
        for option in reads:
            if not paths[option].exists():
                raise InputError(f"{paths[option]}: no such file or directory; run `dvc repro`")
        pin_arithmetic(settings.strict)
        summary = run(settings, paths)
    except InputError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(f"{stage}: interrupted; earlier outputs are intact, run the same command again")
    if is_first_rank():
        seconds = time.monotonic() - start
        record_cost(paths[writes[0]], seconds, settings)
        written = ", ".join(str(paths[option]) for option in writes)
        after = f"; {summary}" if summary else ""
        logger.info("%s: wrote %s in %.1f s%s", stage, written, seconds, after)


def warn_of_strict_mode(settings: Settings, precision: str) -> None:
    """Log how strict mode slows down what is about to run."""
    if is_first_rank():
        for line in strict_mode_warnings(settings.strict, settings.encoder.track, precision):
            logger.warning(line)


def record_cost(output: Path, seconds: float, settings: Settings) -> None:
    """Record what making an output took, and for which model, recipe and seed."""
    # Kilobytes on Linux, bytes on macOS.
    unit = 1024 if sys.platform != "darwin" else 1
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    cost = {"seconds": round(seconds, 1), "peak_memory_mib": peak // 2**20}
    write_json(COSTS, _read_costs() | {str(output): cost | _run_key(settings)})


def costs_of(outputs: Iterable[str], settings: Settings) -> dict[str, Any]:
    """Costs of the outputs that this machine made for the settings' model, recipe and seed."""
    wanted, key = set(outputs), _run_key(settings)
    return {
        output: {name: cost[name] for name in ("seconds", "peak_memory_mib")}
        for output, cost in _read_costs().items()
        if output in wanted and key.items() <= cost.items()
    }


def _read_costs() -> dict[str, Any]:
    return read_json(COSTS) if COSTS.is_file() else {}


def _run_key(settings: Settings) -> dict[str, Any]:
    return settings.model_dump(include={"model", "recipe", "seed"})
