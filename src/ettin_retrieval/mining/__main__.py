"""Stage negatives: write data/negatives and the scores of positives and negatives for a plot."""

from __future__ import annotations

from ettin_retrieval.data.negatives import write_negatives
from ettin_retrieval.data.storage import read_dataset
from ettin_retrieval.pipeline import Paths, run_stage, warn_of_strict_mode
from ettin_retrieval.runtime.files import replacing, write_json
from ettin_retrieval.settings.schema import Settings


def run(settings: Settings, paths: Paths) -> str:
    """Mine, and write `negatives.parquet` and `report.json`."""
    from ettin_retrieval.encoders.checkpoint import load_checkpoint, read_checkpoint
    from ettin_retrieval.encoders.encode import EmbeddingCache
    from ettin_retrieval.mining.candidates import check_negatives
    from ettin_retrieval.mining.mine import mine, needs_encoder

    train = read_dataset(paths["training"] / "train")
    check_negatives(train, settings)
    model = None
    if needs_encoder(settings):
        warn_of_strict_mode(settings, "fp32")
        model = load_checkpoint(paths["encoder"])
    cache = None
    if settings.evaluation.cache_embeddings:
        cache = EmbeddingCache(read_checkpoint(paths["encoder"])["fingerprint"])
    pairs, report = mine(train, model, settings, cache)
    with replacing(paths["negatives"]) as directory:
        write_negatives(pairs, directory)
        write_json(directory / "report.json", report.content())
    write_json(paths["plot"], report.histogram())
    return report.summary(settings.negatives)


if __name__ == "__main__":
    run_stage("negatives", run, reads=["training", "encoder"], writes=["negatives", "plot"])
