"""Stage domains: training data and negatives of the scientific domain; the pipeline's is the web.

On the track `tiny` the generated collection has scientific rows. On the track `paper` the train
judgments of SciFact and NFCorpus are taken together, each with its own passages.
"""

from __future__ import annotations

import pandas as pd

from ettin_retrieval import hub
from ettin_retrieval.data.dataset import CORPUS, QRELS, QUERIES, Origin, RetrievalDataset, frame
from ettin_retrieval.data.negatives import write_negatives
from ettin_retrieval.data.storage import read_dataset
from ettin_retrieval.pipeline import Paths, run_stage
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.runtime.files import replacing
from ettin_retrieval.settings.schema import Settings
from ettin_retrieval.sources import tiny
from ettin_retrieval.sources.training_data import load_tiny, write_training
from ettin_retrieval.tasks import full_name

WEB, SCIENTIFIC, OTHER = "web", "scientific", "other"

TRAIN_TASKS = ("SciFact", "NFCorpus")
"""mteb tasks whose train judgments are the scientific domain on the track `paper`."""


def domain_of(task: str) -> str:
    """The domain of a task; `other` if neither domain's training data belongs to it.

    >>> [domain_of(name) for name in ("TinySciFact", "MSMARCO", "NFCorpus", "Quora")]
    ['scientific', 'web', 'scientific', 'other']
    """
    name = full_name(task)
    if name in tiny.TASKS:
        return tiny.TASKS[name].domain
    return WEB if name == "MSMARCO" else SCIENTIFIC if name in TRAIN_TASKS else OTHER


def scientific(settings: Settings) -> dict[str, RetrievalDataset]:
    """The training set, and a development set if the source has one.

    Raises
    ------
    InputError
        The track has no second domain, or the Hub cannot be reached.
    """
    if settings.encoder.track == "tiny":
        return load_tiny("scientific", settings)
    if settings.encoder.track == "paper":
        return {"train": together([_train_judgments(name) for name in TRAIN_TASKS])}
    raise InputError(
        f"params.yaml: model: {settings.model} is on the track {settings.encoder.track}, which has "
        "no second domain; this study runs on the tracks tiny and paper"
    )


def _train_judgments(task: str) -> RetrievalDataset:
    """Train judgments of an mteb task, at the revision that mteb pins."""
    import mteb

    metadata = mteb.get_task(task).metadata
    repository, revision = metadata.dataset["path"], metadata.dataset["revision"]
    commit = hub.resolve_commit(repository, revision, "dataset")

    def rows(config: str, split: str) -> pd.DataFrame:
        loaded: pd.DataFrame = hub.load_split(repository, config, split, commit).to_pandas()
        return loaded

    qrels = rows("default", "train").sort_values(["query-id", "corpus-id"])
    queries = rows("queries", "queries").set_index("_id")["text"]
    corpus = rows("corpus", "corpus")
    judged = list(dict.fromkeys(qrels["query-id"]))
    passages = zip(corpus["_id"], corpus["title"], corpus["text"], strict=True)
    pairs = zip(qrels["query-id"], qrels["corpus-id"], qrels["score"], strict=True)
    return RetrievalDataset(
        corpus=frame(list(passages), CORPUS),
        queries=frame([(i, queries[i]) for i in judged], QUERIES),
        qrels=frame([(q, d, int(score)) for q, d, score in pairs], QRELS),
        origin=Origin(repository, commit, metadata.license or "unknown", "train", {"task": task}),
    ).validate()


def together(datasets: list[RetrievalDataset]) -> RetrievalDataset:
    """Several collections as one, with prefixed ids so that none clash."""

    def prefixed(number: int, table: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
        return table.assign(**{name: f"{number}-" + table[name] for name in columns})

    numbered = list(enumerate(datasets))
    origins = [dataset.origin for dataset in datasets]
    return RetrievalDataset(
        corpus=pd.concat([prefixed(n, d.corpus, ["id"]) for n, d in numbered], ignore_index=True),
        queries=pd.concat([prefixed(n, d.queries, ["id"]) for n, d in numbered], ignore_index=True),
        qrels=pd.concat(
            [prefixed(n, d.qrels, ["query_id", "corpus_id"]) for n, d in numbered],
            ignore_index=True,
        ),
        origin=Origin(
            " + ".join(origin.source for origin in origins),
            " + ".join(origin.revision for origin in origins),
            " + ".join(dict.fromkeys(origin.licence for origin in origins)),
            origins[0].split,
        ),
    ).validate()


def run(settings: Settings, paths: Paths) -> str:
    """Write the domain's training data and negatives, as the pipeline does for the web."""
    from ettin_retrieval.encoders.checkpoint import load_checkpoint
    from ettin_retrieval.mining.mine import mine, needs_encoder

    summary = write_training(scientific(settings), paths["benchmark"], settings, paths["training"])
    model = load_checkpoint(paths["encoder"]) if needs_encoder(settings) else None
    pairs, report = mine(read_dataset(paths["training"] / "train"), model, settings)
    with replacing(paths["negatives"]) as directory:
        write_negatives(pairs, directory)
    return f"{summary}, {report.pairs:,} pairs"


if __name__ == "__main__":
    run_stage("domains", run, reads=["benchmark", "encoder"], writes=["training", "negatives"])
