"""Parameters and floating-point operations of an encoder, counted from its shape.

A product of an (m, k) and a (k, n) matrix counts 2mkn operations. What is not a matrix product
(norms, activations, rotary positions, pooling) is left out, as is usual: it is under 1%.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ettin_retrieval.settings.schema import Shape

BACKWARD = 2
"""A backward pass costs two forward passes: gradients of inputs, and of weights."""

ETTIN_VOCABULARY = 50_368

ETTIN_SHAPES = {
    name: Shape(
        layers=layers,
        hidden_size=hidden,
        intermediate_size=intermediate,
        heads=heads,
        vocabulary=ETTIN_VOCABULARY,
    )
    for name, layers, hidden, intermediate, heads in (
        ("17m", 7, 256, 384, 4),
        ("32m", 10, 384, 576, 6),
        ("68m", 19, 512, 768, 8),
        ("150m", 22, 768, 1152, 12),
        ("400m", 28, 1024, 2624, 16),
        ("1b", 28, 1792, 3840, 28),
    )
}
"""Of jhu-clsp/ettin-encoder-*, as in table 1 of the Ettin paper (Weller et al., 2025)."""


@dataclass(frozen=True)
class Architecture:
    """What the cost of an encoder depends on.

    Attributes
    ----------
    gated
        Whether the feed-forward layer has a gate (ModernBERT's GeGLU), and so three matrices
        instead of two.
    window
        Tokens that a local layer attends to; None where every layer is global.
    global_every
        Every how manieth layer is global, starting with the first.
    """

    layers: int
    hidden: int
    intermediate: int
    vocabulary: int
    gated: bool = True
    window: int | None = 128
    global_every: int = 3

    @property
    def global_layers(self) -> int:
        """Layers that attend to the whole text."""
        return self.layers if self.window is None else -(-self.layers // self.global_every)

    @property
    def matrices(self) -> int:
        """Weights that every token is multiplied with."""
        feed_forward = (3 if self.gated else 2) * self.hidden * self.intermediate
        return self.layers * (4 * self.hidden**2 + feed_forward)

    @property
    def parameters(self) -> int:
        """Weights in all: matrices, token embeddings and norms.

        >>> of_shape(ETTIN_SHAPES["150m"]).parameters // 10**6
        149
        """
        return self.matrices + self.vocabulary * self.hidden + 2 * self.layers * self.hidden

    def forward_flops(self, lengths: npt.ArrayLike) -> float:
        """Operations of encoding texts of these numbers of tokens, without padding.

        Of n tokens, attention multiplies n x n scores twice in a global layer (queries with keys,
        weights with values), and n x min(n, window) in a local one.

        >>> tiny = Architecture(layers=1, hidden=2, intermediate=3, vocabulary=10, gated=False)
        >>> tiny.forward_flops([5])  # 2 x 5 x (4 x 4 + 2 x 6) + 4 x 25 x 2
        480.0
        """
        tokens = np.asarray(lengths, dtype=np.float64)
        reach = tokens if self.window is None else np.minimum(tokens, self.window)
        local_layers = self.layers - self.global_layers
        scores = self.global_layers * tokens**2 + local_layers * tokens * reach
        return float((2 * self.matrices * tokens + 4 * self.hidden * scores).sum())


def of_shape(shape: Shape) -> Architecture:
    """The ModernBERT of a shape."""
    return Architecture(
        layers=shape.layers,
        hidden=shape.hidden_size,
        intermediate=shape.intermediate_size,
        vocabulary=shape.vocabulary,
    )


def of_config(config: dict[str, Any]) -> Architecture:
    """The architecture that a transformers config.json describes: ModernBERT, or BERT and its like.

    >>> bert = {"model_type": "bert", "num_hidden_layers": 6, "hidden_size": 384,
    ...         "intermediate_size": 1536, "vocab_size": 30522}
    >>> of_config(bert).gated, of_config(bert).global_layers
    (False, 6)
    """
    modern = config.get("model_type") == "modernbert"
    return Architecture(
        layers=config["num_hidden_layers"],
        hidden=config["hidden_size"],
        intermediate=config["intermediate_size"],
        vocabulary=config["vocab_size"],
        gated=modern,
        window=config.get("local_attention", 128) if modern else None,
        global_every=config.get("global_attn_every_n_layers") or 3,
    )
