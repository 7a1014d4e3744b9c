"""FLOPs per second: of a GPU by its data sheet, and of this machine, measured."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from timeit import repeat
from typing import NamedTuple

from numpy.polynomial import Polynomial

from ettin_retrieval.base_encoder.random_weights import train_tokenizer
from ettin_retrieval.planning.flops import Encoder, build, forward
from ettin_retrieval.planning.stages import Stage
from ettin_retrieval.sources import tiny

PROBE_LAYERS = 3  # a global one and two local ones, as a ModernBERT repeats them
PROBE_LENGTH, PROBE_SECONDS = 128, 0.5
TRIES = 3

EFFICIENCY = {"fp32": (0.75, 24), "bf16": (0.6, 16), "fp16": (0.6, 16)}
"""Assumed, not measured. Matrix products reach the first number's share of a GPU's peak: 600
TFLOP/s of an H100 in bf16. Element-wise operations take as long as the products at a width of the
second number times FLOPs per byte (peak / bandwidth). By a roofline of every operation of a
ModernBERT at 2.7 TB/s, an H100 in bf16 has 3% of its peak at width 256 and 15 to 18% at 1792, in
fp32 25 to 29% and 57 to 61%. Fused kernels reach more."""


class Gpu(NamedTuple):
    """Dense TFLOP/s, TB/s and GB of memory; fp32 without TF32, as is PyTorch's default."""

    name: str
    bf16: float
    fp32: float
    bandwidth: float
    memory: int

    def speed(self, width: int, tokenised: float) -> Speed:
        """Assumed, of an encoder of this width; tokenising as measured.

        >>> h100 = [GPUS["H100"].speed(width, 1e6) for width in (256, 1792)]
        >>> [round(speed.encoding["bf16"] / 989e12, 3) for speed in h100]
        [0.031, 0.165]
        """
        peaks = {"fp32": self.fp32, "bf16": self.bf16, "fp16": self.bf16}
        rates = {
            precision: 1e12 * peaks[precision] * products
            / (1 + elementwise * peaks[precision] / self.bandwidth / width)
            for precision, (products, elementwise) in EFFICIENCY.items()
        }  # fmt: skip
        return Speed(rates, rates, tokenised)


GPUS = {
    # NVIDIA's data sheets. Where they print bf16 with sparsity, this is half of it: dense.
    "H200": Gpu("H200 SXM", 989, 67, 4.8, 141),
    "H100": Gpu("H100 SXM", 989, 67, 3.35, 80),
    "A100": Gpu("A100 SXM 80 GB", 312, 19.5, 2.039, 80),
    "L40S": Gpu("L40S", 362, 91.6, 0.864, 48),
    "A10": Gpu("A10", 125, 31.2, 0.6, 24),
    "L4": Gpu("L4", 121, 30.3, 0.3, 24),
}


class Speed(NamedTuple):
    """FLOPs per second by precision, of encoding and of training, and tokens per second."""

    encoding: dict[str, float]
    training: dict[str, float]
    tokenised: float

    def hours(self, stage: Stage) -> float:
        """Hours of a stage that encodes, while the next texts are tokenised.

        A precision without a speed would be emulated: as in training, fp32 takes its place.
        """
        if not stage.encoding:
            return 0.0
        precision = stage.precision if stage.precision in self.encoding else "fp32"
        seconds = stage.encoding / self.encoding[precision]
        seconds += stage.training / self.training[precision]
        return max(seconds, stage.tokens / self.tokenised) / 3600


def measure(encoder: Encoder, precisions: set[str]) -> Speed:
    """Speed of this machine, on a few layers of an encoder with random weights."""
    import torch

    config = copy.deepcopy(encoder.config)
    config.num_hidden_layers = min(PROBE_LAYERS, config.num_hidden_layers)
    config.vocab_size, config.pad_token_id = 64, 0
    if hasattr(config, "layer_types"):
        config.layer_types = config.layer_types[: config.num_hidden_layers]
    small = Encoder(config)
    with torch.random.fork_rng(devices=[]):
        model = build(config).to("cuda" if torch.cuda.is_available() else "cpu")

    def run(texts: int, precision: str, training: bool) -> None:
        with torch.set_grad_enabled(training):
            states = forward(model, texts, PROBE_LENGTH, precision)
            if training:
                states.float().sum().backward()
                model.zero_grad()
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    def rates(flops: Polynomial, training: bool) -> dict[str, float]:
        found = {}
        for precision in sorted(precisions):
            once = _seconds(run, 1, precision, training)
            texts = max(1, min(256, round(PROBE_SECONDS / once)))
            seconds = _seconds(run, texts, precision, training)
            found[precision] = float(texts * flops(PROBE_LENGTH) / seconds)
        return found

    return Speed(rates(small.flops, False), rates(small.step, True), _tokens_per_second())


def _tokens_per_second() -> float:
    """By a tokenizer like that of `tiny` on its words."""
    words = tiny.lexicon()
    tokenise = train_tokenizer(words, 2048).backend_tokenizer.encode_batch_fast
    texts = [" ".join(words[:100])] * 200
    return sum(len(text.ids) for text in tokenise(texts)) / _seconds(tokenise, texts)


def _seconds(call: Callable[..., object], *arguments: object) -> float:
    """Seconds that a call takes: the best try, because other programs use the processor too."""
    return min(repeat(partial(call, *arguments), number=1, repeat=TRIES))
