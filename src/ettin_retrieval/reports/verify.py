"""Recorded scores of this repository: write them, and check that the ledger meets them again."""

from __future__ import annotations

import json
from pathlib import Path

from ettin_retrieval.ledger.entry import Entry
from ettin_retrieval.ledger.store import QUERY_METRICS, read_ledger
from ettin_retrieval.reports.references import FILES, Expected, Key, Reference, References, judge
from ettin_retrieval.reports.view import TINY, View, scored_tasks
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.settings.load import read_as
from ettin_retrieval.tasks import TINY_TASKS, split_of

HEADER = """\
# This repository's own scores, which every run must meet again (`make verify`).
# Written by `ettin-retrieval record`; do not edit by hand.
source: this repository's results ledger
unit: fraction      # 0 to 1, as in the ledger
tolerance: 0.000001 # less than one passage one rank lower for one query
seeds: 1            # every value is one run; its seed is given with it
"""
"""Of recorded.yaml. Strict mode gives the same ranks everywhere: if one passage moves down one rank
in the top ten of one query among MSMARCO's 6,980, the mean moves by more than the tolerance; the
rounding of a sum moves it by less."""


def verify(results: Path, expected: Path) -> list[str]:
    """Recorded scores that the ledger does not meet, one line each, and a summary line.

    Raises
    ------
    InputError
        Nothing is recorded.
    """
    view = View.read(results, expected)
    recorded = view.references.recorded
    if not recorded:
        raise InputError(
            f"{expected / 'recorded.yaml'}: nothing is recorded, so nothing can be verified"
        )
    failed = []
    for value in recorded:
        check = view.check(value.key, value)
        # The same run must give the same number: no interval over seeds excuses a difference.
        verdict = judge(check.measured.value, value.value, value.tolerance)
        if check.difference is None:
            failed.append(f"{value.key}: {check.measured}, recorded {value.value:.6f}")
        elif verdict != "reproduced":
            failed.append(
                f"{value.key}: {check.measured.value:.6f} is {verdict} the recorded "
                f"{value.value:.6f} by {abs(check.difference):.6f}; allowed {value.tolerance:g}"
            )
    reproduced = len(recorded) - len(failed)
    return [*failed, f"{reproduced} of {len(recorded)} recorded scores reproduced"]


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
    paths = {name: expected / f"{name}.yaml" for name in FILES}
    files = {name: read_as(Reference, path) for name, path in paths.items() if path.is_file()}
    tiny = {task: split_of(task) for task in TINY_TASKS}
    benchmarks = {name: tasks for file in files.values() for name, tasks in file.benchmarks.items()}
    view = View(
        results, read_ledger(results), References([], [], [], [], benchmarks | {TINY: tiny})
    )
    old = files["recorded"].values if "recorded" in files else []
    values = [value for value in old if value.model not in models]
    for model in models:
        entries = [entry for entry in view.entries if entry.model == model]
        if not entries:
            raise InputError(f"{results / model}: no entry in the ledger; run `dvc repro` first")
        values += [value for entry in entries for value in _recorded(view, entry)]
    # JSON's scalars and mappings are YAML's too.
    rows = [json.dumps(v.model_dump(exclude_defaults=True), ensure_ascii=False) for v in values]
    lines = [f"benchmarks: {json.dumps({TINY: tiny}, sort_keys=True)}"]
    lines += ["values:", *(f"  - {row}" for row in rows)] if rows else ["values: []"]
    text = HEADER + "\n".join(lines) + "\n"
    paths["recorded"].write_text(text, encoding="utf-8", newline="\n")
    return len(values)


def _recorded(view: View, entry: Entry) -> list[Expected]:
    """An entry's averages in nDCG@10, then nDCG@10 and MRR@10 of every task."""
    arm = (entry.model, entry.checkpoint, entry.recipe)
    keys = [Key(*arm, name, None, "ndcg_at_10", entry.seed) for name in view.references.benchmarks]
    keys += [
        Key(*arm, task, split, metric, entry.seed)
        for task, split in scored_tasks(entry).items()
        for metric in QUERY_METRICS
    ]
    scores = [(key, view.measured(key).value) for key in keys]
    return [Expected(**key._asdict(), value=value) for key, value in scores if value is not None]
