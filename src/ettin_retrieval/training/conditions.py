"""What encoder and hardware make of the settings: where training cuts texts, and its precision."""

from __future__ import annotations

import logging
from functools import cache

from sentence_transformers import SentenceTransformer

from ettin_retrieval.encoders.precision import has_bf16
from ettin_retrieval.encoders.tokenise import Role, max_length_of
from ettin_retrieval.settings.schema import Settings
from ettin_retrieval.settings.sections import Precision

logger = logging.getLogger("ettin_retrieval")

KEYS: dict[Role, str] = {"query": "max_query_length", "passage": "max_passage_length"}
"""Of a role's length, in `finetuning` and in the record of a checkpoint."""


def training_lengths(model: SentenceTransformer, settings: Settings) -> dict[Role, int]:
    """Role to the number of tokens at which training cuts its texts.

    The encoder's own lengths are those of the development score and of evaluation. A longer one in
    `finetuning` is lowered to them with a warning: what it adds would never be read again.
    """
    lengths: dict[Role, int] = {}
    for role, key in KEYS.items():
        own, wanted = max_length_of(model, role), settings.training_lengths[key]
        if own is None:  # static embeddings read whole texts
            continue
        if wanted is not None and wanted > own:
            logger.warning(
                "finetuning.%s: %d is more than the %d tokens at which the encoder cuts (see "
                "encoders.yaml); trained at %d",
                key,
                wanted,
                own,
                own,
            )
        lengths[role] = min(wanted or own, own)
    return lengths


def training_precision(settings: Settings, device: str) -> Precision:
    """The precision that a type of device trains in: never, by `auto`, a bf16 that it emulates."""
    wanted = settings.training_precision
    if settings.finetuning.precision == "auto" and wanted == "bf16" and not has_bf16(device):
        _say_that_fp32_is_taken(settings.recipe, device)
        return "fp32"
    return wanted


@cache  # says so once
def _say_that_fp32_is_taken(recipe: str, device: str) -> None:
    logger.warning(
        "finetuning.precision: auto is bf16 in recipe %s, and fp32 here: bf16 would be emulated on "
        "this %s, as on any CPU in strict mode",
        recipe,
        {"cpu": "CPU", "cuda": "GPU"}.get(device, device),
    )
