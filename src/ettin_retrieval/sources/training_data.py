"""Stage training_data: the configured source becomes a training and a development set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ettin_retrieval.data.dataset import TEACHER, Origin, RetrievalDataset, frame
from ettin_retrieval.data.storage import write_dataset
from ettin_retrieval.pipeline import Paths, run_stage
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.runtime.files import replacing, write_json
from ettin_retrieval.settings.schema import Settings
from ettin_retrieval.sources import decontamination as overlap

if TYPE_CHECKING:
    from ettin_retrieval.sources.tiny.generator import DomainName


def load_source(settings: Settings, beir_directory: Path) -> dict[str, RetrievalDataset]:
    """Training set, and development set where the source has one."""
    source = settings.train_source
    if source == "tiny":
        return load_tiny("web", settings)
    if source == "msmarco":
        from ettin_retrieval.sources import msmarco

        return msmarco.load(settings.data.msmarco_config, settings.data.rows_without_positive)
    if source == "triplets":
        from ettin_retrieval.sources import triplets

        return triplets.load()
    from ettin_retrieval.sources import beir

    names = {"train", "dev"} & set(beir.splits(beir_directory)) | {"train"}
    return {name: beir.load(beir_directory, name) for name in sorted(names)}


def load_tiny(domain: DomainName, settings: Settings) -> dict[str, RetrievalDataset]:
    """Generated rows of a domain, with the scores of a teacher that knows what they mean."""
    from ettin_retrieval.sources import msmarco, tiny

    rows = tiny.training_rows(domain)
    origin = Origin("tiny", tiny.VERSION, tiny.LICENCE, "train")
    skip = settings.data.rows_without_positive == "skip"
    datasets = {
        name: msmarco.from_rows(rows[name], replace(origin, split=name), skip_without_positive=skip)
        for name in ("train", "dev")
    }
    datasets["train"] = _taught(datasets["train"], tiny.teacher_scores(domain))
    return datasets


def _taught(dataset: RetrievalDataset, scores: dict[tuple[int, str], float]) -> RetrievalDataset:
    """The dataset with a teacher's scores of (query_id, passage text)."""
    ids = dict(zip(dataset.corpus["text"], dataset.corpus["id"], strict=True))
    rows = [(str(query_id), ids[text], score) for (query_id, text), score in scores.items()]
    return replace(dataset, teacher=frame(rows, TEACHER)).validate()


def training_and_dev(
    datasets: dict[str, RetrievalDataset], settings: Settings
) -> dict[str, RetrievalDataset]:
    """Seeded choice of the training and development queries.

    Without a development split, queries are held out of training: `data.dev_queries`, or a tenth
    of the training queries if that is fewer. The development corpus is cut to
    `data.dev_passages`, because it is encoded again and again while training; what is judged
    for a development query is always in it.

    Raises
    ------
    InputError
        There are not enough queries for both.
    """
    random = np.random.default_rng(settings.seed)
    train = datasets["train"]
    train_ids = _shuffled(train, random)
    if "dev" in datasets:
        dev = datasets["dev"]
        dev_ids = _shuffled(dev, random)[: settings.data.dev_queries]
    else:
        dev = train
        count = min(settings.data.dev_queries, -(-len(train_ids) // 10))
        dev_ids, train_ids = train_ids[:count], train_ids[count:]
    train_ids = train_ids[: settings.data.max_train_queries]
    for name, ids in (("training", train_ids), ("development", dev_ids)):
        if not ids:
            raise InputError(
                f"{train.origin.source} {train.origin.split}: no query is left for {name}; give "
                "more judged queries, or a development set of their own"
            )
    # Development measures rankings: a teacher's scores are of no use to it.
    chosen = replace(dev, teacher=None).with_queries(dev_ids)
    return {
        "train": train.with_queries(train_ids),
        "dev": _smaller_corpus(chosen, settings.data.dev_passages, random),
    }


def _smaller_corpus(
    dataset: RetrievalDataset, passages: int, random: np.random.Generator
) -> RetrievalDataset:
    """The judged passages, and others drawn at random up to a number of passages in all."""
    judged = dataset.corpus["id"].isin(set(dataset.qrels["corpus_id"])).to_numpy()
    others = np.flatnonzero(~judged)
    drawn = random.permutation(others)[: max(0, passages - int(judged.sum()))]
    kept = np.sort(np.concatenate([np.flatnonzero(judged), drawn]))
    notes = {**dataset.origin.notes, "passages_of_whole_corpus": len(dataset.corpus)}
    return replace(
        dataset,
        corpus=dataset.corpus.iloc[kept].reset_index(drop=True),
        origin=replace(dataset.origin, notes=notes),
    )


def _shuffled(dataset: RetrievalDataset, random: np.random.Generator) -> list[str]:
    ids = sorted(dataset.positives())
    return [ids[i] for i in random.permutation(len(ids))]


def write_training(
    datasets: dict[str, RetrievalDataset], benchmark: Path, settings: Settings, output: Path
) -> str:
    """Write `train/`, `dev/` and `overlap.json`: what is chosen, less what the benchmark holds.

    Returns
    -------
    str
        What was written and what was removed, for the log.
    """
    found = overlap.find(datasets, benchmark)
    removal = settings.data.decontaminate
    chosen = training_and_dev(overlap.without(datasets, found, removal), settings)
    chosen, developed = overlap.without_development_queries(chosen)
    with replacing(output) as directory:
        for name, dataset in chosen.items():
            write_dataset(dataset, directory / name)
        content = overlap.report(found, removal) | {"removed_for_development": len(developed)}
        write_json(directory / "overlap.json", content)
    told = [
        f"{name}: {len(d.queries):,} queries over {len(d.corpus):,} passages"
        for name, d in chosen.items()
    ]
    if developed:
        told.append(f"{len(developed):,} training queries that development asks too removed")
    return ", ".join([*told, *filter(None, [overlap.told(found, removal)])])


def run(settings: Settings, paths: Paths) -> str:
    """Read the configured source and write its training and development set."""
    datasets = load_source(settings, Path(settings.local.train))
    return write_training(datasets, paths["benchmark"], settings, paths["training"])


if __name__ == "__main__":
    run_stage("training_data", run, reads=["benchmark"], writes=["training"])
