"""Encoding on a GPU: the larger Ettin shapes in bf16, padded against unpadded attention.

Weights are random: speed and memory do not depend on them. Padded is a batch of texts filled up
to the longest, through PyTorch's scaled_dot_product_attention. Unpadded is the same texts end to
end in one row, through its variable-length attention, which keeps them apart. Our encode takes
texts of the same lengths from strings to embeddings: tokenising, batches, autocast, pooling.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.contest import ROOT, Contest, Runs
from benchmarks.peak import SIZE, peak_gflops_per_second
from benchmarks.record import NotRun, Ratio, Section, middle
from benchmarks.worker import Job
from ettin_retrieval.planning.flops import ETTIN_SHAPES, Encoder, modernbert_config
from ettin_retrieval.settings.schema import Shape

if TYPE_CHECKING:
    import torch

SIZES = {"shapes": "150m,400m,1b", "texts": 256, "longest": 512}
REPETITIONS = 3
CONTENDERS = {
    "padded": "benchmarks.gpu:padded",
    "unpadded": "benchmarks.gpu:unpadded",
    "our encode": "benchmarks.gpu:our_encode",
}
PEAK_SIZE = 4 * SIZE
"""A GPU needs larger matrices than a CPU to be busy."""

TINY = Shape(layers=4, hidden_size=32, intermediate_size=48, heads=2, vocabulary=128)
"""Runs on a CPU too, in fp32: shape `tiny` is how the tests see that the code works."""


def measure(sizes: dict[str, Any], repetitions: int) -> Section:
    """Every shape in turn; `not run` without a GPU."""
    import torch

    names = sizes["shapes"].split(",")
    if not torch.cuda.is_available() and set(names) != {"tiny"}:
        missing = [NotRun(f"{name}, unpadded against padded", "no GPU here") for name in names]
        return Section("gpu", "GPU", sizes, not_run=missing)
    runs: Runs = {}
    ratios = []
    with Contest(CONTENDERS) as contest:
        for name in names:
            contest.prepare(sizes | {"shape": name})
            contest.run(1)  # kernels are chosen and compiled
            found = contest.run(repetitions)
            runs |= {f"{name}, {attention}": done for attention, done in found.items()}
            pairs = list(zip(found["padded"], found["unpadded"], strict=True))
            speeds = [full["seconds"] / bare["seconds"] for full, bare in pairs]
            ratios.append(Ratio(f"{name}, unpadded against padded", speeds))
            whole = list(zip(found["padded"], found["our encode"], strict=True))
            speeds = [full["seconds"] / ours["seconds"] for full, ours in whole]
            ratios.append(Ratio(f"{name}, our encode against a padded forward pass", speeds))
            for attention, done in found.items():
                shares = [run["share_of_peak"] for run in done]
                ratios.append(Ratio(f"{name}, {attention}, share of peak", shares))
    return Section("gpu", "GPU", sizes, runs, ratios, notes=_notes(runs))


def _notes(runs: Runs) -> list[str]:
    return [
        f"{name}: {middle(runs, name, 'tokens_per_second'):,.0f} tokens a second, "
        f"{middle(runs, name, 'device_mib'):,.0f} MiB on the device"
        for name in runs
    ]


def padded(inputs: dict[str, Any]) -> Job:
    """A batch of rows, filled up."""
    import torch

    model, texts, device = _encoder(inputs, "sdpa")
    longest = max(len(text) for text in texts)
    ids = torch.zeros(len(texts), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, text in enumerate(texts):
        ids[row, : len(text)], mask[row, : len(text)] = text, 1
    ids, mask = ids.to(device), mask.to(device)
    return _job(
        inputs, texts, lambda: model(input_ids=ids, attention_mask=mask).last_hidden_state[mask > 0]
    )


def unpadded(inputs: dict[str, Any]) -> Job:
    """All texts in one row."""
    import torch

    model, texts, device = _encoder(inputs, register_unpadded_attention())
    ids = torch.cat(texts)[None].to(device)
    positions = torch.cat([torch.arange(len(text)) for text in texts])[None].to(device)
    lengths = torch.tensor([0, *(len(text) for text in texts)])
    bounds = lengths.cumsum(0).to(device, torch.int32)
    longest = int(lengths.max())
    # A mask for each kind of layer, so that the model makes none: the bounds do its work.
    masks: dict[str, None] = {"full_attention": None, "sliding_attention": None}

    def forward() -> torch.Tensor:
        hidden: torch.Tensor = model(
            input_ids=ids,
            attention_mask=masks,
            position_ids=positions,
            bounds=bounds,
            longest=longest,
        ).last_hidden_state[0]
        return hidden

    return _job(inputs, texts, forward)


def our_encode(inputs: dict[str, Any]) -> Job:
    """`encode` from strings, as evaluation and mining call it, with fp32 weights and autocast."""
    import tempfile

    import torch

    from ettin_retrieval.base_encoder.random_weights import random_encoder
    from ettin_retrieval.encoders.encode import encode
    from ettin_retrieval.settings.load import load_settings
    from ettin_retrieval.sources.tiny import generator as synthetic

    entry = load_settings(ROOT / "params.yaml").encoders["ettin_tiny"]
    entry = entry.model_copy(update={"max_passage_length": inputs["longest"]})
    words = synthetic.lexicon()
    with tempfile.TemporaryDirectory() as scratch:
        model = random_encoder(_shape(inputs), words, entry, seed=42, scratch=Path(scratch))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = model.to(device)
    # Words of one token each, so that texts have the lengths of the other contenders'.
    single = [word for word in words if len(model.tokenizer.tokenize(word)) == 1]
    lengths = [max(3, length) for length in _lengths(inputs)]
    texts = [
        " ".join(single[(row + place) % len(single)] for place in range(length - 2))
        for row, length in enumerate(lengths)
    ]
    precision: Any = "bf16" if device == "cuda" else "fp32"
    ids = [torch.empty(length) for length in lengths]
    return _job(
        inputs,
        ids,
        lambda: torch.from_numpy(
            encode(model, texts, "passage", batch_size=64, precision=precision)
        ),
    )


def register_unpadded_attention() -> str:
    """Make attention over texts end to end known to transformers; returns its name."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    name = "unpadded"
    ALL_ATTENTION_FUNCTIONS.register(name, _unpadded_attention)
    return name


def _unpadded_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: None,
    *,
    bounds: torch.Tensor,
    longest: int,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of each text to itself.

    Parameters
    ----------
    query, key, value
        Shape (1, heads, tokens, head size).
    bounds
        Where each text starts, and where the last one ends.
    sliding_window
        One more than how far a token looks to each side, as ModernBertAttention gives it.

    Returns
    -------
    Shape (1, tokens, heads, head size), as transformers wants it.
    """
    reach = -1 if sliding_window is None else sliding_window - 1
    if query.device.type == "cpu":
        return _by_text(query, key, value, bounds, reach), None
    from torch.nn.attention.varlen import varlen_attn

    rows = [tensor[0].transpose(0, 1).contiguous() for tensor in (query, key, value)]
    mixed: Any = varlen_attn(*rows, bounds, bounds, longest, longest, window_size=(reach, reach))
    return mixed[None], None


def _by_text(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, bounds: torch.Tensor, reach: int
) -> torch.Tensor:
    """The same text by text, for a CPU, which has no kernel for it."""
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    mixed = []
    for start, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        places = torch.arange(end - start)
        near = (places[:, None] - places[None]).abs() <= (reach if reach >= 0 else end - start)
        text = slice(start, end)
        mixed.append(
            scaled_dot_product_attention(
                query[:, :, text], key[:, :, text], value[:, :, text], attn_mask=near
            )
        )
    return torch.cat(mixed, dim=2).transpose(1, 2)


def _encoder(inputs: dict[str, Any], attention: str) -> tuple[Any, list[torch.Tensor], str]:
    """A ModernBERT of random weights and texts of random lengths, the same for both contenders."""
    import torch
    from transformers import ModernBertConfig, ModernBertModel

    shape = _shape(inputs)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(42)
    config = ModernBertConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2,
        attn_implementation=attention,
    )  # fmt: skip
    model = ModernBertModel(config).eval()
    model = model.to(device, torch.bfloat16 if device == "cuda" else torch.float32)
    random = torch.Generator().manual_seed(43)
    texts = [
        torch.randint(3, shape.vocabulary, (length,), generator=random)
        for length in _lengths(inputs)
    ]
    return model, texts, device


def _shape(inputs: dict[str, Any]) -> Shape:
    return TINY if inputs["shape"] == "tiny" else ETTIN_SHAPES[inputs["shape"]]


def _lengths(inputs: dict[str, Any]) -> list[int]:
    """Tokens of each text, the same for all contenders."""
    import torch

    random = torch.Generator().manual_seed(42)
    return torch.randint(1, inputs["longest"] + 1, (inputs["texts"],), generator=random).tolist()


def _job(
    inputs: dict[str, Any], texts: list[torch.Tensor], forward: Callable[[], torch.Tensor]
) -> Job:
    import torch

    lengths = [len(text) for text in texts]
    flops = Encoder(modernbert_config(_shape(inputs))).flops
    gflops = float(sum(map(flops, lengths))) / 1e9
    cuda = torch.cuda.is_available()
    device, size = ("cuda", PEAK_SIZE) if cuda else ("cpu", SIZE // 8)

    def job() -> dict[str, Any]:
        peak = peak_gflops_per_second("bf16" if cuda else "fp32", device, size)
        if cuda:
            torch.cuda.reset_peak_memory_stats()
            torch.cuda.synchronize()
        start = time.perf_counter()
        with torch.inference_mode():
            hidden = forward()
        if cuda:
            torch.cuda.synchronize()
        seconds = time.perf_counter() - start
        return {
            "seconds": seconds,
            "tokens_per_second": sum(lengths) / seconds,
            "share_of_peak": gflops / seconds / peak,
            "peak_gflops_per_second": peak,
            "device_mib": torch.cuda.max_memory_allocated() / 2**20 if cuda else 0.0,
            "mean_square": float(hidden.float().square().mean()),
        }

    return job
