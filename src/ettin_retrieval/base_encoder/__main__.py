"""Stage base_encoder: write models/base."""

from __future__ import annotations

from ettin_retrieval.base_encoder.make import make_base_encoder
from ettin_retrieval.pipeline import Paths, run_stage
from ettin_retrieval.settings.schema import Settings


def run(settings: Settings, paths: Paths) -> str:
    """Write the checkpoint directory."""
    record = make_base_encoder(settings, paths["encoder"])
    return f"{record['parameters']:,} parameters, fingerprint {record['fingerprint'][:12]}"


if __name__ == "__main__":
    run_stage("base_encoder", run, writes=["encoder"])
