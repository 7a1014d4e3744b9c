"""A run's stages with their hours, here and on a GPU, as a table."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pandas as pd
from rich.filesize import decimal

from ettin_retrieval.encoders.precision import has_bf16
from ettin_retrieval.planning.flops import Encoder, config_of
from ettin_retrieval.planning.sizes import (
    CHARACTERS_PER_TOKEN,
    Collection,
    heldout_of,
    tasks_of,
    training_set,
)
from ettin_retrieval.planning.speed import GPUS, PROBE_LAYERS, Gpu, Speed, measure
from ettin_retrieval.planning.stages import (
    CHECKPOINTS,
    Stage,
    lengths_of,
    stages_of,
    training_lengths_of,
)
from ettin_retrieval.runtime.determinism import THREADS, pin_arithmetic
from ettin_retrieval.runtime.device import device_type
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.settings.schema import Settings


class Plan(NamedTuple):
    """A run's stages, and the speed of this machine and of a GPU."""

    settings: Settings
    encoder: Encoder
    tasks: list[Collection]
    stages: list[Stage]
    here: Speed
    there: Speed
    gpu: Gpu


def plan(settings: Settings, gpu: str, tasks: list[str] | str) -> Plan:
    """Count the stages of a run and measure this machine; `tasks` as in `evaluation.tasks`.

    Raises
    ------
    InputError
        The GPU, the encoder's shape or the size of a task is unknown, or a local input is missing.
    """
    if gpu not in GPUS:
        raise InputError(f"--gpu: unknown GPU {gpu!r}; there are {', '.join(GPUS)}")
    # Before torch is imported, so that this machine is measured as the stages use it.
    pin_arithmetic(settings.strict)
    encoder = Encoder(config_of(settings), settings.finetuning.gradient_checkpointing)
    collections = tasks_of(settings, tasks)
    stages = stages_of(settings, encoder, training_set(settings), collections, heldout_of(settings))
    precisions = {stage.precision for stage in stages if stage.encoding}
    if settings.finetuning.precision == "auto" and not has_bf16(device_type()):
        # Training falls back to fp32 here; a precision that the settings name is measured.
        precisions = precisions - {"bf16"} | {"fp32", settings.evaluation.precision}
    here = measure(encoder, precisions)
    there = GPUS[gpu].speed(encoder.config.hidden_size, here.tokenised)
    return Plan(settings, encoder, collections, stages, here, there, GPUS[gpu])


def render(made: Plan) -> str:
    """The plan as a table, and the assumptions behind it."""
    config, on_gpu = made.encoder.config, f"on {made.gpu.name}"
    total = Stage("in all", disk=sum(stage.disk for stage in made.stages))
    stages = pd.DataFrame([*made.stages, total]).set_index("name").rename_axis(None)
    stages["TFLOP"] = (stages["encoding"] + stages["training"]) / 1e12
    for column, speed in (("here", made.here), (on_gpu, made.there)):
        hours = [speed.hours(stage) for stage in made.stages]
        stages[column] = [*hours, sum(hours)]
    formats: dict[str, Callable[..., str]] = {
        "texts": "{:,.0f}".format,
        "tokens": lambda tokens: f"{tokens / 1e6:,.1f} M",
        "TFLOP": lambda tflop: f"{tflop:,.0f}" if tflop >= 100 else f"{tflop:.3g}",
        **dict.fromkeys(["disk", "memory"], lambda size: decimal(round(size))),
        "precision": str,
        **dict.fromkeys(["here", on_gpu], duration),
    }
    cells = {
        name: [shown(value) if value else "" for value in stages[name]]
        for name, shown in formats.items()
    }
    passages = sum(task.passages.number for task in made.tasks)
    return "\n".join(
        [
            f"{made.settings.model}: {made.encoder.parameters / 1e6:,.1f} million parameters, "
            f"{config.num_hidden_layers} layers, width {config.hidden_size}; "
            f"{len(made.tasks)} tasks, {passages:,} passages",
            f"\n{pd.DataFrame(cells, index=stages.index).to_string()}\n",
            *(f"- {line}" for line in _notes(made)),
        ]
    )


def _notes(made: Plan) -> list[str]:
    gpu, here, there = made.gpu, made.here, made.there
    query, passage = lengths_of(made.settings)
    in_training = " and ".join(map(str, training_lengths_of(made.settings)))
    measured = ", ".join(
        f"{here.encoding[precision] / 1e9:,.0f} encoding and "
        f"{here.training[precision] / 1e9:,.0f} training in {precision}"
        for precision in here.encoding
    )
    precisions = sorted({stage.precision for stage in made.stages if stage.encoding})
    assumed = ", ".join(f"{there.encoding[p] / 1e12:,.1f} in {p}" for p in precisions)
    emulated = set(precisions) - here.encoding.keys()
    in_bf16 = {
        stage.name: duration(there.hours(stage._replace(precision="bf16"))) for stage in made.stages
    }
    too_large = [stage.name for stage in made.stages if stage.memory > gpu.memory * 1e9]
    return [
        *(f"{name} needs more memory than {gpu.name} has" for name in too_large),
        f"here: GFLOP/s measured now on {PROBE_LAYERS} layers of this width: {measured}"
        + (f"; strict pins {THREADS} threads and AVX2" if made.settings.strict else ""),
        *(
            f"here: {precision} would be emulated, so fp32 takes its place"
            for precision in emulated
        ),
        f"{gpu.name}: TFLOP/s at this width, assumed, not measured: {assumed} (its data sheet: "
        f"{gpu.fp32:g} in fp32, {gpu.bf16:g} in bf16, dense); {gpu.memory} GB of memory",
        f"tokens: {CHARACTERS_PER_TOKEN} characters each, assumed; texts of mean length, cut at "
        f"{query} (queries) and {passage} (passages), in fine-tuning at {in_training}; TFLOP and "
        "memory of fine-tuning count padding too",
        f"tokenising, {here.tokenised:,.0f} tokens per second here, takes place meanwhile: the "
        "longer of both counts, on a GPU too; no hours for downloads and reading",
        f"disk: outputs twice, for DVC's cache, downloads, and {CHECKPOINTS} checkpoints with "
        "Adam's moments while training",
        "memory: weights, gradients, Adam's moments, activations kept for the backward pass and "
        "embeddings, without Python and its libraries",
        f"in bf16, fine-tuning takes {in_bf16['finetuning']} on {gpu.name}, an evaluation "
        f"{in_bf16['evaluate@base']}",
    ]


def duration(hours: float) -> str:
    """Hours in a unit that fits.

    >>> duration(0.001), duration(0.5), duration(30), duration(1000)
    ('4 s', '30 min', '30.0 h', '41.7 days')
    """
    if hours < 1 / 60:
        return f"{max(1, round(hours * 3600))} s"
    if hours < 1:
        return f"{hours * 60:.0f} min"
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:,.1f} days"
