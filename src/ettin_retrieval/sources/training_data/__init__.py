"""What to train on: the configured source as a training and a development set."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ettin_retrieval.data import judgments
from ettin_retrieval.data.dataset import TEACHER, Origin, RetrievalDataset, frame
from ettin_retrieval.data.heldout import read_manifest
from ettin_retrieval.data.normalisation import digest
from ettin_retrieval.data.storage import write_dataset
from ettin_retrieval.pipeline import Paths
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.runtime.files import replacing, write_json
from ettin_retrieval.settings.schema import Settings
from ettin_retrieval.sources.training_data import decontamination

if TYPE_CHECKING:
    from ettin_retrieval.sources.tiny import DomainName

logger = logging.getLogger("ettin_retrieval")

Merge = Callable[[list[RetrievalDataset]], RetrievalDataset]


def run(settings: Settings, paths: Paths) -> str:
    """Read the configured source and write its training and development set."""
    datasets = load_source(settings, Path(settings.local.train))
    return write_training(datasets, paths["heldout"], settings, paths["training"])


def load_source(settings: Settings, beir_directory: Path) -> dict[str, RetrievalDataset]:
    """The source's `train`, and `dev` if it has a development split."""
    source = settings.train_source
    if source == "tiny":
        return load_tiny("web", settings)
    if source == "beir":
        from ettin_retrieval.sources import beir

        names = {"train", "dev"} & set(beir.splits(beir_directory)) | {"train"}
        strict = settings.data.strict_judgments
        loaded = {name: beir.load(beir_directory, name, strict=strict) for name in sorted(names)}
        return {name: without_flaws(dataset) for name, dataset in loaded.items()}
    from ettin_retrieval.sources.training_data import msmarco

    if source == "triplets":
        return msmarco.load_triplets()
    return msmarco.load(settings.data.msmarco_config, settings.data.rows_without_positive)


def without_flaws(dataset: RetrievalDataset) -> RetrievalDataset:
    """What can be trained on of a dataset; what cannot is logged."""
    for flaw in judgments.flaws(dataset, training=True):
        logger.warning("%s %s: %s", dataset.origin.source, dataset.origin.split, flaw)
    return judgments.trainable(dataset)


def load_tiny(domain: DomainName, settings: Settings) -> dict[str, RetrievalDataset]:
    """Generated rows of a domain; the training rows with a teacher's scores."""
    from ettin_retrieval.sources import tiny
    from ettin_retrieval.sources.training_data import msmarco

    skip = settings.data.rows_without_positive == "skip"
    datasets = {
        name: msmarco.from_rows(
            rows, Origin("tiny", tiny.VERSION, tiny.LICENCE, name), skip_without_positive=skip
        )
        for name, rows in tiny.training_rows(domain).items()
    }
    train = datasets["train"]
    ids = dict(zip(train.corpus["text"], train.corpus["id"], strict=True))
    scores = [
        (str(query_id), ids[passage], score)
        for (query_id, passage), score in tiny.teacher_scores(domain).items()
    ]
    datasets["train"] = replace(train, teacher=frame(scores, TEACHER)).validate()
    return datasets


def write_training(
    datasets: dict[str, RetrievalDataset],
    heldout: Path,
    settings: Settings,
    output: Path,
    merge: Merge | None = None,
) -> str:
    """Decontaminate, choose queries, and write `train/`, `dev/` and `decontamination.json`.

    Parameters
    ----------
    datasets
        `train`, and `dev` if there is a development split. With `merge`, collections by name.
    heldout
        Output of the stage heldout.
    merge
        Makes `train` of collections that have been decontaminated, each by itself.

    Returns
    -------
    What was written and what was removed, for the log.
    """
    setting, listed = settings.data.decontaminate, read_manifest(heldout)
    clean, report = decontamination.decontaminate(datasets, heldout, setting)
    if merge is not None:
        clean = {"train": merge(list(clean.values()))}
    chosen = training_and_dev(clean, settings)
    chosen["train"], removed = decontamination.remove_development_queries(
        chosen["train"], chosen["dev"]
    )
    # The ledger has these notes: entries show what their weights do not know.
    against = {"heldout": listed["sha256"][:12], "heldout_tasks": sorted(listed["tasks"])}
    with replacing(output) as directory:
        for name, dataset in chosen.items():
            noted = dataset.with_notes(decontaminate=setting, **against)
            write_dataset(noted, directory / name)
        content = {
            "decontaminate": setting, **against, "sets": report, "removed_for_development": removed,
        }  # fmt: skip
        write_json(directory / decontamination.REPORT_FILE, content)
    parts = [
        f"{name}: {len(dataset.queries):,} queries over {len(dataset.corpus):,} passages"
        for name, dataset in chosen.items()
    ]
    if removed:
        parts.append(f"{removed:,} training queries with the text of a development query removed")
    return ", ".join(filter(None, [*parts, decontamination.summary(report)]))


def training_and_dev(
    datasets: dict[str, RetrievalDataset], settings: Settings
) -> dict[str, RetrievalDataset]:
    """Seeded choice of the training and development queries.

    Without a development split, queries are held out of training: `data.dev_queries` of them, or
    a tenth if that is fewer. Of the passages that both corpora have, the development set keeps
    those judged for its queries: the stage negatives chooses from both
    (`mining.development.development_set`).

    Raises InputError if there are not enough queries for both.
    """
    random = np.random.default_rng(settings.seed)
    train, dev = datasets["train"], datasets.get("dev", datasets["train"])
    train_ids = _shuffled(train, random)
    if dev is not train:
        dev_ids = _shuffled(dev, random)[: settings.data.dev_queries]
    else:
        count = min(settings.data.dev_queries, -(-len(train_ids) // 10))
        dev_ids, train_ids = train_ids[:count], train_ids[count:]
    train_ids = _whole_questions(train, train_ids, settings.data.max_train_queries)
    for name, ids in (("training", train_ids), ("development", dev_ids)):
        if not ids:
            raise InputError(
                f"{train.origin.source} {train.origin.split}: no query is left for {name}; give "
                "more judged queries, or a development set of their own"
            )
    # Dev scores are rankings: they need no teacher.
    dev = replace(dev, teacher=None).with_queries(dev_ids)
    judged = dev.corpus["id"].isin(dev.qrels["corpus_id"])
    shared = set(train.passage_texts())
    own = pd.Series([text not in shared for text in dev.passage_texts()])
    dev = replace(dev, corpus=dev.corpus[judged | own].reset_index(drop=True))
    return {"train": train.with_queries(train_ids), "dev": dev}


def _whole_questions(
    dataset: RetrievalDataset, query_ids: list[str], most: int | None
) -> list[str]:
    """The first queries, at most so many; those with the same text all together or not at all.

    What is judged relevant under one id of a question is a false negative under the others, and
    mining knows the judgments of the chosen queries alone.
    """
    if most is None or len(query_ids) <= most:
        return query_ids
    texts = dict(zip(dataset.queries["id"], dataset.queries["text"], strict=True))
    questions: dict[bytes, list[str]] = defaultdict(list)
    for query_id in query_ids:
        questions[digest(texts[query_id])].append(query_id)
    chosen: list[str] = []
    for ids in questions.values():
        if len(chosen) + len(ids) <= most:
            chosen += ids
    return chosen


def _shuffled(dataset: RetrievalDataset, random: np.random.Generator) -> list[str]:
    """Ids of the queries with a relevant passage."""
    ids = sorted(dataset.positives())
    return [ids[i] for i in random.permutation(len(ids))]
