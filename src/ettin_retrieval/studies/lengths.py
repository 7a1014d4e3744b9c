"""Study lengths: what do scores lose where the evaluation cuts long texts?

Base and fine-tuned are scored once more on every task of which more than 1% of the queries or
passages are cut, at the most tokens that the encoder has positions for. Nothing is trained.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from ettin_retrieval.ledger.entry import MENTIONED, Lengths, in_words
from ettin_retrieval.pipeline import Paths, run_stage
from ettin_retrieval.reports.documents import Table, points, signed
from ettin_retrieval.reports.significance import TaskComparison, compare
from ettin_retrieval.runtime.files import read_json
from ettin_retrieval.settings.schema import Settings
from ettin_retrieval.studies.difference import Arm, Outcome, Scores
from ettin_retrieval.studies.report import NDCG, Report

if TYPE_CHECKING:
    from ettin_retrieval.evaluation.search import ExactSearch

logger = logging.getLogger("ettin_retrieval")

CHECKPOINTS = ("base", "finetuned")
KINDS = ("queries", "passages")


class Difference(NamedTuple):
    """A checkpoint on one task at the evaluation's lengths and at the encoder's maximum.

    `short` and `long` are what was cut at either (`evaluation.search.Cut`).
    """

    checkpoint: str
    lengths: Lengths
    maximum: Lengths
    short: Any
    long: Any
    scores: TaskComparison


def run(settings: Settings, paths: Paths) -> str:
    """Score the tasks with cut texts at the encoder's own maximum."""
    found: list[Difference] = []
    cut = {checkpoint: what_was_cut(paths["scores"] / checkpoint) for checkpoint in CHECKPOINTS}
    for checkpoint in CHECKPOINTS:
        scores = paths["scores"] / checkpoint
        if tasks := cut_tasks(cut[checkpoint]):
            found += differences(checkpoint, paths[checkpoint], scores, tasks, settings, paths)
    report = Report(
        title="Lengths: where the evaluation cuts, and the encoder's own maximum",
        tables=[
            *([lengths_table(found, settings.model)] if found else []),
            cut_table(cut, settings.model),
        ],
        notes=notes(found),
        arms=arms(found, settings.seed),
        summary=f"{len(found)} scores at two lengths",
    )
    report.write(paths["output"], "lengths", settings.model)
    return report.summary


def what_was_cut(scores: Path) -> dict[str, Any]:
    """Task to what an evaluation cut, in order of name."""
    files = sorted(scores.glob("*.cut.json"))
    return {path.name.removesuffix(".cut.json"): read_json(path) for path in files}


def cut_tasks(cut: dict[str, Any]) -> list[str]:
    """Tasks of which more than 1% of the queries or passages are cut.

    >>> cut_tasks({"A": {"queries": [0, 9], "passages": [1, 99]}, "B": {"queries": [1, 200],
    ...     "passages": [0, 9]}})
    ['A']
    """
    return [task for task, of in cut.items() if max(share(of, kind) for kind in KINDS) > MENTIONED]


def share(cut: Any, kind: str) -> float:
    """Share of the texts of a kind, `queries` or `passages`, that are cut.

    >>> share({"queries": [1, 4]}, "queries")
    0.25
    """
    number, every = cut[kind]
    return float(number / every) if every else 0.0


def differences(
    checkpoint: str,
    directory: Path,
    scores: Path,
    tasks: list[str],
    settings: Settings,
    paths: Paths,
) -> Iterator[Difference]:
    """Score a checkpoint on some tasks at its maximum, beside what the evaluation scored."""
    from ettin_retrieval.data.storage import open_dataset
    from ettin_retrieval.encoders.tokenise import cut_at
    from ettin_retrieval.evaluation.score import load_search, score_task

    search = load_search(directory, settings)
    encoder = search.encoder
    lengths, maximum = own_lengths(search)
    if lengths == maximum:
        logger.warning("%s: it is evaluated at its maximum of %s", directory, in_words(maximum))
        return
    # As many tokens in a forward pass as before: what fits a GPU at 512 tokens still does.
    factor = max(-(-m // s) for m, s in zip(maximum, lengths, strict=True) if m and s)
    search.encoder = replace(encoder, batch_size=max(1, encoder.batch_size // factor))
    with cut_at(encoder.model, {"query": maximum[0] or 0, "passage": maximum[1] or 0}):
        for task in tasks:
            long = score_task(search, task, open_dataset(paths["benchmark"] / task))
            before = pd.read_parquet(scores / f"{task}.queries.parquet")
            [comparison] = compare(
                before.assign(task=task), long.per_query.assign(task=task), seed=settings.seed
            )
            short = read_json(scores / f"{task}.cut.json")
            yield Difference(checkpoint, lengths, maximum, short, long.cut, comparison)


def own_lengths(search: ExactSearch) -> tuple[Lengths, Lengths]:
    """Where a checkpoint cuts queries and passages, and the tokens that it has positions for.

    An encoder without positions reads any length: its own is its maximum.
    """
    from ettin_retrieval.encoders.tokenise import first_module, max_length_of, positions_of

    model = search.encoder.model
    lengths = max_length_of(model, "query"), max_length_of(model, "passage")
    modules = first_module(model, "query"), first_module(model, "passage")
    positions = [positions_of(module) if hasattr(module, "model") else None for module in modules]
    return lengths, (positions[0] or lengths[0], positions[1] or lengths[1])


def lengths_table(found: list[Difference], model: str) -> Table:
    """A row for each task and checkpoint, by task."""

    def row(at: Difference) -> tuple[str, ...]:
        interval = at.scores.interval
        return (
            at.scores.task,
            at.checkpoint,
            *(f"{at.short['mean_tokens'][kind]:.0f}" for kind in KINDS),
            *(f"{share(at.short, kind):.1%}" for kind in KINDS),
            points(at.scores.base),
            points(at.scores.other),
            signed(at.scores.difference),
            " to ".join(map(signed, interval)) if interval else "one query",
            " and ".join(f"{share(at.long, kind):.1%}" for kind in KINDS),
        )

    columns = (
        "Task", "Checkpoint", "Query tokens", "Passage tokens", "Queries cut", "Passages cut",
        "Evaluated", "At the maximum", "Difference", "95% interval", "Still cut",
    )  # fmt: skip
    rows = sorted(found, key=lambda at: (at.scores.task, at.checkpoint))
    return Table(f"Model {model}, nDCG@10", columns, tuple(map(row, rows)), labels=2)


def cut_table(cut: dict[str, dict[str, Any]], model: str) -> Table:
    """Mean lengths and shares cut of every task, by the evaluation of each checkpoint."""
    rows = [
        (
            task,
            checkpoint,
            *(f"{tasks[task]['mean_tokens'][kind]:.0f}" for kind in KINDS),
            *(f"{share(tasks[task], kind):.1%}" for kind in KINDS),
        )
        for checkpoint, tasks in cut.items()
        for task in tasks
    ]
    columns = (
        "Task", "Checkpoint", "Query tokens", "Passage tokens", "Queries cut", "Passages cut",
    )  # fmt: skip
    return Table(f"Model {model}, lengths of all tasks", columns, tuple(sorted(rows)), labels=2)


def notes(found: list[Difference]) -> list[str]:
    """What the table means, or why there is none."""
    if not found:
        return [
            f"No task has more than {MENTIONED:.0%} of its queries or passages cut by an encoder "
            "that has positions for more: every score is one of whole texts, or nearly so."
        ]
    lengths = {(at.checkpoint, at.lengths, at.maximum) for at in found}
    return [
        f"Tasks of which the evaluation cuts more than {MENTIONED:.0%} of the queries or passages; "
        "scores are in points (x100), lengths are means before cutting.",
        *(
            f"{checkpoint}: evaluated at {in_words(short)} of queries and passages, at most "
            f"{in_words(long)}."
            for checkpoint, short, long in sorted(lengths)
        ),
        "Interval: bootstrap over queries. Training cuts where recipes.yaml says, so an encoder "
        "may not have learnt to read more.",
    ]


def arms(found: list[Difference], seed: int) -> dict[str, Arm]:
    """Checkpoint at a length to its scores, under one seed."""
    scores: dict[str, Scores] = {}
    for at in found:
        for lengths, score in ((at.lengths, at.scores.base), (at.maximum, at.scores.other)):
            name = f"{at.checkpoint}, {in_words(lengths)}"
            scores.setdefault(name, {})[f"{at.scores.task}{NDCG}"] = score
    return {name: {seed: Outcome(of, pd.DataFrame())} for name, of in scores.items()}


if __name__ == "__main__":
    run_stage("lengths", run, reads=["benchmark", "scores", *CHECKPOINTS], writes=["output"])
