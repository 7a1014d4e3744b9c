"""Calibration: the published score of a known model, measured with this repository's evaluation.

A new model's score means something only if the same code reproduces published ones. The figures
are in expected/calibration.yaml.
"""

from __future__ import annotations

import logging
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ettin_retrieval.data.dataset import RetrievalDataset
from ettin_retrieval.data.judgments import flaws
from ettin_retrieval.interop import BM25_MODEL
from ettin_retrieval.reports.references import judge
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.settings.load import read_as
from ettin_retrieval.settings.sections import Encoder, Section, Share, Tuning

if TYPE_CHECKING:
    from ettin_retrieval.evaluation.score import TaskScores

logger = logging.getLogger("ettin_retrieval")

BM25 = "bm25"


class Reference(Section):
    """A reference model: the text before each `query` and each `document`, if it takes any."""

    prompts: dict[str, str]


class Case(Section):
    """One published figure; the file explains its keys."""

    model: str
    task: str
    split: str
    metric: str
    value: Share
    tolerance: Share
    dataset_revision: str
    source: str
    stemmer: str | None
    measured_again: str | None


class Figures(Section):
    """The content of expected/calibration.yaml."""

    models: dict[str, Reference]
    cases: list[Case]


class Verdict(NamedTuple):
    """A published figure and the measured one, which is None for a metric without a score."""

    case: Case
    measured: float | None

    @property
    def reproduces(self) -> bool:
        """Whether the difference is within the tolerance, on either side."""
        return judge(self.measured, self.case.value, self.case.tolerance) == "reproduced"

    def __str__(self) -> str:
        case, measured, difference = self.case, "-", "-"
        if self.measured is not None:
            measured = f"{self.measured:.5f}"
            difference = f"{self.measured - case.value:+.5f}"
        return (
            f"{case.metric:<12}{measured:>10}{case.value:>11.5f}{difference:>12}"
            f"{case.tolerance:>11g}  {'reproduces' if self.reproduces else 'DOES NOT REPRODUCE'}"
        )


def calibrate(
    figures: Path, model: str, task: str, beir: Path | None = None, published_as: str | None = None
) -> tuple[list[Verdict], RetrievalDataset]:
    """Score a reference model on a task and compare with its published figures.

    Parameters
    ----------
    figures
        The file of published figures.
    model
        `bm25`, a sentence-transformers directory or a hub id.
    beir
        The task's data as a BEIR directory; by default mteb's revision from the hub.
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
    dataset = _load(task, beir)
    for flaw in flaws(dataset):
        logger.warning("%s: %s", task, flaw)
    scores = _score(model, published.models[name].prompts, task, dataset).scores
    return [Verdict(case, scores.get(case.metric)) for case in cases], dataset


def read_figures(path: Path) -> Figures:
    """Read the published figures; a file that is missing or malformed is an `InputError`."""
    figures = read_as(Figures, path)
    unknown = {case.model for case in figures.cases} - set(figures.models)
    if unknown:
        raise InputError(f"{path}: {min(unknown)} has cases but is not among the models")
    return figures


def reference_name(model: str, published_as: str | None, figures: Figures) -> str:
    """The published model that a hub id, a directory or `bm25` stands for.

    >>> figures = Figures(models={"org/a": Reference(prompts={})}, cases=[])
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


def _load(task: str, beir_directory: Path | None) -> RetrievalDataset:
    from ettin_retrieval.sources import beir
    from ettin_retrieval.sources.benchmark_data import mteb
    from ettin_retrieval.tasks import split_of

    if beir_directory is not None:
        return beir.load(beir_directory, split_of(task))
    [(_, dataset)] = mteb.load([task])
    return dataset


def _score(model: str, prompts: dict[str, str], task: str, dataset: RetrievalDataset) -> TaskScores:
    """Scores of BM25, or of an encoder as its authors saved it, in fp32."""
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
        revision=None if local else "main",
        track="local",
        pooling="auto",
        normalize="auto",
        max_query_length="auto",
        max_passage_length="auto",
        guide=unused,
        paper=unused,
        shape=None,
    )
    encoder, origin = pretrained(settings, model)
    encoder.prompts = dict(prompts)
    record = {"fingerprint": origin["revision"], **describe(encoder)}
    return score_task(ExactSearch(TextEncoder(encoder, batch_size=32), record), task, dataset)


def render(verdicts: list[Verdict], dataset: RetrievalDataset) -> str:
    """The verdicts as text: a line per metric, then their source and the data."""
    cases = [verdict.case for verdict in verdicts]
    lines = [
        f"{cases[0].model} on {cases[0].task} ({dataset.origin.split}): "
        f"{len(dataset.queries):,} queries over {len(dataset.corpus):,} passages",
        f"{'metric':<12}{'measured':>10}{'published':>11}{'difference':>12}{'tolerance':>11}"
        "  verdict",
        *map(str, verdicts),
        *(f"source: {source}" for source in dict.fromkeys(case.source for case in cases)),
    ]
    stemmers = {case.stemmer for case in cases if case.stemmer}
    lines += [f"stemmer: PyStemmer {release}" for release in sorted(stemmers)]
    lines.append(f"published on: revision {cases[0].dataset_revision}")
    lines.append(f"measured on: {dataset.origin.source}, revision {dataset.origin.revision}")
    return "\n".join(lines)
