"""studies/params.yaml: what the studies vary beside the pipeline's settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

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

Seeds = Annotated[list[Seed], Field(min_length=1)]


class FewShot(Section):
    """Numbers of training queries, and the seeds that sample them and train."""

    examples: Annotated[list[NotNegative], Field(min_length=1)]
    seeds: Seeds


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
    rates
        Learning rate of an objective as a multiple of the encoder's; 1 if missing.
    """

    queries: Positive | None
    rates: dict[Objective, Rate]
    grid: Grid


class StudySettings(Section):
    """All of studies/params.yaml.

    Attributes
    ----------
    evaluations_per_epoch
        Replaces `finetuning.evaluations_per_epoch` where a study trains many encoders.
    tiny_world_seeds
        Seeds of the study tiny_world.
    """

    evaluations_per_epoch: Positive
    few_shot: FewShot
    multi_stage: MultiStage
    ablations: Ablations
    tiny_world_seeds: Seeds

    def varied(self, settings: Settings, changes: dict[str, Any]) -> Settings:
        """The pipeline's settings with changes, for one of many encoders.

        Raises
        ------
        InputError
            The changes do not fit together.
        """
        every = {"finetuning.evaluations_per_epoch": self.evaluations_per_epoch}
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
