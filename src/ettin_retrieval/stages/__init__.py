"""One thin command per stage of dvc.yaml: `python -m ettin_retrieval.stages.NAME --PATH ...`.

A stage reads the files that earlier stages wrote, calls one library function, writes its files.
Every stage validates the whole of params.yaml before it does anything else.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

from ettin_retrieval.determinism import pin_arithmetic, pinning_costs
from ettin_retrieval.errors import InputError
from ettin_retrieval.params import Settings, load_settings
from ettin_retrieval.provenance import note_cost

logger = logging.getLogger("ettin_retrieval")

Paths = dict[str, Path]
Body = Callable[[Settings, Paths], str | None]


def tell_pinning(settings: Settings, precision: str) -> None:
    """Warn where strict mode slows down what is about to run; the first process does."""
    if int(os.environ.get("RANK", "0")) == 0:
        for line in pinning_costs(settings.strict, settings.encoder.track, precision):
            logger.warning(line)


def run_stage(
    name: str, body: Body, *, reads: list[str], writes: list[str], package: str = "stages"
) -> None:
    """Parse paths, validate params.yaml, pin arithmetic, run the body, log one line.

    Parameters
    ----------
    body
        Takes the settings and the paths by option name; what it returns ends the log line.
    reads, writes
        Names of the path options. What is read must exist.
    package
        Where the stage's module is: `stages`, or `studies`.
    """
    parser = argparse.ArgumentParser(prog=f"python -m ettin_retrieval.{package}.{name}")
    for option in [*reads, *writes]:
        parser.add_argument(f"--{option}", type=Path, required=True, metavar="PATH")
    arguments = vars(parser.parse_args())
    paths: Paths = {option: arguments[option.replace("-", "_")] for option in [*reads, *writes]}
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logger.setLevel(logging.INFO)
    # Libraries' notices about their own future; what matters to the user is raised or logged here.
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    # The libraries' modules are a million objects that stay; collecting among them while they
    # are imported takes a second of each stage.
    gc.set_threshold(100_000, 20, 20)
    start = time.monotonic()
    try:
        settings = load_settings("params.yaml")
        for option in reads:
            if not paths[option].exists():
                raise InputError(f"{paths[option]}: no such file or directory; run `dvc repro`")
        pin_arithmetic(settings.strict)
        told = body(settings, paths)
    except InputError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(f"{name}: interrupted; earlier outputs are intact, run the same command again")
    if int(os.environ.get("RANK", "0")) > 0:
        return  # of the processes that torchrun started, the first one writes and tells
    read = ", ".join(str(paths[o]) for o in reads) or "nothing"
    written = ", ".join(str(paths[o]) for o in writes)
    seconds = time.monotonic() - start
    made_for = {"model": settings.model, "recipe": settings.recipe, "seed": settings.seed}
    note_cost(paths[writes[0]], seconds, made_for)
    logger.info(
        "%s: read %s; wrote %s in %.1f s%s",
        name,
        read,
        written,
        seconds,
        f"; {told}" if told else "",
    )
