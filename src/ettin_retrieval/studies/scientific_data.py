"""Stage scientific_data: training data and negatives of the scientific domain.

The other domain is the web, whose training data is the pipeline's. On the track `tiny` the
scientific data is the generated collection's scientific rows, on the track `paper` the train
judgments of SciFact and NFCorpus, each over its own passages and decontaminated by itself.
"""

from __future__ import annotations

from collections import Counter

import pandas as pd

from ettin_retrieval.data.dataset import Origin, RetrievalDataset
from ettin_retrieval.data.negatives import DEVELOPMENT, write_negatives
from ettin_retrieval.data.storage import read_dataset, write_dataset
from ettin_retrieval.pipeline import Paths, run_stage
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.runtime.files import replacing, write_json
from ettin_retrieval.settings.schema import Settings
from ettin_retrieval.sources.benchmark_data import mteb
from ettin_retrieval.sources.training_data import (
    Merge,
    load_tiny,
    without_flaws,
    write_training,
)
from ettin_retrieval.studies.domains import SCIENTIFIC_TASKS


def load_scientific(settings: Settings) -> tuple[dict[str, RetrievalDataset], Merge | None]:
    """The domain's `train` and `dev`, or its collections by name and what merges them.

    Raises
    ------
    InputError
        The track has no second domain, or the Hub cannot be reached.
    """
    if settings.encoder.track == "tiny":
        return load_tiny("scientific", settings), None
    if settings.encoder.track == "paper":
        strict = settings.data.strict_judgments
        loaded = mteb.load(SCIENTIFIC_TASKS, "train", strict=strict)
        return {name: without_flaws(dataset) for name, dataset in loaded}, together
    raise InputError(
        f"params.yaml: model: {settings.model} is on the track {settings.encoder.track}, which has "
        "no second domain; this study runs on the tracks tiny and paper"
    )


def together(datasets: list[RetrievalDataset]) -> RetrievalDataset:
    """Several collections as one, with prefixed ids so that none clash; queries by id."""

    def joined(part: str, *ids: str) -> pd.DataFrame:
        tables = [getattr(dataset, part) for dataset in datasets]
        prefixed = [t.assign(**{c: f"{n}-" + t[c] for c in ids}) for n, t in enumerate(tables)]
        return pd.concat(prefixed, ignore_index=True)

    origins = [dataset.origin for dataset in datasets]
    counts = sum((Counter(origin.notes) for origin in origins), Counter())
    return RetrievalDataset(
        corpus=joined("corpus", "id"),
        queries=joined("queries", "id").sort_values("id", ignore_index=True),
        qrels=joined("qrels", "query_id", "corpus_id"),
        origin=Origin(
            source=" + ".join(origin.source for origin in origins),
            revision=" + ".join(origin.revision for origin in origins),
            licence=" + ".join(dict.fromkeys(origin.licence for origin in origins)),
            split=origins[0].split,
            notes=dict(sorted(counts.items())),
        ),
    ).validate()


def run(settings: Settings, paths: Paths) -> str:
    """Write the domain's training data and negatives, as the pipeline does for the web."""
    from ettin_retrieval.encoders.checkpoint import load_checkpoint
    from ettin_retrieval.mining.development import development_set
    from ettin_retrieval.mining.mine import mine

    parts, merge = load_scientific(settings)
    summary = write_training(parts, paths["heldout"], settings, paths["training"], merge)
    train, dev = (read_dataset(paths["training"] / name) for name in ("train", "dev"))
    model = load_checkpoint(paths["encoder"])
    pairs, report = mine(train, model, settings)
    with replacing(paths["negatives"]) as directory:
        write_negatives(pairs, directory)
        write_json(directory / "report.json", report.content())
        write_dataset(development_set(train, dev, model, settings), directory / DEVELOPMENT)
    return f"{summary}, {report.pairs:,} pairs"


if __name__ == "__main__":
    run_stage(
        "scientific_data", run, reads=["heldout", "encoder"], writes=["training", "negatives"]
    )
