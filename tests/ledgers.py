"""Small ledgers and references, made by hand."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ettin_retrieval.ledger.entry import Entry, Lengths, Measurement
from ettin_retrieval.ledger.provenance import run_reference
from ettin_retrieval.ledger.store import QUERY_METRICS, write_measurement
from ettin_retrieval.reports.measured import Measured
from ettin_retrieval.reports.references import Key, read_references
from ettin_retrieval.reports.view import View
from ettin_retrieval.tasks import CQADUPSTACK, CQADUPSTACK_PARTS
from tests.workspace import ROOT

EXPECTED = ROOT / "expected"
"""The committed references."""

Scores = Mapping[str, float | Sequence[float]]
"""Task to its score, or to those of its queries q0, q1, ..."""

Cut = Mapping[str, tuple[float, float]]
"""Task to the shares of queries and passages longer than the encoder reads."""

V1, V2 = "MTEB(eng, v1)", "MTEB(eng, v2)"


def measurement(
    model: str,
    checkpoint: str,
    scores: Scores,
    *,
    seed: int = 42,
    recipe: str = "guide",
    flat: Mapping[str, float] | None = None,
    weights: str | None = None,
    precision: str = "fp32",
    lengths: Lengths = (64, 512),
    cut: Cut | None = None,
    outputs: str | None = "d1",
    **record: Any,
) -> Measurement:
    """What one run measured; nDCG@10 and MRR@10 are the same.

    Parameters
    ----------
    recipe
        Of the run, and of a fine-tuned checkpoint.
    flat
        Further flat metrics, such as averages; they come first.
    weights, outputs
        The checkpoint's fingerprint, by default one for each seed, and the digest of the outputs
        behind it.
    lengths
        Where queries and passages are cut.
    cut
        Task to the shares of queries and passages that are; those of other tasks are not known.
    record
        Of the run.
    """
    by_query = {t: [s, s] if isinstance(s, float | int) else s for t, s in scores.items()}
    named = [
        (name, values)
        for task, values in by_query.items()
        for name in (sorted(CQADUPSTACK_PARTS - set(scores)) if task == CQADUPSTACK else [task])
    ]
    rows = [(n, f"q{i}", float(s), float(s)) for n, values in named for i, s in enumerate(values)]
    means = {task: sum(values) / len(values) for task, values in by_query.items()}
    reference = run_reference(recipe, seed, record)
    entry = Entry(
        model=model,
        checkpoint=checkpoint,
        seed=seed,
        recipe=recipe if checkpoint == "finetuned" else None,
        scores={**(flat or {})}
        | {f"{task}.{metric}": mean for task, mean in means.items() for metric in QUERY_METRICS},
        tasks={
            name: {"split": _split(name), "queries": len(values)} | _cut((cut or {}).get(name))
            for name, values in named
        },
        weights={
            "fingerprint": weights or f"w{seed}",
            "max_query_length": lengths[0],
            "max_passage_length": lengths[1],
        },
        precision=precision,
        runs=[{"run": reference, "outputs_sha256": outputs, "tasks": [name for name, _ in named]}],
    )
    queries = pd.DataFrame(rows, columns=["task", "query_id", *QUERY_METRICS])
    return Measurement(entry, queries, {reference: dict(record)})


def _cut(shares: tuple[float, float] | None) -> dict[str, Any]:
    if shares is None:
        return {}
    queries, passages = ([round(1000 * share), 1000] for share in shares)
    return {"cut": {"queries": queries, "passages": passages}}


def _split(task: str) -> str:
    # As `split_of`, which imports mteb for tasks that it does not know.
    return "dev" if task.endswith("MSMARCO") else "test"


def write(results: Path, model: str, checkpoint: str, scores: Scores, **given: Any) -> str:
    """Add what one run measured to a ledger; see `measurement`."""
    return write_measurement(results, measurement(model, checkpoint, scores, **given))


def measured(entries: list[Entry], key: Key) -> Measured:
    """The entries' score for a key, with the committed benchmarks."""
    return View(Path(), entries, read_references(EXPECTED)).measured(key)


def references(directory: Path) -> Path:
    """A copy of the committed references in which nothing is recorded."""
    directory.mkdir(parents=True)
    for path in EXPECTED.glob("*.yaml"):
        text = path.read_text(encoding="utf-8")
        if path.stem == "recorded":
            text = re.sub(
                r"^benchmarks:.*", "benchmarks: {}\nvalues: []\n", text, flags=re.M | re.S
            )
        (directory / path.name).write_text(text, encoding="utf-8")
    return directory


def tiny_ledger(directory: Path) -> tuple[Path, Path]:
    """Ledger of model tiny on two tasks of four queries, and references with nothing recorded."""
    results = directory / "results"
    write(results, "tiny", "base", {"TinyMSMARCO": [0, 0, 0, 1], "TinySciFact": [0, 0, 0, 1]})
    tuned: Scores = {"TinyMSMARCO": [0, 0, 1, 1], "TinySciFact": [0, 0.5, 1, 1]}
    write(results, "tiny", "finetuned", tuned)
    return results, references(directory / "expected")
