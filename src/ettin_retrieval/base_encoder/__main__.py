"""Stage base_encoder: write models/base."""

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

    encoder = settings.encoder
    with replacing(paths["encoder"]) as directory, tempfile.TemporaryDirectory() as scratch:
        if encoder.shape is not None:
            model = random_encoder(encoder, tiny.lexicon(), settings.seed, Path(scratch))
            origin = {"source": "tiny", "revision": f"seed {settings.seed}"}
        else:
            model, origin = pretrained(encoder, settings.local.encoder)
        record = save_checkpoint(model, directory, origin)
    return f"{record['parameters']:,} parameters, fingerprint {record['fingerprint'][:12]}"


if __name__ == "__main__":
    run_stage("base_encoder", run, writes=["encoder"])
