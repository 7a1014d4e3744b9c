"""Study contamination: what are training queries worth that share an answer with the evaluation?

Leaving them out makes the training set smaller too, and less training may be all that a lower score
shows. So there is a control: as many other queries, which share nothing with the evaluation, are
left out instead. Only the difference between these two speaks of contamination.
"""

from __future__ import annotations

from statistics import fmean
from typing import Any

import numpy as np

from ettin_retrieval.reports.documents import Table
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.studies.difference import (
    Arm,
    Outcome,
    difference,
    intervals_in_words,
    p_value,
    spread,
)
from ettin_retrieval.studies.matched import with_train
from ettin_retrieval.studies.report import Report
from ettin_retrieval.studies.study import Study, run_study
from ettin_retrieval.tasks import full_name

ALL, SHARING, RANDOM = "all", "without-overlap", "without-random"

COMPARED = (
    ("base", ALL),
    (ALL, RANDOM),
    (ALL, SHARING),
    (RANDOM, SHARING),
)
"""The last one is the test; the others show what there is to explain."""

TITLE = "Contamination: without the queries that share an answer, and without as many others"


def run(study: Study) -> Report:
    """Train on all queries, and without either part, with every seed."""
    train = study.material.train
    clean, overlaps = study.without_overlap({"train": train})
    others = sorted(clean["train"].positives())
    overlapping = len(train.positives()) - len(others)
    concerned = [task for task in study.tasks if shares_answers(overlaps["train"], task)]
    if not overlapping or not concerned:
        nothing = "no training query shares a relevant passage with the evaluation: nothing to test"
        return Report(TITLE, [], [nothing.capitalize() + "."], {}, nothing)
    if overlapping >= len(others):
        raise InputError(
            f"contamination: {overlapping:,} training queries share an answer with the evaluation "
            f"and {len(others):,} do not, too few to leave out as many; give more training queries"
        )
    trained: dict[str, dict[int, Outcome]] = {ALL: {}, SHARING: {}, RANDOM: {}}
    amounts: dict[str, list[tuple[int, int]]] = {name: [] for name in trained}
    for seed in study.params.seeds:
        seeded = study.params.varied(study.settings, {"seed": seed})
        left_out = set(np.random.default_rng(seed).permutation(others)[:overlapping].tolist())
        kept = [query for query in train.positives() if query not in left_out]
        materials = {
            ALL: study.material,
            SHARING: with_train(study.material, clean["train"]),
            RANDOM: with_train(study.material, train.with_queries(kept)),
        }
        for name, material in materials.items():
            trained[name][seed] = study.train(name, seeded, material)
            amounts[name].append((len(material.train.queries), len(material.pairs or [])))
    arms: dict[str, Arm] = {"base": study.base(), **trained}
    found = conclusion(arms, concerned)
    return Report(
        title=TITLE,
        tables=[scores_table(arms, amounts, concerned), comparisons(arms, concerned)],
        notes=[
            f"Scores are nDCG@10 in points (x100). {overlapping:,} training queries share their "
            "text or a relevant passage with a query of the evaluation. Random ones share nothing, "
            "and are drawn by the seed.",
            intervals_in_words(study.params.seeds),
            "p: two-sided paired randomisation test over the queries, each with its mean over "
            "these seeds: it does not know of others.",
            study.rate_in_words(),
            f"Epochs: {study.settings.epochs}, the last weights kept. `{SHARING}` and `{RANDOM}` "
            f"have as many queries; `{ALL}` has more, and takes more steps.",
            f"{found.capitalize()}.",
        ],
        arms=arms,
        summary=found,
    )


def shares_answers(overlaps: dict[str, Any], task: str) -> bool:
    """Whether a training query has a relevant passage that is relevant in the task too."""
    of_task = overlaps["tasks"].get(task) or overlaps["tasks"].get(full_name(task), {})
    return bool(of_task.get("queries_with_the_same_answer"))


def scores_table(
    arms: dict[str, Arm], amounts: dict[str, list[tuple[int, int]]], tasks: list[str]
) -> Table:
    """What each encoder was trained on, means over seeds, and scored on the tasks concerned."""

    def scores(arm: Arm, task: str) -> list[float]:
        # Per query: the flat scores have no forum of CQADupstackRetrieval by itself.
        frames = (outcome.queries for outcome in arm.values())
        return [float(of["ndcg_at_10"][of["task"] == task].mean()) for of in frames]

    cells = []
    for name, arm in arms.items():
        counts = [f"{fmean(of):,.0f}" for of in zip(*amounts.get(name, [(0, 0)]), strict=True)]
        cells.append((name, *counts, *(spread(scores(arm, task)) for task in tasks)))
    columns = ("Trained on", "Queries", "Pairs", *tasks)
    return Table("nDCG@10 on the tasks concerned", columns, tuple(cells))


def comparisons(arms: dict[str, Arm], tasks: list[str]) -> Table:
    """Differences on each task concerned, with interval and p."""
    cells = tuple(
        (
            task,
            f"{other} - {one}",
            *difference(arms[one], arms[other], [task]).cells,
            p_value(arms[one], arms[other], task),
        )
        for task in tasks
        for one, other in COMPARED
    )
    columns = ("Task", "Compared", "Difference", "95% interval", "p")
    return Table("Differences of nDCG@10", columns, cells, labels=2)


def conclusion(arms: dict[str, Arm], tasks: list[str]) -> str:
    """What the control says, over all tasks concerned."""
    found = difference(arms[RANDOM], arms[SHARING], tasks)
    change, interval = found.cells
    verdict = found.verdict(
        "the queries that share an answer are worth less than others",
        "the queries that share an answer are worth more than others",
    )
    return f"{verdict}: without them {change} points ({interval}) against without as many others"


if __name__ == "__main__":
    run_study("contamination", run, reads=["heldout"])
