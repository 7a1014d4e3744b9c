"""A run's stages with their hours, here and on a GPU, as a table."""

from __future__ import annotations

from dataclasses import dataclass

from ettin_retrieval.planning.sizes import CHARACTERS_PER_TOKEN, Collection, tasks_of, training_set
from ettin_retrieval.planning.speed import (
    GPU_SHARE,
    GPUS,
    PROBE_LAYERS,
    Gpu,
    Rates,
    gpu_rates,
    probe,
)
from ettin_retrieval.planning.stages import Encoder, Stage, encoder_of, stages_of
from ettin_retrieval.runtime.determinism import THREADS, pin_arithmetic
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.settings.schema import Settings


@dataclass(frozen=True)
class Plan:
    """A run's stages, and how fast they go here and on a GPU."""

    encoder: Encoder
    tasks: list[Collection]
    stages: list[Stage]
    here: Rates
    gpu: Gpu
    strict: bool


def plan(settings: Settings, gpu: str, tasks: list[str] | str) -> Plan:
    """Count the stages of a run and probe this machine.

    Parameters
    ----------
    tasks
        Names, a tier of `params.BENCHMARK_OF_TIER`, or `auto`, as `evaluation.tasks` has them.

    Raises
    ------
    InputError
        A GPU or a task whose size is not known, or a local input that is not there.
    """
    if gpu not in GPUS:
        raise InputError(f"--gpu: unknown GPU {gpu!r}; there are {', '.join(GPUS)}")
    encoder = encoder_of(settings)
    collections = tasks_of(settings, tasks)
    stages = stages_of(settings, encoder, training_set(settings), collections)
    # As the stages will run: here is this machine as they use it.
    pin_arithmetic(settings.strict)
    precisions = sorted({stage.precision for stage in stages})
    here = probe(encoder.architecture, precisions)
    return Plan(encoder, collections, stages, here, GPUS[gpu], settings.strict)


def render(made: Plan) -> str:
    """The plan as a table, and what it rests on."""
    import pandas as pd

    there = gpu_rates(made.gpu, made.here.tokenised)
    rows = [_row(stage, made.here, there) for stage in made.stages]
    total = {name: "" for name in rows[0]} | {"stage": "in all"}
    for name, rates in zip(list(rows[0])[-2:], (made.here, there), strict=True):
        total[name] = hours(sum(rates.hours(stage) for stage in made.stages))
    total["disk"] = size(sum(stage.disk for stage in made.stages))
    frame = pd.DataFrame([*rows, total]).rename(columns={"GPU": f"on {made.gpu.name}"})
    frame["stage"] = frame["stage"].str.ljust(frame["stage"].str.len().max())
    architecture = made.encoder.architecture
    passages = sum(task.passages.count for task in made.tasks)
    return "\n".join(
        [
            f"{made.encoder.name}: {architecture.parameters / 1e6:,.1f} million parameters, "
            f"{architecture.layers} layers, width {architecture.hidden}; "
            f"{len(made.tasks)} tasks, {passages:,} passages",
            "",
            frame.to_string(index=False),
            "",
            *(f"- {line}" for line in _assumptions(made)),
        ]
    )


def _row(stage: Stage, here: Rates, there: Rates) -> dict[str, str]:
    return {
        "stage": stage.name,
        "texts": f"{stage.texts:,}" if stage.texts else "",
        "tokens": f"{stage.tokens / 1e6:,.1f} M" if stage.tokens else "",
        "TFLOP": _significant((stage.forward + stage.training) / 1e12),
        "disk": size(stage.disk),
        "memory": size(stage.memory),
        "precision": stage.precision if stage.forward else "",
        "here": hours(here.hours(stage)),
        "GPU": hours(there.hours(stage)),
    }


def _assumptions(made: Plan) -> list[str]:
    measured = ", ".join(
        f"{precision} {made.here.forward[precision] / 1e9:,.0f} encoding and "
        f"{made.here.training[precision] / 1e9:,.0f} training"
        for precision in made.here.forward
    )
    gpu = made.gpu
    used = sorted(made.here.forward)
    shares = ", ".join(f"{GPU_SHARE[p]:.0%} of its peak in {p}" for p in used)
    peaks = ", ".join(f"{gpu.fp32 if p == 'fp32' else gpu.bf16:g} TFLOP/s in {p}" for p in used)
    large = [stage.name for stage in made.stages if stage.memory > gpu.memory * 1e9]
    return [
        *(f"{name} needs more memory than {gpu.name} has" for name in large),
        f"here: GFLOP/s measured now on {PROBE_LAYERS} layers of this width: {measured}"
        + (f"; strict pins it to {THREADS} threads and AVX2" if made.strict else ""),
        f"{gpu.name}: {peaks} (dense; {gpu.source}), assumed, not measured: {shares}; "
        f"{gpu.memory} GB of memory",
        f"tokens: {CHARACTERS_PER_TOKEN} characters each, assumed; texts of mean length, cut at "
        f"{made.encoder.query_length} (queries) and {made.encoder.passage_length} (passages)",
        f"tokenising, {made.here.tokenised:,.0f} tokens a second here, goes on meanwhile: the "
        "longer of both counts, on a GPU too; no download or reading is in the hours",
        "disk: outputs twice, for DVC's cache, and the hub's; memory is "
        "weights, optimizer, activations of the rows embedded at a time and embeddings, without "
        "Python and its libraries",
        f"fine-tuning {'in bf16 would take' if 'bf16' not in used else 'in bf16 takes'} "
        f"{hours(_bf16_hours(made, 'finetuning'))} on {gpu.name}, an evaluation "
        f"{hours(_bf16_hours(made, 'evaluate_base'))}",
    ]


def _bf16_hours(made: Plan, name: str) -> float:
    stage = next(stage for stage in made.stages if stage.name == name)
    rate = gpu_rates(made.gpu).forward["bf16"]
    return (stage.forward + stage.training) / rate / 3600


def hours(value: float) -> str:
    """Hours in words that fit their size.

    >>> hours(0), hours(0.001), hours(0.5), hours(30), hours(1000)
    ('', '4 s', '30 min', '30.0 h', '41.7 days')
    """
    if value == 0:
        return ""
    if value < 1 / 60:
        return f"{max(1, round(value * 3600))} s"
    if value < 1:
        return f"{value * 60:.0f} min"
    return f"{value:.1f} h" if value < 48 else f"{value / 24:,.1f} days"


def size(value: float) -> str:
    """Bytes in units of a thousand.

    >>> size(0), size(1500), size(2.5e9)
    ('', '1.5 kB', '2.5 GB')
    """
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= scale:
            return f"{value / scale:.1f} {unit}"
    return "" if value == 0 else f"{value:.0f} B"


def _significant(value: float) -> str:
    """Three digits at least.

    >>> _significant(0), _significant(0.01234), _significant(12345.6)
    ('', '0.0123', '12,346')
    """
    if value == 0:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
