"""Calibration: does this repository's evaluation give a known model its published score?

A new model's score means something only if the same code gives a published model the score that
was published for it. The figures are data, in expected/calibration.yaml.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from ettin_retrieval.data.dataset import RetrievalDataset
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.settings.schema import Encoder, Evaluation, Section, Tuning

if TYPE_CHECKING:
    from ettin_retrieval.evaluation.score import TaskScores

BM25 = "bm25"

BM25_MODEL = "mteb/baseline-bm25s"

Fraction = Annotated[float, Field(ge=0, le=1, strict=False)]


class Reference(Section):
    """A reference model.

    Attributes
    ----------
    prompts
        Text put before each `query` and each `document`; empty where the model takes none.
    """

    prompts: dict[str, str]


class Case(Section):
    """One published figure; the file itself says what its keys mean."""

    model: str
    task: str
    split: str
    metric: str
    value: Fraction
    tolerance: Fraction
    dataset_revision: str
    source: str
    stemmer: str | None
    measured_again: str | None


class Expected(Section):
    """The whole of expected/calibration.yaml."""

    models: dict[str, Reference]
    cases: list[Case]


@dataclass(frozen=True)
class Verdict:
    """A published figure beside the measured one; `measured` is None where there was none."""

    case: Case
    measured: float | None

    @property
    def difference(self) -> float | None:
        """Measured less published, a fraction."""
        return None if self.measured is None else self.measured - self.case.value

    @property
    def reproduces(self) -> bool:
        """Whether the difference is within the tolerance, on either side."""
        # The slack is the rounding of a difference of decimals, far below any tolerance.
        return self.difference is not None and (abs(self.difference) <= self.case.tolerance + 1e-12)


def read_expected(path: Path) -> Expected:
    """Read the published figures.

    Raises
    ------
    InputError
        No such file, or a key or value that does not belong there.
    """
    try:
        content = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
        expected = Expected.model_validate(content)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; name the published figures' file") from None
    except YAMLError as error:
        raise InputError(f"{path}: not valid YAML: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{path}: {where}: {first['msg']}") from None
    unknown = {case.model for case in expected.cases} - set(expected.models)
    if unknown:
        raise InputError(f"{path}: {min(unknown)} has cases but is not among the models")
    return expected


def reference_name(model: str, published_as: str | None, expected: Expected) -> str:
    """Which published model is meant by a hub id, a directory or `bm25`.

    Raises
    ------
    InputError
        A directory without a published name, or a name without figures.

    Examples
    --------
    >>> expected = Expected(models={"org/a": Reference(prompts={})}, cases=[])
    >>> reference_name("models/mine", "org/a", expected)
    'org/a'
    """
    known = ", ".join(sorted(expected.models))
    if model == BM25:
        return BM25_MODEL
    if published_as is None and Path(model).is_dir():
        raise InputError(
            f"{model} is a directory: say which published model it holds with --as; there are "
            f"figures for {known}"
        )
    name = published_as or model
    if name not in expected.models:
        raise InputError(
            f"{name}: no such directory, nor a model with figures; they are of {known}"
        )
    return name


def cases_for(expected: Expected, name: str, task: str, stemmer: str) -> list[Case]:
    """The published figures of a model on a task, with the installed stemmer.

    Raises
    ------
    InputError
        There is none.
    """
    of_model = [case for case in expected.cases if case.model == name]
    of_task = [case for case in of_model if case.task == task]
    if not of_task:
        tasks = ", ".join(dict.fromkeys(case.task for case in of_model)) or "none"
        raise InputError(f"no published figure of {name} on {task}; there are figures on {tasks}")
    fitting = [case for case in of_task if case.stemmer in (None, stemmer)]
    if not fitting:
        releases = ", ".join(str(case.stemmer) for case in of_task)
        raise InputError(
            f"no figure of {name} on {task} with PyStemmer {stemmer}; there are figures with "
            f"{releases}"
        )
    return fitting


def load_task(task: str, beir_directory: Path | None) -> RetrievalDataset:
    """A task's data from a BEIR directory, or from the hub at mteb's revision.

    Raises
    ------
    InputError
        A malformed directory, an unknown task or an unreachable hub.
    """
    from ettin_retrieval.sources import beir, mteb
    from ettin_retrieval.tasks import split_of

    if beir_directory is not None:
        return beir.load(beir_directory, split_of(task))
    [(_, dataset)] = mteb.load([task])
    return dataset


def score_reference(
    model: str, name: str, reference: Reference, task: str, dataset: RetrievalDataset
) -> TaskScores:
    """Score a reference model, an encoder in fp32, with the repository's evaluation.

    Parameters
    ----------
    model
        `bm25`, a sentence-transformers directory or a hub id.
    name
        The published model's name.
    """
    if model == BM25:
        from ettin_retrieval.interop.bm25 import score_bm25

        return score_bm25(task, dataset)
    from ettin_retrieval.base_encoder.pretrained import pretrained
    from ettin_retrieval.evaluation.score import score_task
    from ettin_retrieval.evaluation.search import ExactSearch

    encoder, origin = pretrained(_entry(model), model)
    encoder.prompts = {**reference.prompts}
    search = ExactSearch(encoder, _record(encoder, origin), name, Evaluation())
    return score_task(search, task, dataset)


def judge(cases: list[Case], scores: dict[str, float]) -> list[Verdict]:
    """Measured beside published; a metric that was not measured does not reproduce.

    Parameters
    ----------
    scores
        mteb's score mapping, fractions.
    """
    return [Verdict(case, scores.get(case.metric)) for case in cases]


def render(verdicts: list[Verdict], dataset: RetrievalDataset) -> str:
    """The verdicts as text: a line per metric, then source and data."""
    first = verdicts[0].case
    lines = [
        f"{first.model} on {first.task} ({dataset.origin.split}): "
        f"{len(dataset.queries):,} queries over {len(dataset.corpus):,} passages",
        f"{'metric':<12}{'measured':>10}{'published':>11}{'difference':>12}{'tolerance':>11}"
        "  verdict",
    ]
    for verdict in verdicts:
        case = verdict.case
        measured = "-" if verdict.measured is None else f"{verdict.measured:.5f}"
        difference = "-" if verdict.difference is None else f"{verdict.difference:+.5f}"
        word = "reproduces" if verdict.reproduces else "DOES NOT REPRODUCE"
        lines.append(
            f"{case.metric:<12}{measured:>10}{case.value:>11.5f}{difference:>12}"
            f"{case.tolerance:>11g}  {word}"
        )
    for source in dict.fromkeys(verdict.case.source for verdict in verdicts):
        lines.append(f"source: {source}")
    stemmers = {verdict.case.stemmer for verdict in verdicts} - {None}
    lines += [f"stemmer: PyStemmer {release}" for release in sorted(map(str, stemmers))]
    lines.append(f"published on: revision {first.dataset_revision}")
    lines.append(f"measured on: {dataset.origin.source}, revision {dataset.origin.revision}")
    return "\n".join(lines)


def _entry(model: str) -> Encoder:
    """Settings that leave a published encoder as its authors saved it."""
    local = Path(model).is_dir()
    not_trained = Tuning(learning_rate=1e-5, batch_size=1, epochs=1)
    return Encoder(
        source="local" if local else model,
        revision=None if local else "main",
        track="local",
        pooling="auto",
        normalize="auto",
        max_query_length="auto",
        max_passage_length="auto",
        guide=not_trained,
        paper=not_trained,
        shape=None,
    )


def _record(encoder: Any, origin: dict[str, Any]) -> dict[str, Any]:
    """What checkpoint.json would say of an encoder, as far as the search reads it."""
    return {
        "fingerprint": origin["revision"],
        "parameters": sum(p.numel() for p in encoder.parameters()),
        "embedding_dimension": encoder.get_embedding_dimension(),
        "max_passage_length": encoder[0].document_length,
        "normalize": type(encoder[len(encoder) - 1]).__name__ == "Normalize",
    }
