"""studies/params.yaml: what the studies vary beside the pipeline's settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError

from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.settings.load import read_as
from ettin_retrieval.settings.messages import one_line
from ettin_retrieval.settings.schema import Settings
from ettin_retrieval.settings.sections import (
    NotNegative,
    Objective,
    Pooling,
    Positive,
    Rate,
    Sampling,
    Section,
    Seed,
)

PARAMS = Path("studies/params.yaml")


def _different(seeds: list[int]) -> list[int]:
    if len(set(seeds)) < len(seeds):
        raise ValueError("a seed is listed twice")
    return seeds


Seeds = Annotated[list[Seed], Field(min_length=1), AfterValidator(_different)]


class FewShot(Section):
    """Numbers of training queries.

    Attributes
    ----------
    examples
        0 is the base encoder, `all` every query.
    steps
        Optimizer steps, the same for every number of queries.
    """

    examples: Annotated[list[NotNegative | Literal["all"]], Field(min_length=1)]
    steps: Positive


class TwoDomains(Section):
    """Training data of cross_domain and multi_stage: the same amount of both domains.

    Attributes
    ----------
    queries
        Of each domain; null takes as many as the smaller one has.
    pairs_per_query
        At most so many pairs of a query and a relevant passage, a seeded sample.
    """

    queries: Positive | None
    pairs_per_query: Positive


class MultiStage(Section):
    """The second stage: its learning rate as a share of the first stage's, and its epochs."""

    rate: Rate
    epochs: Positive


class Grid(Section):
    """The values of each factor, one of which varies at a time."""

    pooling: list[Pooling]
    objective: list[Objective]
    sampling: list[Sampling]
    num_negatives: list[NotNegative]


class Ablations(Section):
    """One factor at a time.

    Attributes
    ----------
    queries
        Number of training queries; null takes all.
    """

    queries: Positive | None
    grid: Grid


class StudySettings(Section):
    """All of studies/params.yaml.

    Attributes
    ----------
    seeds
        Each one draws training queries and trains; three or more show how much they differ.
    """

    seeds: Seeds
    few_shot: FewShot
    two_domains: TwoDomains
    multi_stage: MultiStage
    ablations: Ablations

    def varied(self, settings: Settings, changes: dict[str, Any]) -> Settings:
        """The pipeline's settings with changes, for one of many encoders.

        The last weights are kept: development queries are labels too, and those of one domain or
        of a larger sample must not choose another encoder's weights.

        Raises
        ------
        InputError
            The changes do not fit together.
        """
        every = {"finetuning.keep": "last", "finetuning.early_stopping": None}
        try:
            return settings.with_changes(every | changes)
        except ValidationError as error:
            wanted = ", ".join(f"{key}={value}" for key, value in changes.items())
            message = one_line(error, PARAMS).replace(":", f": {wanted}:", 1)
            raise InputError(message) from None


def load_study_settings(path: Path = PARAMS) -> StudySettings:
    """Read and validate studies/params.yaml.

    Raises
    ------
    InputError
        One line that names the key and the allowed values.
    """
    return read_as(StudySettings, path)
