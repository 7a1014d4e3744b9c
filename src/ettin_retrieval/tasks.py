"""Retrieval tasks: which of them a benchmark has, their names and splits, and their averages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ettin_retrieval.runtime.errors import InputError

METRICS = ("ndcg_at_10", "mrr_at_10", "recall_at_100", "map_at_100")
"""Metrics kept per query, under mteb's names."""

GUIDE_TASKS = (
    "ArguAna", "ClimateFEVER", "CQADupstackRetrieval", "DBPedia", "FEVER", "FiQA2018",
    "HotpotQA", "MSMARCO", "NFCorpus", "NQ", "QuoraRetrieval", "SCIDOCS", "SciFact",
    "Touche2020", "TRECCOVID",
)  # fmt: skip
"""The 15 retrieval tasks of MTEB(eng, v1), which are BEIR's: the guide averages over them."""

ENG_V2_TASKS = (
    "ArguAna", "ClimateFEVERHardNegatives", "CQADupstackGamingRetrieval",
    "CQADupstackUnixRetrieval", "FEVERHardNegatives", "FiQA2018", "HotpotQAHardNegatives",
    "SCIDOCS", "Touche2020Retrieval.v3", "TRECCOVID",
)  # fmt: skip
"""The ten retrieval tasks of MTEB(eng, v2): the Ettin paper averages over them."""

PAPER_TASKS = (*ENG_V2_TASKS, "MSMARCO")
"""What the paper's columns need: the tasks of its average, and MSMARCO, which it has by itself."""

BENCHMARK_TASKS = tuple(dict.fromkeys((*GUIDE_TASKS, *ENG_V2_TASKS)))
"""The tasks of both benchmarks: what training is decontaminated against by default."""

TINY_TASKS = ("TinyDBPedia", "TinyMSMARCO", "TinyNFCorpus", "TinySciFact")
"""The tasks of the offline world."""

TIERS = {"guide": GUIDE_TASKS, "eng-v2": ENG_V2_TASKS, "paper": PAPER_TASKS}
"""Tiers of mteb tasks that `evaluation.tasks` and `data.heldout` accept instead of a list."""

TASKS_KEY = "evaluation.tasks"
"""The setting that names tasks, for messages."""

CQADUPSTACK = "CQADupstackRetrieval"
CQADUPSTACK_FORUMS = (
    "android", "english", "gaming", "gis", "mathematica", "physics", "programmers", "stats",
    "tex", "unix", "webmasters", "wordpress",
)  # fmt: skip
CQADUPSTACK_PARTS = frozenset(f"CQADupstack{f.capitalize()}Retrieval" for f in CQADUPSTACK_FORUMS)
"""The score of `CQADUPSTACK` is the mean over these twelve tasks."""

BEIR_TASKS = {
    "arguana": "ArguAna", "climate-fever": "ClimateFEVER", "dbpedia-entity": "DBPedia",
    "fever": "FEVER", "fiqa": "FiQA2018", "hotpotqa": "HotpotQA", "msmarco": "MSMARCO",
    "nfcorpus": "NFCorpus", "nq": "NQ", "quora": "QuoraRetrieval", "scidocs": "SCIDOCS",
    "scifact": "SciFact", "trec-covid": "TRECCOVID", "webis-touche2020": "Touche2020",
    **{f"cqadupstack/{f}": f"CQADupstack{f.capitalize()}Retrieval" for f in CQADUPSTACK_FORUMS},
}  # fmt: skip
"""Directory name of a collection in BEIR's archives to mteb's name of the task."""

SUBSAMPLED = "-subsampled-"
"""Marks the name of a task whose corpus is cut; the maximum size follows."""

AVERAGE = "mteb_avg_ndcg_at_10"
"""Mean nDCG@10 over the guide's 15 tasks, or over the four of the offline world."""

AVERAGE_ENG_V2 = "mteb_eng_v2_avg_ndcg_at_10"
"""Mean nDCG@10 over the ten tasks of MTEB(eng, v2)."""

AVERAGE_OWN = "own_avg_ndcg_at_10"
"""Mean nDCG@10 over all collections of `local.benchmark`, if all are the user's own."""


def full_name(name: str) -> str:
    """The task that a subsampled task is a part of.

    >>> full_name("FEVER-subsampled-100000"), full_name("FEVER")
    ('FEVER', 'FEVER')
    """
    return name.partition(SUBSAMPLED)[0]


def cqadupstack_parts(names: Iterable[str]) -> list[str]:
    """The twelve parts of CQADupstackRetrieval in order of name; empty unless all are present.

    >>> cqadupstack_parts(["CQADupstackTexRetrieval", "SciFact"])
    []
    """
    return sorted(CQADUPSTACK_PARTS) if set(names) >= CQADUPSTACK_PARTS else []


def flat_metrics(
    scores: Mapping[str, Mapping[str, float]], *, own: bool = False
) -> dict[str, float]:
    """Flat keys such as `SciFact.ndcg_at_10`, after the averages of complete benchmarks.

    The twelve parts of CQADupstackRetrieval are reported as their mean if all twelve are scored.
    The two parts that belong to MTEB(eng, v2) keep their own keys if that benchmark is complete.

    Parameters
    ----------
    scores
        Task to metric to mean over queries.
    own
        Whether these are all collections of the user's benchmark. They are averaged too, unless
        one is a task of mteb's benchmarks, whole or subsampled: a part of a benchmark has no
        average, and a task may be there beside its parts or its own smaller edition.

    Examples
    --------
    >>> one = dict.fromkeys(METRICS, 0.5)
    >>> list(flat_metrics({"SciFact": one}))[0], list(flat_metrics({"Docs": one}, own=True))[0]
    ('SciFact.ndcg_at_10', 'own_avg_ndcg_at_10')
    """
    v2 = set(ENG_V2_TASKS) if set(scores) >= set(ENG_V2_TASKS) else set()
    parts = set(cqadupstack_parts(scores))
    reported: dict[str, Mapping[str, float]] = {
        name: values for name, values in scores.items() if name not in parts or name in v2
    }
    if parts:
        reported[CQADUPSTACK] = {m: _mean(scores[p][m] for p in sorted(parts)) for m in METRICS}
    averages: dict[str, Iterable[str]] = {}
    for tasks in (GUIDE_TASKS, TINY_TASKS):
        if set(reported) >= set(tasks):
            averages[AVERAGE] = tasks
    if v2:
        averages[AVERAGE_ENG_V2] = v2
    named = {*GUIDE_TASKS, *ENG_V2_TASKS, *CQADUPSTACK_PARTS, *TINY_TASKS}
    if own and not averages and not any(n in named or full_name(n) != n for n in reported):
        averages[AVERAGE_OWN] = reported
    return {
        key: _mean(reported[name]["ndcg_at_10"] for name in sorted(tasks))
        for key, tasks in averages.items()
    } | {f"{name}.{m}": reported[name][m] for name in sorted(reported) for m in METRICS}


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed)


def split_of(name: str) -> str:
    """The split a task is scored on: `dev` for MSMARCO, whose test split has 43 queries.

    A collection that mteb does not know is scored on `test`.

    Raises InputError if the task exists in mteb but cannot be scored here.
    """
    # Importing mteb takes seconds, so the common names are decided without it.
    if name in {*GUIDE_TASKS, *ENG_V2_TASKS, *CQADUPSTACK_PARTS, *TINY_TASKS}:
        return "dev" if name.endswith("MSMARCO") else "test"
    import mteb

    try:
        known = mteb.get_task(name).metadata.type == "Retrieval"
    except KeyError:
        known = False
    return str(mteb_task(name).metadata.eval_splits[0]) if known else "test"


def task_of_directory(directory: Path) -> tuple[str, str]:
    """Name and split of the task that a BEIR directory holds.

    A directory named as BEIR or mteb names a collection is scored as mteb's task. Any other
    collection is named after its directory and scored on `test`.

    >>> task_of_directory(Path("data/beir/msmarco")), task_of_directory(Path("cqadupstack/gis"))
    (('MSMARCO', 'dev'), ('CQADupstackGisRetrieval', 'test'))

    Raises InputError if it is named after an mteb task that cannot be scored here.
    """
    name = name_of_directory(directory)
    return name, split_of(name)


def name_of_directory(directory: Path) -> str:
    """Name of the task that a BEIR directory holds, without a look at mteb."""
    directory = directory.resolve()
    known = BEIR_TASKS | {task.lower(): task for task in BEIR_TASKS.values()}
    for spelling in (f"{directory.parent.name}/{directory.name}", directory.name):
        if spelling.lower() in known:
            return known[spelling.lower()]
    return directory.name


def mteb_names(wanted: list[str] | str) -> list[str]:
    """Names of mteb tasks that a tier or a list means; every other tier means the guide's.

    >>> len(mteb_names("auto")), len(mteb_names("eng-v2")), mteb_names(["SciFact"])
    (15, 10, ['SciFact'])
    """
    return list(TIERS.get(wanted, GUIDE_TASKS)) if isinstance(wanted, str) else wanted


def expand(names: Iterable[str], key: str = TASKS_KEY) -> list[str]:
    """Task names with CQADupstackRetrieval replaced by its twelve parts, without repeats.

    Raises InputError, which names the setting `key`, if one is not an English retrieval task of
    mteb.
    """
    return [mteb_task(name, key).metadata.name for name in in_parts(names)]


def in_parts(names: Iterable[str]) -> list[str]:
    """As `expand`, without a look at mteb.

    >>> in_parts(["SciFact", "SciFact"]), len(in_parts(["CQADupstackRetrieval"]))
    (['SciFact'], 12)
    """
    parts: list[str] = []
    for name in names:
        parts += sorted(CQADUPSTACK_PARTS) if name == CQADUPSTACK else [name]
    return list(dict.fromkeys(parts))


def not_held_out(scored: Iterable[str], heldout: Iterable[str]) -> list[str]:
    """The scored tasks that are not in a held-out list: training may have their queries.

    >>> not_held_out(["CQADupstackTexRetrieval", "NQ-subsampled-9", "Deeds"], BENCHMARK_TASKS)
    ['Deeds']
    """
    known = set(in_parts(heldout))
    return [name for name in in_parts(scored) if full_name(name) not in known]


def ignores_own_id(name: str) -> bool:
    """Whether a task leaves out a query's hit on the passage that has the query's id.

    mteb does for some tasks, such as ArguAna, whose queries are passages (`ignore_identical_ids`).
    For a collection that it does not know such a hit counts like any other.
    """
    import mteb

    try:
        return bool(getattr(mteb.get_task(full_name(name)), "ignore_identical_ids", False))
    except KeyError:
        return False


def mteb_task(name: str, key: str = TASKS_KEY) -> Any:
    """An mteb task of English texts with one subset and one split; nothing is downloaded.

    Raises
    ------
    InputError
        The name is unknown, or the task is of another kind; the message names the setting `key`.
    """
    import mteb

    key = f"params.yaml: {key}"
    try:
        task = mteb.get_task(name)
    except KeyError:
        known = [t.metadata.name for t in mteb.get_tasks(task_types=["Retrieval"])]
        close = difflib.get_close_matches(name, known, n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else "see `mteb available-tasks`"
        raise InputError(f"{key}: unknown task {name!r}; {hint}") from None
    metadata = task.metadata
    reasons = {
        f"is a {metadata.type} task": metadata.type != "Retrieval",
        "is an aggregate of tasks": getattr(task, "tasks", None),
        f"is in {', '.join(sorted(metadata.languages))}": set(metadata.languages) != {"eng"},
        "has several subsets": isinstance(metadata.eval_langs, dict),
        f"has {', '.join(metadata.modalities)}": metadata.modalities != ["text"],
        f"has the splits {', '.join(metadata.eval_splits)}": len(metadata.eval_splits) != 1,
    }
    for reason, applies in reasons.items():
        if applies:
            raise InputError(
                f"{key}: {name} {reason}; name retrieval tasks of English texts with one subset "
                "and one split"
            )
    return task
