"""The encoder that the settings select, as a checkpoint."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from ettin_retrieval.base_encoder.pretrained import pretrained
from ettin_retrieval.base_encoder.random_weights import random_encoder
from ettin_retrieval.encoders.checkpoint import save_checkpoint
from ettin_retrieval.runtime.files import replacing
from ettin_retrieval.settings.schema import Settings
from ettin_retrieval.sources.tiny.world import lexicon


def make_base_encoder(settings: Settings, output: Path) -> dict[str, Any]:
    """Write the checkpoint directory and return its record.

    Raises InputError if the Hub cannot be reached or the directory does not hold such an encoder.
    """
    entry, seed = settings.encoder, settings.seed
    with replacing(output) as directory, tempfile.TemporaryDirectory() as scratch:
        if entry.shape is not None:
            model = random_encoder(entry, lexicon(), seed, Path(scratch))
            origin = {"source": "tiny", "revision": f"seed {seed}"}
        else:
            model, origin = pretrained(entry, settings.local.encoder)
        return save_checkpoint(model, directory, origin)
