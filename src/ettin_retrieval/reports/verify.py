"""Recorded scores of this repository: write them, and check that the ledger meets them again."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from ettin_retrieval.ledger.store import QUERY_METRICS, read_ledger
from ettin_retrieval.ledger.table import measure, of_arm, scores_table
from ettin_retrieval.reports.references import (
    FILES,
    TINY,
    Figure,
    judge,
    read_reference,
    read_references,
)
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.tasks import TINY_TASKS, split_of

TOLERANCE = "0.000001"
"""Strict mode gives the same ranks everywhere. If one passage moves down one rank in the top ten
of one query among MSMARCO's 6,980, the mean moves by more; the rounding of a sum moves it by less.
"""


def verify(results: Path, expected: Path) -> list[str]:
    """Recorded scores that the ledger does not meet, one line each, and a summary line.

    Raises
    ------
    InputError
        Nothing is recorded.
    """
    references = read_references(expected)
    total = len(references.recorded)
    if total == 0:
        raise InputError(
            f"{expected / 'recorded.yaml'}: nothing is recorded, so nothing can be verified"
        )
    scores = scores_table(read_ledger(results), references.benchmarks)
    failed = []
    for value in references.recorded:
        measured = measure(scores, value.key)
        verdict = judge(measured.value, value)
        if measured.value is None:
            why = f"not run{f' ({measured.reason})' if measured.reason else ''}"
            failed.append(f"{value.name}: {why}, recorded {value.value:.6f}")
        elif verdict != "reproduced":
            difference = abs(measured.value - value.value)
            failed.append(
                f"{value.name}: {measured.value:.6f} is {verdict} the recorded "
                f"{value.value:.6f} by {difference:.6f}; allowed {value.tolerance:g}"
            )
    return [*failed, f"{total - len(failed)} of {total} recorded scores reproduced"]


def record(results: Path, expected: Path, models: tuple[str, ...] = ("tiny",)) -> int:
    """Write recorded.yaml from the ledger, replacing what it holds of these models.

    Returns
    -------
    Number of values the file has now.

    Raises
    ------
    InputError
        A model has no entry in the ledger.
    """
    path = expected / "recorded.yaml"
    files = [expected / f"{name}.yaml" for name in FILES]
    benchmarks = {
        n: t for f in files if f.is_file() for n, t in read_reference(f).benchmarks.items()
    }
    benchmarks[TINY] = {task: split_of(task) for task in TINY_TASKS}
    old = read_reference(path).values if path.is_file() else []
    values = [value for value in old if value.model not in models]
    entries = read_ledger(results)
    scores = scores_table(entries, benchmarks)
    for model in models:
        own = [entry for entry in entries if entry.model == model]
        if not own:
            raise InputError(f"{results / model}: no entry in the ledger; run `dvc repro` first")
        for entry in own:
            rows = of_arm(scores, model, entry.checkpoint, entry.recipe)
            values += _figures(rows[rows["seed"] == entry.seed])
    path.write_text(_text({TINY: benchmarks[TINY]}, values), encoding="utf-8", newline="\n")
    return len(values)


def _figures(rows: pd.DataFrame) -> list[Figure]:
    """What is recorded of an entry: averages in nDCG@10, then nDCG@10 and MRR@10 of every task."""
    averages = rows[rows["split"].isna() & (rows["metric"] == "ndcg_at_10")]
    tasks = rows[rows["split"].notna() & rows["metric"].isin(QUERY_METRICS)]
    kept = pd.concat([averages, tasks]).dropna(subset="value")
    columns = ["model", "checkpoint", "recipe", "seed", "task", "split", "metric", "value"]
    records = kept[columns].astype(object).where(kept[columns].notna(), None).to_dict("records")
    return [Figure.model_validate(each) for each in records]


def _text(benchmarks: dict[str, dict[str, str]], values: list[Figure]) -> str:
    """recorded.yaml in one fixed form; JSON's scalars and mappings are YAML's too."""
    lines = [
        "# This repository's own scores, which every run must meet again (`make verify`).",
        "# Written by `ettin-retrieval record`; do not edit by hand.",
        "source: this repository's results ledger",
        "unit: fraction      # 0 to 1, as in the ledger",
        f"tolerance: {TOLERANCE} # less than one passage one rank lower for one query",
        "seeds: 1            # every value is one run; its seed is given with it",
        f"benchmarks: {json.dumps(benchmarks, sort_keys=True)}",
    ]
    rows = [json.dumps(v.model_dump(exclude_none=True), ensure_ascii=False) for v in values]
    lines += ["values:", *(f"  - {row}" for row in rows)] if rows else ["values: []"]
    return "\n".join(lines) + "\n"
