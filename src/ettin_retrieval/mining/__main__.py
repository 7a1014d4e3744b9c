"""Stage negatives: what the base encoder finds near the queries, to train on and to choose by.

It writes data/negatives, with the development set in `dev/`, and the scores of positives and
negatives for a plot.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from ettin_retrieval.data.negatives import DEVELOPMENT, write_negatives
from ettin_retrieval.data.storage import read_dataset, write_dataset
from ettin_retrieval.pipeline import Paths, run_stage, warn_of_strict_mode
from ettin_retrieval.runtime.files import replacing, write_json
from ettin_retrieval.settings.schema import Settings


def run(settings: Settings, paths: Paths) -> str:
    """Mine, and write `negatives.parquet`, `report.json` and the development set."""
    from ettin_retrieval.encoders.checkpoint import load_checkpoint, read_checkpoint
    from ettin_retrieval.encoders.encode import EmbeddingCache
    from ettin_retrieval.mining.candidates import check_negatives
    from ettin_retrieval.mining.development import SAMPLE, development_set
    from ettin_retrieval.mining.mine import mine

    train, dev = (read_dataset(paths["training"] / name) for name in ("train", "dev"))
    check_negatives(train, settings)
    warn_of_strict_mode(settings, "fp32")
    model = load_checkpoint(paths["encoder"])
    checkpoint = read_checkpoint(paths["encoder"])["fingerprint"]
    with TemporaryDirectory() as scratch:
        cache = None
        if settings.evaluation.cache_embeddings:
            cache = EmbeddingCache(checkpoint)
        elif len(train.corpus) <= SAMPLE:  # which is then encoded once for both
            cache = EmbeddingCache(checkpoint, Path(scratch))
        pairs, report = mine(train, model, settings, cache)
        dev = development_set(train, dev, model, settings, cache)
    with replacing(paths["negatives"]) as directory:
        write_negatives(pairs, directory)
        write_json(directory / "report.json", report.content())
        write_dataset(dev, directory / DEVELOPMENT)
    write_json(paths["plot"], report.histogram())
    passages = f"development queries over {len(dev.corpus):,} passages"
    return f"{report.summary(settings.negatives)}; {passages}"


if __name__ == "__main__":
    run_stage("negatives", run, reads=["training", "encoder"], writes=["negatives", "plot"])
