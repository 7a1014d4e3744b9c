"""Stage negatives: negatives for every training pair, mined by the base encoder."""

from __future__ import annotations

from ettin_retrieval.params import Settings
from ettin_retrieval.records import read_dataset, replacing, write_json
from ettin_retrieval.stages import Paths, run_stage, tell_pinning


def body(settings: Settings, paths: Paths) -> str:
    """Write negatives.parquet, report.json, and the scores of both kinds for a plot."""
    from ettin_retrieval.encoders import load_checkpoint, read_checkpoint
    from ettin_retrieval.encoding import KeptEmbeddings
    from ettin_retrieval.negatives import (
        check_candidates,
        check_enough_passages,
        mine,
        needs_encoder,
        write_negatives,
    )

    train = read_dataset(paths["training"] / "train")
    check_candidates(train, settings)
    check_enough_passages(train, settings)
    if needs_encoder(settings):
        tell_pinning(settings, "fp32")
    model = load_checkpoint(paths["encoder"]) if needs_encoder(settings) else None
    identity = read_checkpoint(paths["encoder"])["identity"]
    keep = KeptEmbeddings(identity) if settings.evaluation.keep_embeddings else None
    pairs, report = mine(train, model, settings, keep)
    with replacing(paths["negatives"]) as directory:
        write_negatives(pairs, report, directory)
    write_json(paths["plot"], report.histogram())
    missing = f", {report.shortfall:,} missing" if report.shortfall else ""
    return (
        f"{settings.negatives.per_query} {settings.negatives.sampling} negatives for "
        f"{report.pairs:,} pairs, {report.filled_at_random:,} of them filled at random{missing}"
    )


if __name__ == "__main__":
    run_stage("negatives", body, reads=["training", "encoder"], writes=["negatives", "plot"])
