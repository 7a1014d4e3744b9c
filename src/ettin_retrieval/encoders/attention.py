"""Which attention implementation an encoder is trained with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

SHORT = 128
"""Tokens up to which plain attention is faster on a CPU, and its memory does not matter."""


def choose_attention(model: SentenceTransformer) -> None:
    """Use plain attention for short texts on a CPU in strict mode.

    There the fused kernel's backward pass must be deterministic, which makes it slow.
    """
    import torch

    transformer: Any = model[0]
    deterministic = model.device.type == "cpu" and torch.are_deterministic_algorithms_enabled()
    if deterministic and transformer.document_length <= SHORT:
        transformer.model.set_attn_implementation("eager")
