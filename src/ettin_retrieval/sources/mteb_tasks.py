"""MTEB retrieval tasks by name, at their pinned revisions, as RetrievalDatasets."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path
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
CQADUPSTACK_FORUMS = (
    "android", "english", "gaming", "gis", "mathematica", "physics", "programmers", "stats",
    "tex", "unix", "webmasters", "wordpress",
)  # fmt: skip
CQADUPSTACK_PARTS = frozenset(f"CQADupstack{f.capitalize()}Retrieval" for f in CQADUPSTACK_FORUMS)
"""Its score is the mean over these twelve tasks."""

BEIR_TASKS = {
    "arguana": "ArguAna",
    "climate-fever": "ClimateFEVER",
    "dbpedia-entity": "DBPedia",
    "fever": "FEVER",
    "fiqa": "FiQA2018",
    "hotpotqa": "HotpotQA",
    "msmarco": "MSMARCO",
    "nfcorpus": "NFCorpus",
    "nq": "NQ",
    "quora": "QuoraRetrieval",
    "scidocs": "SCIDOCS",
    "scifact": "SciFact",
    "trec-covid": "TRECCOVID",
    "webis-touche2020": "Touche2020",
} | {f"cqadupstack/{f}": f"CQADupstack{f.capitalize()}Retrieval" for f in CQADUPSTACK_FORUMS}
"""BEIR's name of a collection, as its archives unpack, to mteb's name of the task on it."""

TIERS = {"guide": GUIDE_TASKS, "eng-v2": ENG_V2_TASKS}
"""Names that `evaluation.tasks` may have in place of a list."""


def split_of(name: str) -> str:
    """The split that a task is scored on: `dev` for MSMARCO, whose test judgments are few.

    A collection that mteb does not know is scored on `test`.

    Raises
    ------
    InputError
        A task of mteb's that cannot be scored here.
    """
    # Without mteb, whose import takes seconds, where that is known.
    if name in {*GUIDE_TASKS, *ENG_V2_TASKS, *CQADUPSTACK_PARTS}:
        return "dev" if name == "MSMARCO" else "test"
    return str(_task(name).metadata.eval_splits[0]) if _is_retrieval_task(name) else "test"


def task_of_directory(directory: Path) -> tuple[str, str]:
    """The task that a BEIR directory holds, and the split of it that is scored.

    A collection that mteb knows under BEIR's name (`BEIR_TASKS`) or its own is scored as mteb's
    task; any other has the name of its directory, and its split `test`.

    >>> task_of_directory(Path("data/beir/msmarco")), task_of_directory(Path("cqadupstack/gis"))
    (('MSMARCO', 'dev'), ('CQADupstackGisRetrieval', 'test'))

    Raises
    ------
    InputError
        The directory has the name of a task of mteb's that cannot be scored here.
    """
    directory = directory.resolve()
    own = directory.name
    for name in (f"{directory.parent.name}/{own}", own):
        if name.lower() in BEIR_TASKS:
            task = BEIR_TASKS[name.lower()]
            return task, split_of(task)
    known = {task.lower(): task for task in BEIR_TASKS.values()}
    if own.lower() in known:
        return known[own.lower()], split_of(known[own.lower()])
    return own, split_of(own)


def expand(names: tuple[str, ...] | list[str]) -> list[str]:
    """Task names with CQADupstackRetrieval as its twelve parts, in order and without repeats.

    Raises
    ------
    InputError
        A name that is no English retrieval task of mteb's.
    """
    expanded: list[str] = []
    for name in names:
        parts = sorted(CQADUPSTACK_PARTS) if name == CQADUPSTACK else [_task(name).metadata.name]
        expanded.extend(parts)
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
    found = RetrievalDataset(
        corpus=corpus.fillna("")[CORPUS.names].reset_index(drop=True),
        queries=data["queries"].to_pandas()[QUERIES.names],
        qrels=frame(judgments, QRELS),
        origin=Origin(
            dataset["path"], dataset["revision"], task.metadata.license or "unknown", split
        ),
    )
    where = f"{dataset['path']} {split}"
    return found.validate(
        corpus_row=lambda row: f"{where}: passage {row + 1}",
        queries_row=lambda row: f"{where}: query {row + 1}",
        qrels_row=lambda row: f"{where}: judgment {row + 1}",
        as_published=True,
    )


def _is_retrieval_task(name: str) -> bool:
    import mteb

    try:
        return bool(mteb.get_task(name).metadata.type == "Retrieval")
    except KeyError:
        return False


def _task(name: str) -> Any:
    """mteb's task, if it is one that can be read here; nothing is downloaded.

    Raises
    ------
    InputError
        An unknown name, or a task that is not one English collection of texts with one split.
    """
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
    metadata = task.metadata
    unfit = (
        (getattr(task, "tasks", None), "is an aggregate of tasks"),
        (set(metadata.languages) != {"eng"}, f"is in {', '.join(sorted(metadata.languages))}"),
        (isinstance(metadata.eval_langs, dict), "has several subsets"),
        (metadata.modalities != ["text"], f"has {', '.join(metadata.modalities)}"),
        (len(metadata.eval_splits) != 1, f"has the splits {', '.join(metadata.eval_splits)}"),
    )
    for applies, said in unfit:
        if applies:
            raise InputError(
                f"params.yaml: evaluation.tasks: {name} {said}; name retrieval tasks of English "
                "texts alone, with one subset and one split"
            )
    return task
