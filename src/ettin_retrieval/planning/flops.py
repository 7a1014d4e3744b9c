"""FLOPs and activations of an encoder, counted by torch on fake tensors: shapes without data.

Counted is what scaled_dot_product_attention computes, with which checkpoints are loaded. To it the
window of a local layer is a mask: every layer multiplies all pairs of tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.polynomial import Polynomial

from ettin_retrieval.base_encoder.model_directory import module_directories
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.settings.schema import ENCODER_PREFIX, Settings
from ettin_retrieval.settings.sections import Shape

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

ETTIN_SHAPES = {
    name: Shape(
        layers=layers, hidden_size=hidden, intermediate_size=inner, heads=hidden // 64,
        vocabulary=50_368,
    )
    for name, layers, hidden, inner in (
        ("17m", 7, 256, 384), ("32m", 10, 384, 576), ("68m", 19, 512, 768),
        ("150m", 22, 768, 1152), ("400m", 28, 1024, 2624), ("1b", 28, 1792, 3840),
    )
}  # fmt: skip
"""Of jhu-clsp/ettin-encoder-*: table 1 of the Ettin paper (Weller et al., 2025)."""

LENGTHS = (8, 16, 32)  # tokens of texts that are counted: they determine a quadratic polynomial
BACKWARD = 2  # forward passes that a backward pass costs: gradients of inputs and of weights


def config_of(settings: Settings) -> PreTrainedConfig:
    """The architecture of the selected encoder; an `InputError` if it is not known here."""
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig

    if shape := settings.encoder.shape or ETTIN_SHAPES.get(settings.model):
        return modernbert_config(shape)
    if settings.encoder.is_on_hub:
        raise InputError(
            f"encoders.{ENCODER_PREFIX}{settings.model}: its shape is not known without a hub; "
            f"known: {', '.join(ETTIN_SHAPES)}, local directories and encoders with a shape"
        )
    path = module_directories(Path(settings.local.encoder))[0] / "config.json"
    if not path.is_file():
        raise InputError(f"{path}: no such file; set local.encoder to a model's directory")
    try:
        return AutoConfig.from_pretrained(str(path), trust_remote_code=False)
    except (OSError, ValueError, StrictDataclassError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"local.encoder: {path} cannot be read: {reason}") from None


def modernbert_config(shape: Shape) -> PreTrainedConfig:
    """The ModernBERT of a shape."""
    from transformers import ModernBertConfig

    return ModernBertConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        # The defaults are beyond a small vocabulary.
        pad_token_id=0, bos_token_id=0, eos_token_id=0, cls_token_id=0, sep_token_id=0,
    )  # fmt: skip


@dataclass(frozen=True)
class Encoder:
    """What an architecture takes; with `recompute`, under gradient checkpointing."""

    config: PreTrainedConfig
    recompute: bool = False

    @cached_property
    def parameters(self) -> int:
        """Number of weights."""
        with self._fake() as model:
            return sum(parameter.numel() for parameter in model.parameters())

    @cached_property
    def flops(self) -> Polynomial:
        """FLOPs of encoding a text, by its number of tokens.

        A product of an (m, k) and a (k, n) matrix counts 2mkn; all else is left out.
        """
        import torch
        from torch.nn.attention import SDPBackend, sdpa_kernel
        from torch.utils.flop_counter import FlopCounterMode

        counts = []
        with self._fake() as model, torch.no_grad():
            for length in LENGTHS:
                # torch does not count the fused attention of a CPU; these are the same products.
                with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
                    forward(model, 1, length)
                counts.append(counter.get_total_flops())
        return Polynomial.fit(LENGTHS, counts, 2).convert()

    @property
    def step(self) -> Polynomial:
        """FLOPs of a training step on a text."""
        return (1 + BACKWARD + self.recompute) * self.flops

    def activations(self, texts: int, length: int, precision: str) -> float:
        """Bytes kept for the backward pass, beside the weights, of texts padded to a length."""
        import torch

        saved: set[torch.UntypedStorage] = set()

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            saved.add(tensor.untyped_storage())
            return tensor

        hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
        with self._fake() as model, hooks:
            forward(model, texts, length, precision)
            weights = {parameter.untyped_storage() for parameter in model.parameters()}
        kept = float(sum(storage.nbytes() for storage in saved - weights))
        if self.recompute:
            # And what one layer at a time recomputes.
            whole = replace(self, recompute=False).activations(texts, length, precision)
            kept += whole / self.config.num_hidden_layers
        return kept

    @contextmanager
    def _fake(self) -> Iterator[Any]:
        """The model without data, as is every tensor meanwhile."""
        from torch._subclasses.fake_tensor import FakeTensorMode
        from transformers.initialization import no_init_weights

        with FakeTensorMode(), no_init_weights():
            model = build(self.config)
            if self.recompute:
                model.activation_checkpointing_enable()
            # Activations are recomputed in training mode only. The other mode has no dropout, which
            # would keep torch from fusing attention on a CPU as on a GPU.
            yield model.train(self.recompute)


def build(config: PreTrainedConfig) -> Any:
    """An encoder with random weights in fp32."""
    import torch
    from transformers import AutoModel

    create: Any = AutoModel.from_config
    model = create(config, dtype=torch.float32)
    return model.get_encoder() if config.is_encoder_decoder else model


def forward(model: Any, texts: int, length: int, precision: str = "fp32") -> Any:
    """Hidden states of some texts, shape (texts, length, hidden size)."""
    import torch

    device = model.device.type
    ids = torch.ones((texts, length), dtype=torch.long, device=device)
    dtype = torch.float16 if precision == "fp16" else torch.bfloat16
    with torch.autocast(device, dtype=dtype, enabled=precision != "fp32"):
        return model(input_ids=ids, attention_mask=ids)[0]
