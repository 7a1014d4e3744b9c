"""How many texts of what length: mteb's tasks, local collections, training sets."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import NormalDist
from typing import NamedTuple

from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.settings.schema import BENCHMARK_OF_TIER, Settings
from ettin_retrieval.settings.sections import BenchmarkSource
from ettin_retrieval.sources import beir, tiny
from ettin_retrieval.sources.benchmark_data import heldout
from ettin_retrieval.sources.training_data.msmarco import TRIPLET_ROWS
from ettin_retrieval.tasks import (
    TASKS_KEY,
    expand,
    mteb_names,
    mteb_task,
    split_of,
    task_of_directory,
)

CHARACTERS_PER_TOKEN = 4.5
"""Of English: all-MiniLM-L6-v2's WordPiece takes 4.50 on the first 1,000 passages of SciFact."""

SPREAD = 0.4
"""Standard deviation of the logarithm of a text's length, assumed: of 256 MS MARCO passages with
95 tokens on average, the longest then has 252. In such batches it was seen to have 217 to 311."""


class Texts(NamedTuple):
    """A number of texts and their mean length in characters."""

    number: int
    characters: float

    def times(self, factor: float) -> Texts:
        """A part of the texts, or several times all of them."""
        return Texts(round(self.number * factor), self.characters)

    def cut(self, most: int | None) -> Texts:
        """At most so many of the texts; None keeps all."""
        return self if most is None else Texts(min(self.number, most), self.characters)

    def tokens(self, longest: int) -> float:
        """Mean tokens per text with [CLS] and [SEP], an upper bound if only some exceed `longest`.

        >>> Texts(10, 45.0).tokens(512)
        12.0
        """
        return min(self.characters / CHARACTERS_PER_TOKEN + 2, longest)

    def padded(self, batch: int, longest: int) -> int:
        """Tokens to which a random batch is padded, if lengths are log-normal.

        >>> Texts(10, 420.0).padded(256, 512), Texts(10, 420.0).padded(256, 128)
        (252, 128)
        """
        ratio = math.exp(NormalDist(-(SPREAD**2) / 2, SPREAD).inv_cdf(batch / (batch + 1)))
        return min(round(self.characters / CHARACTERS_PER_TOKEN * ratio + 2), longest)


class Collection(NamedTuple):
    """Passages and queries of a task or a training set."""

    name: str
    passages: Texts
    queries: Texts

    @property
    def characters(self) -> float:
        """Characters of all texts."""
        return sum(texts.number * texts.characters for texts in (self.passages, self.queries))


MSMARCO = {
    # Rows of the train split: the card of microsoft/ms_marco. v2.1 has 10 passages per row by
    # design (Bajaj et al., 2016), of mteb's mean length over MSMARCO's corpus; v1.1 has about 8 of
    # 420 characters by the bytes on its card. Queries: mteb's mean over MSMARCO's dev split.
    "v1.1": Collection("msmarco", Texts(82_326 * 8, 420), Texts(82_326, 33)),
    "v2.1": Collection("msmarco", Texts(808_731 * 10, 336), Texts(808_731, 33)),
    # The same passages and queries as in v2.1.
    "triplets": Collection("triplets", Texts(TRIPLET_ROWS * 2, 336), Texts(TRIPLET_ROWS, 33)),
}

MSMARCO_DOWNLOAD = {"v1.1": 217_328_153, "v2.1": 1_384_271_865}
"""Bytes, from the same card."""


def tasks_of(settings: Settings, wanted: list[str] | str) -> list[Collection]:
    """The collections that checkpoints are evaluated on; nothing is read from the network.

    Raises
    ------
    InputError
        The benchmark has no task of a wanted name.
    """
    source = settings.benchmark_source
    if isinstance(wanted, str):
        source = BENCHMARK_OF_TIER.get(wanted, source)
    most = settings.data.max_corpus_size
    found = _collections(settings, source, wanted, TASKS_KEY)
    return [task._replace(passages=task.passages.cut(most)) for task in found]


def heldout_of(settings: Settings) -> list[Collection]:
    """The collections of `data.heldout`, as `tasks_of`, but whole."""
    return _collections(settings, settings.heldout_source, heldout.wanted(settings), heldout.KEY)


def _collections(
    settings: Settings, source: BenchmarkSource, wanted: list[str] | str, key: str
) -> list[Collection]:
    if source == "mteb":
        found = [_mteb(name) for name in expand(mteb_names(wanted), key)]
    elif source == "beir":
        paths = beir.collections(Path(settings.local.benchmark), "local.benchmark")
        found = [_beir(task_of_directory(path)[0], path) for path in paths]
    else:
        found = [
            Collection(name, _texts(data.passage_texts()), _texts(data.queries["text"].tolist()))
            for name, data in tiny.benchmark().items()
        ]
    if source != "mteb" and isinstance(wanted, list):
        names = [task.name for task in found]
        if unknown := ", ".join(sorted(set(wanted) - set(names))):
            raise InputError(f"{key}: no {unknown}; there are {', '.join(names)}")
        found = [task for task in found if task.name in wanted]
    return found


def training_set(settings: Settings) -> Collection:
    """The training set, one query per pair."""
    source = settings.train_source
    if source == "tiny":
        rows = tiny.training_rows()["train"]
        texts = [text for row in rows for text in row["passages"]["passage_text"]]
        whole = Collection(source, _texts(texts), _texts([row["query"] for row in rows]))
    elif source == "beir":
        whole = _beir(source, beir.collections(Path(settings.local.train), "local.train")[0])
    else:
        whole = MSMARCO[settings.data.msmarco_config if source == "msmarco" else source]
    queries = whole.queries.cut(settings.data.max_train_queries)
    share = queries.number / max(whole.queries.number, 1)
    return Collection(source, whole.passages.times(share), queries)


def _mteb(name: str) -> Collection:
    """A task by the statistics that mteb's package carries, of the split that is scored."""
    statistics = mteb_task(name).metadata.descriptive_stats
    if not statistics:
        raise InputError(f"evaluation.tasks: mteb carries no statistics of {name!r}")
    parts = []
    for kind in ("documents", "queries"):
        found = statistics[split_of(name)][f"{kind}_text_statistics"]
        mean = found["average_text_length"]
        parts.append(Texts(round(found["total_text_length"] / mean), mean))
    return Collection(name, *parts)


def _beir(name: str, directory: Path) -> Collection:
    """A BEIR directory, by lines and bytes."""
    parts = []
    for path in (directory / "corpus.jsonl", directory / "queries.jsonl"):
        with path.open("rb") as file:
            number = sum(1 for _ in file)
        parts.append(Texts(number, path.stat().st_size / max(number, 1)))
    return Collection(name, *parts)


def _texts(texts: list[str]) -> Texts:
    return Texts(len(texts), sum(map(len, texts)) / max(len(texts), 1))
