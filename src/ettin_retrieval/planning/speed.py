"""Operations a second: a named GPU's by its data sheet, and this machine's, measured.

No weights are needed: a few layers of the encoder's shape with random ones say how fast it is here.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ettin_retrieval.planning.flops import BACKWARD, Architecture
from ettin_retrieval.planning.stages import Stage
from ettin_retrieval.settings.schema import Precision

PROBE_LAYERS = 3
"""A global layer and two local ones: the repeating unit of a ModernBERT."""

PROBE_LENGTH = 128

PROBE_SECONDS = 1.5

TOKENISED_CHARACTERS = 1_000_000

PROBES = 3
"""The best of these counts: another program may have had the processor meanwhile."""


@dataclass(frozen=True)
class Gpu:
    """Published peaks for dense matrices, in TFLOP/s, and memory in GB.

    Attributes
    ----------
    fp32
        On the CUDA cores: PyTorch does not use TF32 unless it is told to.
    """

    name: str
    bf16: float
    fp32: float
    memory: int
    source: str


GPUS = {
    "H200": Gpu("H200 SXM", 989, 67, 141, "NVIDIA H200 data sheet"),
    "H100": Gpu("H100 SXM", 989, 67, 80, "NVIDIA H100 data sheet"),
    "A100": Gpu("A100 SXM 80 GB", 312, 19.5, 80, "NVIDIA A100 data sheet"),
    "L40S": Gpu("L40S", 362, 91.6, 48, "NVIDIA L40S data sheet"),
    "A10": Gpu("A10", 125, 31.2, 24, "NVIDIA A10 data sheet"),
    "L4": Gpu("L4", 121, 30.3, 24, "NVIDIA L4 data sheet"),
}
"""Data sheets that print bf16 with sparsity give twice the dense figure that is here."""

GPU_SHARE = {"bf16": 0.35, "fp16": 0.35, "fp32": 0.6}
"""Share of the peak that is assumed: nothing of the kind was measured on these GPUs."""


@dataclass(frozen=True)
class Rates:
    """Operations a second, of encoding and of training, for each precision, and tokens a second."""

    forward: dict[str, float]
    training: dict[str, float]
    tokenised: float = math.inf

    def hours(self, stage: Stage) -> float:
        """Of one stage, as far as it computes: while texts are encoded, the next are tokenised."""
        if not stage.forward:
            return 0.0
        seconds = stage.forward / self.forward[stage.precision]
        seconds += stage.training / self.training[stage.precision]
        return max(seconds, stage.tokens / self.tokenised) / 3600


def gpu_rates(gpu: Gpu, tokenised: float = math.inf) -> Rates:
    """Published peaks times the assumed share; tokens a second as here."""
    peaks = {"bf16": gpu.bf16, "fp16": gpu.bf16, "fp32": gpu.fp32}
    rates = {precision: 1e12 * peak * GPU_SHARE[precision] for precision, peak in peaks.items()}
    return Rates(rates, rates, tokenised)


def tokens_a_second() -> float:
    """Of this machine: a tokenizer of this repository's making on the synthetic words."""
    from ettin_retrieval.base_encoder.tokenizer import train_tokenizer
    from ettin_retrieval.sources import tiny

    words = tiny.lexicon()
    tokenizer = train_tokenizer(words, 2048).backend_tokenizer
    text = " ".join(words[:100])
    texts = [text] * max(1, TOKENISED_CHARACTERS // len(text))
    best = 0.0
    for _ in range(PROBES):
        start = time.perf_counter()
        count = sum(len(encoded.ids) for encoded in tokenizer.encode_batch_fast(texts))
        best = max(best, count / (time.perf_counter() - start))
    return best


def probe(architecture: Architecture, precisions: list[Precision]) -> Rates:
    """Measure a few layers of the same shape here, forward alone and with the backward pass."""
    import torch
    from transformers import ModernBertConfig, ModernBertModel

    layers = min(PROBE_LAYERS, architecture.layers)
    measured = Architecture(layers, architecture.hidden, architecture.intermediate, 64)
    config = ModernBertConfig(
        vocab_size=64,
        hidden_size=architecture.hidden,
        intermediate_size=architecture.intermediate,
        num_hidden_layers=layers,
        num_attention_heads=max(1, architecture.hidden // 64),
        pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2,
    )  # fmt: skip
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.random.fork_rng(devices=[]):
        model: Any = ModernBertModel(config)
    model = model.to(device)

    def rate(precision: Precision, training: bool) -> float:
        passes = 1 + BACKWARD if training else 1
        dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]

        def run(texts: int) -> float:
            ids = torch.full((texts, PROBE_LENGTH), 3, device=device)
            with (
                torch.set_grad_enabled(training),
                torch.autocast(device, dtype=dtype, enabled=precision != "fp32"),
            ):
                hidden = model(input_ids=ids).last_hidden_state
            if training:
                hidden.float().sum().backward()
                model.zero_grad()
            if device == "cuda":
                torch.cuda.synchronize()
            return passes * measured.forward_flops([PROBE_LENGTH] * texts)

        return _rate(run)

    return Rates(
        {precision: rate(precision, training=False) for precision in precisions},
        {precision: rate(precision, training=True) for precision in precisions},
        tokens_a_second(),
    )


def _rate(run: Callable[[int], float]) -> float:
    """Operations a second of a call that takes a number of texts: the best of `PROBES` tries."""
    run(1)
    start = time.perf_counter()
    run(1)
    per_text = time.perf_counter() - start
    texts = max(1, min(256, round(PROBE_SECONDS / PROBES / per_text)))
    best = 0.0
    for _ in range(PROBES):
        start = time.perf_counter()
        done = run(texts)
        best = max(best, done / (time.perf_counter() - start))
    return best
