"""Encoding on a GPU in bf16, in the larger Ettin shapes: `encode` against sentence-transformers."""

from __future__ import annotations

from functools import partial

from benchmarks import encoding
from benchmarks.harness import Inputs, Runs, contest
from benchmarks.record import Figure, Section, ratios
from ettin_retrieval.planning.flops import ETTIN_SHAPES
from ettin_retrieval.settings.sections import Shape

INPUTS = {"shapes": "150m,400m,1b", "documents": 1_000, "queries": 95}
OURS, PEER = "ours", "sentence-transformers"
SHAPES = ETTIN_SHAPES | {
    # Runs on a CPU too, in fp32: how the tests see that the code works.
    "tiny": Shape(layers=4, hidden_size=32, intermediate_size=48, heads=2, vocabulary=512)
}


def measure(inputs: Inputs = INPUTS, repetitions: int = 3) -> Section:
    """Every shape in turn, with random weights: neither speed nor memory depends on them."""
    import torch

    runs: Runs = {}
    figures = []
    missing = "" if torch.cuda.is_available() or inputs["shapes"] == "tiny" else "No GPU here."
    precision = "bf16" if torch.cuda.is_available() else "fp32"
    contenders = {
        OURS: partial(encoding.ours, precision=precision),
        PEER: partial(encoding.sentence_transformers, precision=precision),
    }
    for shape in inputs["shapes"].split(","):
        given = inputs | {"data": "TinySciFact", "shape": SHAPES[shape]}
        found = {} if missing else contest(contenders, given, repetitions, encoding.WARM_UP)
        figures.append(Figure(f"{shape}, speed against {PEER}", ratios(found, OURS, PEER), 1.0))
        for name, done in found.items():
            shares = [run["share_of_peak"] for run in done]
            figures.append(Figure(f"{shape}, {name}, share of matrix-product peak", shares))
            runs[f"{shape}, {name}"] = done
    notes = [
        f"{name}: {max(run['device_mib'] for run in done):,.0f} MiB on the device"
        for name, done in runs.items()
        if "device_mib" in done[0]
    ]
    return Section("GPU", inputs, figures, runs, [*notes, missing])
