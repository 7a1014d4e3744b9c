"""Stage base_encoder: the encoder before fine-tuning, as a checkpoint."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ettin_retrieval.pipeline import Paths, run_stage
from ettin_retrieval.runtime.files import replacing
from ettin_retrieval.settings.schema import Settings
from ettin_retrieval.sources import tiny


def run(settings: Settings, paths: Paths) -> str:
    """Write the checkpoint directory."""
    from ettin_retrieval.base_encoder.pretrained import pretrained
    from ettin_retrieval.base_encoder.random_weights import random_encoder
    from ettin_retrieval.encoders.checkpoint import save_checkpoint

    entry, seed = settings.encoder, settings.seed
    with replacing(paths["encoder"]) as directory, tempfile.TemporaryDirectory() as scratch:
        if entry.shape is not None:
            model = random_encoder(entry, tiny.lexicon(), seed, Path(scratch))
            origin = {"source": "tiny", "revision": f"seed {seed}"}
        else:
            model, origin = pretrained(entry, settings.local.encoder)
        record = save_checkpoint(model, directory, origin)
    return f"{record['parameters']:,} parameters, fingerprint {record['fingerprint'][:12]}"


if __name__ == "__main__":
    run_stage("base_encoder", run, writes=["encoder"])
