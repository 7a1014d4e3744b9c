"""Calibration: the published score of a known model, measured with this repository's evaluation.

A new model's score means something only if the same code reproduces published ones. The figures
are in expected/calibration.yaml. A figure counts on the texts that it was published on alone.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from ettin_retrieval.data.dataset import RetrievalDataset
from ettin_retrieval.data.judgments import flaws
from ettin_retrieval.interop import BM25_MODEL
from ettin_retrieval.interop.published_data import Collection, other_data
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.settings.load import read_as
from ettin_retrieval.settings.sections import Encoder, Positive, Section, Share, Tuning
from ettin_retrieval.tasks import CQADUPSTACK, CQADUPSTACK_PARTS, flat_metrics, split_of

if TYPE_CHECKING:
    from ettin_retrieval.evaluation.score import TaskScores

logger = logging.getLogger("ettin_retrieval")

BM25 = "bm25"

State = Literal["reproduces", "DOES NOT REPRODUCE", "other data", "not run"]


class Reference(Section):
    """A reference model: the text before each `query` and each `document`, and where both are cut.

    `length` and `revision` are None for BM25.
    """

    prompts: dict[str, str]
    length: Positive | None
    revision: str | None


class Tolerance(Section):
    """How far a figure may be off, on either side, and why so far."""

    value: Share
    reason: str


class Case(Section):
    """Published figures of a model on a task; the file explains its keys."""

    model: str
    task: str
    split: str
    revision: str | dict[str, str]
    scores: dict[str, Share]
    tolerance: str
    source: str
    stemmer: str | None
    measured_again: dict[str, Share] | None

    def revision_of(self, part: str) -> str:
        """The revision that a task, or a part of CQADupstackRetrieval, was published on."""
        return self.revision if isinstance(self.revision, str) else self.revision[part]


class Figures(Section):
    """The content of expected/calibration.yaml."""

    tolerances: dict[str, Tolerance]
    models: dict[str, Reference]
    collections: dict[str, Collection]
    cases: list[Case]


class Verdict(NamedTuple):
    """A published figure and what came of it.

    `measured` is None for a case that is not run, and for a metric without a score. `why` says why
    nothing was measured, and how to.
    """

    case: Case
    metric: str
    tolerance: float
    measured: float | None = None
    why: str = ""
    other_data: bool = False

    @property
    def state(self) -> State:
        """Whether the difference is within the tolerance, on either side."""
        if self.why:
            return "other data" if self.other_data else "not run"
        if self.measured is None:
            return "DOES NOT REPRODUCE"
        # Both are decimals: a difference of exactly the tolerance is within it.
        within = abs(self.measured - self.case.scores[self.metric]) <= self.tolerance + 1e-9
        return "reproduces" if within else "DOES NOT REPRODUCE"

    @property
    def failed(self) -> bool:
        """Whether it was to run and gave no evidence that the evaluation is right."""
        return self.state in {"DOES NOT REPRODUCE", "other data"}

    def __str__(self) -> str:
        published, measured, difference = self.case.scores[self.metric], "-", "-"
        if self.measured is not None:
            measured = f"{self.measured:.5f}"
            difference = f"{self.measured - published:+.5f}"
        return (
            f"{self.metric:<12}{measured:>10}{published:>11.5f}{difference:>12}"
            f"{self.tolerance:>11g}  {self.state}"
        )


def calibrate(
    figures: Path, model: str, task: str, beir: Path | None = None, published_as: str | None = None
) -> list[Verdict]:
    """Score a reference model on a task and compare with its published figures.

    Parameters
    ----------
    figures
        The file of published figures.
    model
        `bm25`, a sentence-transformers directory or a hub id.
    beir
        The task's data as a BEIR directory, or as one with the twelve of CQADupstackRetrieval; by
        default the revision of the figures, from the hub.
    published_as
        Which published model a directory holds.

    Raises
    ------
    InputError
        The model has no figure on the task, the directory is malformed, or the hub cannot be
        reached.
    """
    published = read_figures(figures)
    name = reference_name(model, published_as, published)
    # Whether there is a figure is known before data is read and texts are encoded.
    cases = cases_for(published, name, task, version("PyStemmer"))
    directories = None
    if beir is not None:
        directories = directories_of(beir) if task == CQADUPSTACK else {task: beir}
    return _judged(cases, published, model, directories)


def calibrate_all(
    figures: Path, data: Path | None, models: Mapping[str, Path]
) -> Iterator[list[Verdict]]:
    """Every case of the file: those whose data and model are at hand are run, one after the other.

    Parameters
    ----------
    data
        A directory of BEIR directories.
    models
        Published models to the directories that hold them; BM25 needs none.

    Yields
    ------
    The verdicts on a model and a task.

    Raises
    ------
    InputError
        A model has no figures, or a directory is malformed.
    """
    published = read_figures(figures)
    for name, directory in models.items():
        if not directory.is_dir():
            raise InputError(f"{directory}: no such directory; name one that holds {name}")
        reference_name(str(directory), name, published)
    here = {BM25_MODEL: BM25} | {name: str(path) for name, path in models.items()}
    directories = {} if data is None else directories_of(data)
    stemmer = version("PyStemmer")
    for name, task in dict.fromkeys((case.model, case.task) for case in published.cases):
        cases = [case for case in published.cases if (case.model, case.task) == (name, task)]
        runs = [case for case in cases if case.stemmer in (None, stemmer)]
        for case in cases:
            if case not in runs:
                other = f"PyStemmer is {stemmer}: pip install PyStemmer=={case.stemmer}, then "
                yield _not_run([case], published, other + _command(name, task))
        if not runs:
            continue
        if name in here and set(_parts(task)) <= set(directories):
            yield _judged(runs, published, here[name], directories)
        else:
            yield _not_run(runs, published, _command(name, task))


def directories_of(data: Path) -> dict[str, Path]:
    """Task to BEIR directory, of a directory of them."""
    from ettin_retrieval.sources import beir
    from ettin_retrieval.tasks import task_of_directory

    return {task_of_directory(path)[0]: path for path in beir.collections(data, "--data")}


def read_figures(path: Path) -> Figures:
    """Read the published figures; a file that is missing or malformed is an `InputError`."""
    figures = read_as(Figures, path)
    for kind, known in (("model", figures.models), ("tolerance", figures.tolerances)):
        unknown = {getattr(case, kind) for case in figures.cases} - set(known)
        if unknown:
            raise InputError(f"{path}: {min(unknown)} has cases but is not among the {kind}s")
    return figures


def reference_name(model: str, published_as: str | None, figures: Figures) -> str:
    """The published model that a hub id, a directory or `bm25` stands for.

    >>> one = {"org/a": Reference(prompts={}, length=512, revision="1")}
    >>> figures = Figures(models=one, cases=[], collections={}, tolerances={})
    >>> reference_name("models/mine", "org/a", figures)
    'org/a'
    """
    if model == BM25:
        return BM25_MODEL
    known = ", ".join(sorted(figures.models))
    if published_as is None and Path(model).is_dir():
        raise InputError(
            f"{model} is a directory: name the published model that it holds with --as; there are "
            f"figures of {known}"
        )
    name = published_as or model
    if name not in figures.models:
        raise InputError(f"{name}: neither a directory nor a model with figures, such as {known}")
    return name


def cases_for(figures: Figures, name: str, task: str, stemmer: str) -> list[Case]:
    """The published figures of a model on a task, with a release of PyStemmer."""
    of_model = [case for case in figures.cases if case.model == name]
    of_task = [case for case in of_model if case.task == task]
    if not of_task:
        tasks = ", ".join(dict.fromkeys(case.task for case in of_model)) or "no task"
        raise InputError(f"no published figure of {name} on {task}; there are figures on {tasks}")
    cases = [case for case in of_task if case.stemmer in (None, stemmer)]
    if not cases:
        releases = ", ".join(str(case.stemmer) for case in of_task)
        raise InputError(
            f"no figure of {name} on {task} with PyStemmer {stemmer}; there are figures with "
            f"{releases}"
        )
    return cases


def _parts(task: str) -> list[str]:
    return sorted(CQADUPSTACK_PARTS) if task == CQADUPSTACK else [task]


def _command(name: str, task: str) -> str:
    model = BM25 if name == BM25_MODEL else name
    return f"ettin-retrieval calibrate --model {model} --task {task}"


def _not_run(cases: list[Case], figures: Figures, why: str, other: bool = False) -> list[Verdict]:
    return [
        Verdict(case, metric, figures.tolerances[case.tolerance].value, None, why, other)
        for case in cases
        for metric in case.scores
    ]


def _judged(
    cases: list[Case], figures: Figures, model: str, directories: Mapping[str, Path] | None
) -> list[Verdict]:
    """Verdicts on cases of one model and task. Nothing is scored on other data than published."""
    name, task = cases[0].model, cases[0].task
    datasets = {}
    for part in _parts(task):
        # Cases of one model and task are of one revision.
        datasets[part] = dataset = _load(part, directories, cases[0].revision_of(part))
        for case in cases:
            if why := other_data(part, case.revision_of(part), dataset, figures.collections):
                return _not_run(cases, figures, why, other=True)
    scores = {}
    for part, dataset in datasets.items():
        for flaw in flaws(dataset):
            logger.warning("%s: %s", part, flaw)
        scores[part] = _score(model, figures.models[name], part, dataset).scores
    measured = flat_metrics(scores)
    return [
        verdict._replace(measured=measured.get(f"{task}.{verdict.metric}"))
        for verdict in _not_run(cases, figures, "")
    ]


def _load(task: str, directories: Mapping[str, Path] | None, revision: str) -> RetrievalDataset:
    from ettin_retrieval.sources import beir
    from ettin_retrieval.sources.benchmark_data import mteb

    if directories is None:
        [(_, dataset)] = mteb.load([task], revision=revision)
        return dataset
    if task not in directories:
        raise InputError(f"--beir: no collection of {task}; there are {', '.join(directories)}")
    return beir.load(directories[task], split_of(task))


def _score(model: str, reference: Reference, task: str, dataset: RetrievalDataset) -> TaskScores:
    """Scores of BM25, or of an encoder as its figures were made, in fp32."""
    if model == BM25:
        from ettin_retrieval.interop.bm25 import score_bm25

        return score_bm25(task, dataset)
    from ettin_retrieval.base_encoder.pretrained import pretrained
    from ettin_retrieval.encoders.checkpoint import describe
    from ettin_retrieval.encoders.encode import TextEncoder
    from ettin_retrieval.evaluation.score import score_task
    from ettin_retrieval.evaluation.search import ExactSearch

    local = Path(model).is_dir()
    unused = Tuning(learning_rate=1e-5, batch_size=1, epochs=1)
    settings = Encoder(
        source="local" if local else model,
        revision=None if local else reference.revision or "main",
        track="local",
        pooling="auto",
        normalize="auto",
        max_query_length=reference.length or "auto",
        max_passage_length=reference.length or "auto",
        guide=unused,
        paper=unused,
        shape=None,
    )
    encoder, origin = pretrained(settings, model)
    encoder.prompts = dict(reference.prompts)
    record = {"fingerprint": origin["revision"], **describe(encoder)}
    return score_task(ExactSearch(TextEncoder(encoder, batch_size=32), record), task, dataset)


def render(verdicts: list[Verdict]) -> str:
    """Verdicts on a model and a task as text: a line per metric, then source and data."""
    case = verdicts[0].case
    lines = [
        f"{case.model} on {case.task} ({case.split})",
        f"{'metric':<12}{'measured':>10}{'published':>11}{'difference':>12}{'tolerance':>11}"
        "  verdict",
        *map(str, verdicts),
    ]
    for state, why in dict.fromkeys((v.state, v.why) for v in verdicts if v.why):
        lines.append(f"{state}: {why}")
    cases = [v.case for v in verdicts]
    lines += dict.fromkeys(f"source: {c.source}" for c in cases)
    lines += dict.fromkeys(f"stemmer: PyStemmer {c.stemmer}" for c in cases if c.stemmer)
    return "\n".join(lines)


def summary(verdicts: list[Verdict]) -> str:
    """How many figures came out how.

    >>> summary([])
    '0 figures'
    """
    states = [verdict.state for verdict in verdicts]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    return f"{len(verdicts)} figures" + (f": {counts}" if counts else "")
