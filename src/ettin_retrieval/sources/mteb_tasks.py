"""MTEB retrieval tasks by name, at their pinned revisions, as RetrievalDatasets."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

import pandas as pd

from ettin_retrieval import hub
from ettin_retrieval.errors import InputError
from ettin_retrieval.records import CORPUS, QRELS, QUERIES, Origin, RetrievalDataset, frame

GUIDE_TASKS = (
    "ArguAna", "ClimateFEVER", "CQADupstackRetrieval", "DBPedia", "FEVER", "FiQA2018",
    "HotpotQA", "MSMARCO", "NFCorpus", "NQ", "QuoraRetrieval", "SCIDOCS", "SciFact",
    "Touche2020", "TRECCOVID",
)  # fmt: skip
"""The guide's 15 tasks: the retrieval tasks of MTEB(eng, v1), which are BEIR's."""

ENG_V2_TASKS = (
    "ArguAna", "ClimateFEVERHardNegatives", "CQADupstackGamingRetrieval",
    "CQADupstackUnixRetrieval", "FEVERHardNegatives", "FiQA2018", "HotpotQAHardNegatives",
    "SCIDOCS", "Touche2020Retrieval.v3", "TRECCOVID",
)  # fmt: skip
"""The ten retrieval tasks of MTEB(eng, v2), as mteb lists them."""

CQADUPSTACK = "CQADupstackRetrieval"
CQADUPSTACK_PARTS = frozenset(
    f"CQADupstack{forum}Retrieval"
    for forum in (
        "Android", "English", "Gaming", "Gis", "Mathematica", "Physics", "Programmers", "Stats",
        "Tex", "Unix", "Webmasters", "Wordpress",
    )
)  # fmt: skip
"""Its score is the mean over these twelve tasks."""

TIERS = {"guide": GUIDE_TASKS, "eng-v2": ENG_V2_TASKS}
"""Names that `evaluation.tasks` may have in place of a list."""


def split_of(name: str) -> str:
    """The split that a task is scored on: `dev` for MSMARCO, whose test judgments are few."""
    return "dev" if name == "MSMARCO" else "test"


def expand(names: tuple[str, ...] | list[str]) -> list[str]:
    """Task names with CQADupstackRetrieval as its twelve parts, in order and without repeats.

    Raises
    ------
    InputError
        A name that is no English retrieval task of mteb's.
    """
    expanded: list[str] = []
    for name in names:
        task = _task(name)
        parts = getattr(task, "tasks", None)
        expanded.extend([part.metadata.name for part in parts] if parts else [name])
    return list(dict.fromkeys(expanded))


def load(names: tuple[str, ...] | list[str]) -> Iterator[tuple[str, RetrievalDataset]]:
    """Name and data of each task, one at a time: only one is in memory.

    Raises
    ------
    InputError
        An unknown task, or the hub cannot be reached.
    """
    tasks = [(name, _task(name)) for name in expand(names)]
    for _, task in tasks:
        dataset = task.metadata.dataset
        hub.resolve_commit(dataset["path"], dataset["revision"], "dataset")
    for name, task in tasks:
        yield name, _read(task, split_of(name))


def _read(task: Any, split: str) -> RetrievalDataset:
    dataset = task.metadata.dataset
    task = task.filter_eval_splits([split]) if hasattr(task, "filter_eval_splits") else task
    try:
        task.load_data()
    except hub.transport_errors() as error:
        raise hub.broken_off("dataset", dataset["path"], error) from None
    data = task.dataset["default"][split]
    corpus: pd.DataFrame = data["corpus"].to_pandas()
    if "title" not in corpus:
        corpus["title"] = ""
    relevant = data["relevant_docs"]
    # Sorted: mteb's own order differs from run to run.
    judgments = [(q, d, int(relevant[q][d])) for q in sorted(relevant) for d in sorted(relevant[q])]
    task.unload_data()
    return RetrievalDataset(
        corpus=corpus.fillna("")[CORPUS.names].reset_index(drop=True),
        queries=data["queries"].to_pandas()[QUERIES.names],
        qrels=frame(judgments, QRELS),
        origin=Origin(
            dataset["path"], dataset["revision"], task.metadata.license or "unknown", split
        ),
    )


def _task(name: str) -> Any:
    import mteb

    try:
        task = mteb.get_task(name)
    except KeyError:
        known = [t.metadata.name for t in mteb.get_tasks(task_types=["Retrieval"])]
        close = difflib.get_close_matches(name, known, n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else "see `mteb available-tasks`"
        raise InputError(f"params.yaml: evaluation.tasks: unknown task {name!r}; {hint}") from None
    if task.metadata.type != "Retrieval":
        raise InputError(
            f"params.yaml: evaluation.tasks: {name} is a {task.metadata.type} task of mteb's; "
            "name retrieval tasks"
        )
    return task
