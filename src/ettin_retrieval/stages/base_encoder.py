"""Stage base_encoder: the encoder before fine-tuning, as a checkpoint."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ettin_retrieval.params import Settings
from ettin_retrieval.records import replacing
from ettin_retrieval.sources import synthetic
from ettin_retrieval.stages import Paths, run_stage


def body(settings: Settings, paths: Paths) -> str:
    """Write the checkpoint directory."""
    from ettin_retrieval.encoders import pretrained, random_encoder, save_checkpoint

    entry = settings.encoder
    with replacing(paths["encoder"]) as directory, tempfile.TemporaryDirectory() as scratch:
        if entry.shape is not None:
            texts = synthetic.lexicon()
            model = random_encoder(entry.shape, texts, entry, settings.seed, Path(scratch))
            origin = {"source": "embedded", "revision": f"seed {settings.seed}"}
        else:
            model, origin = pretrained(entry, str(paths["local"]))
        record = save_checkpoint(model, directory, origin)
    return f"{record['parameters']:,} parameters, identity {record['identity'][:12]}"


if __name__ == "__main__":
    run_stage("base_encoder", body, reads=["local"], writes=["encoder"])
