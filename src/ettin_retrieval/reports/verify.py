"""TODO: reports.verify."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from ettin_retrieval.ledger.entry import Entry
from ettin_retrieval.ledger.store import read_ledger
from ettin_retrieval.reports.measure import average, judge, measure, scored_tasks, task_score
from ettin_retrieval.reports.references import (
    REFERENCES,
    TINY,
    Figure,
    read_reference,
    read_references,
)
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.tasks import AVERAGE

RECORDED_TOLERANCE = "0.000001"
"""Strict mode gives the same ranks everywhere. One passage one rank lower in the top ten, for one
query among MSMARCO's 6,980, moves the mean by more than this; the rounding of a sum by less."""


def verify(results: Path, expected: Path) -> int:
    """Check that the ledger meets every recorded score, and print what does not.

    Returns
    -------
    0 where every value is met; 1 where one differs, is missing, or nothing is recorded.
    """
    references = read_references(expected)
    entries = read_ledger(results)
    failed = 0
    for value in references.recorded:
        measured = measure(entries, value, references.benchmarks)
        verdict = judge(measured.value, value)
        if verdict == "reproduced":
            continue
        failed += 1
        if measured.value is None:
            why = f"not run{f' ({measured.reason})' if measured.reason else ''}"
            print(f"{value.name}: {why}, recorded {value.value:.6f}")
        else:
            difference = measured.value - value.value
            print(
                f"{value.name}: {measured.value:.6f} is {verdict} the recorded "
                f"{value.value:.6f} by {abs(difference):.6f}; allowed {value.tolerance:g}"
            )
    total = len(references.recorded)
    if total == 0:
        print(f"{expected / 'recorded.yaml'}: nothing is recorded, so nothing was verified")
        return 1
    print(f"{total - failed} of {total} recorded scores reproduced")
    return 1 if failed else 0


def record(results: Path, expected: Path, models: tuple[str, ...] = ("tiny",)) -> int:
    """Write recorded.yaml from the ledger, in place of what it holds of these models.

    Returns
    -------
    How many values the file has now.

    Raises
    ------
    InputError
        A model has no entry in the ledger.
    """
    path = expected / "recorded.yaml"
    files = [expected / f"{name}.yaml" for name in REFERENCES]
    known = {n: t for f in files if f.is_file() for n, t in read_reference(f).benchmarks.items()}
    old = read_reference(path).values if path.is_file() else []
    values = [value for value in old if value.model not in models]
    entries = read_ledger(results)
    for model in models:
        own = [entry for entry in entries if entry.model == model]
        if not own:
            raise InputError(f"{results / model}: no entry in the ledger; run `dvc repro` first")
        for entry in own:
            if AVERAGE in entry.scores and all(task.startswith("Tiny") for task in entry.tasks):
                known[TINY] = {task: str(entry.tasks[task]["split"]) for task in entry.tasks}
            values.extend(_figures(entry, known))
    embedded = {name: tasks for name, tasks in known.items() if name == TINY}
    path.write_text(_recorded_text(embedded, values), encoding="utf-8", newline="\n")
    return len(values)


def _figures(entry: Entry, benchmarks: dict[str, dict[str, str]]) -> list[Figure]:
    """What is recorded of an entry: nDCG@10 and MRR@10 of every task, and the average."""
    tasks = scored_tasks(entry)
    found: list[tuple[str, str | None, str, float]] = [
        (name, None, "ndcg_at_10", mean)
        for name, splits in benchmarks.items()
        if splits.items() <= tasks.items() and (mean := average(entry, splits)) is not None
    ]
    for task, split in tasks.items():
        for metric in ("ndcg_at_10", "mrr_at_10"):
            if (score := task_score(entry, task, metric)) is not None:
                found.append((task, split, metric, score))
    return [
        Figure.model_validate(
            {"model": entry.model, "checkpoint": entry.checkpoint, "recipe": entry.recipe}
            | {"seed": entry.seed}
            | {"task": task, "split": split, "metric": metric, "value": value}
        )
        for task, split, metric, value in found
    ]


def _recorded_text(benchmarks: dict[str, dict[str, str]], values: list[Figure]) -> str:
    """recorded.yaml in one fixed form; JSON's scalars and mappings are YAML's too."""
    lines = [
        "# This repository's own scores, which every run must meet again (`make verify`).",
        "# Written by `python -m ettin_retrieval.expected`; do not edit by hand.",
        "source: this repository's results ledger",
        "unit: fraction      # 0 to 1, as the ledger has them",
        f"tolerance: {RECORDED_TOLERANCE} # less than one passage one rank lower for one query",
        "seeds: 1            # every value is one run; its seed is given with it",
        f"benchmarks: {json.dumps(benchmarks, sort_keys=True)}",
    ]
    rows = [json.dumps(v.model_dump(exclude_none=True), ensure_ascii=False) for v in values]
    lines += ["values:", *(f"  - {row}" for row in rows)] if rows else ["values: []"]
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Entry point of `python -m ettin_retrieval.expected`: write recorded.yaml."""
    parser = argparse.ArgumentParser(
        prog="python -m ettin_retrieval.expected",
        description="Write recorded.yaml from the ledger.",
    )
    parser.add_argument("--results", type=Path, default=Path("results"), metavar="PATH")
    parser.add_argument("--expected", type=Path, default=Path("expected"), metavar="PATH")
    parser.add_argument(
        "--model", action="append", help="record this model (default: tiny); may be repeated"
    )
    given = parser.parse_args(arguments)
    try:
        count = record(given.results, given.expected, tuple(given.model or ["tiny"]))
    except InputError as error:
        sys.exit(f"error: {error}")
    print(f"{given.expected / 'recorded.yaml'}: {count} values")
    return 0


if __name__ == "__main__":
    sys.exit(main())
