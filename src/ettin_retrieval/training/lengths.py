"""Where training cuts texts: at its own lengths, and never beyond those of the encoder."""

from __future__ import annotations

import logging

from sentence_transformers import SentenceTransformer

from ettin_retrieval.encoders.tokenise import Role, max_length_of
from ettin_retrieval.settings.schema import Settings

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
        if own is None:
            raise ValueError("an encoder without a maximum length; `base_encoder` sets one")
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
