"""A ModernBERT with random weights: the encoder of the tiny world."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ettin_retrieval.base_encoder.assemble import assemble
from ettin_retrieval.settings.sections import Encoder

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def random_encoder(
    entry: Encoder, texts: list[str], seed: int, scratch: Path
) -> SentenceTransformer:
    """A ModernBERT of the entry's shape with random weights and a tokenizer made from the texts.

    Parameters
    ----------
    scratch
        Empty directory for the transformers files, which are read back like any other encoder's.
    """
    import torch
    from transformers import ModernBertConfig, ModernBertModel

    from ettin_retrieval.base_encoder.tokenizer import train_tokenizer

    shape = entry.shape
    if shape is None:
        raise ValueError("an encoder with random weights needs a shape")
    tokenizer = train_tokenizer(texts, shape.vocabulary)
    config = ModernBertConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        max_position_embeddings=1024,
        local_attention=128,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.cls_token_id,
        eos_token_id=tokenizer.sep_token_id,
        cls_token_id=tokenizer.cls_token_id,
        sep_token_id=tokenizer.sep_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ModernBertModel(config)
    model.save_pretrained(scratch)
    tokenizer.save_pretrained(scratch)
    return assemble(scratch, entry, "encoder with random weights")
