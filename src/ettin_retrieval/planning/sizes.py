"""How many texts of what length: of mteb's tasks, local collections and training sets.

Sizes of mteb's tasks are mteb's own descriptive statistics, which the package carries. Nothing is
read from the network.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.settings.schema import BENCHMARK_OF_TIER, Settings

CHARACTERS_PER_TOKEN = 4.5
"""Of English: all-MiniLM-L6-v2's WordPiece takes 4.50 on the first 1,000 passages of SciFact."""

SPECIAL_TOKENS = 2
"""[CLS] and [SEP]."""

MSMARCO_ROWS = {"v1.1": 82_326, "v2.1": 808_731}

MSMARCO_DOWNLOAD = {"v1.1": 217_328_153, "v2.1": 1_384_271_865}
"""Rows of the train split and bytes to download, from the card of microsoft/ms_marco."""

MSMARCO_PASSAGES = {"v1.1": 8, "v2.1": 10}
"""Passages a row: 10 by design (Bajaj et al., 2016); about 8 where v1.1's card gives the bytes."""

MSMARCO_CHARACTERS = {"v1.1": 420, "v2.1": 336}
"""Of a passage: in v2.1 mteb's mean over MSMARCO's corpus, in v1.1 what the card's bytes leave."""

QUERY_CHARACTERS = 33
"""Of an MS MARCO query: mteb's mean over the dev split of MSMARCO."""

TEXT_STATISTICS = "mteb/descriptive_stats/Retrieval"

CQADUPSTACK = "CQADupstackRetrieval"


@dataclass(frozen=True)
class Texts:
    """A number of texts and their mean length in characters."""

    count: int
    characters: float

    def tokens_each(self, longest: int) -> float:
        """Mean tokens of a text that is cut at `longest`.

        A mean cannot tell how many texts are longer: this is an upper bound.

        >>> Texts(10, 45.0).tokens_each(512)
        12.0
        """
        return min(self.characters / CHARACTERS_PER_TOKEN + SPECIAL_TOKENS, longest)

    def tokens(self, longest: int) -> float:
        """Tokens of all of them."""
        return self.count * self.tokens_each(longest)


@dataclass(frozen=True)
class Collection:
    """Passages and queries of a task or of a training set."""

    name: str
    passages: Texts
    queries: Texts


def tasks_of(settings: Settings, wanted: list[str] | str) -> list[Collection]:
    """The collections that checkpoints are evaluated on.

    Raises
    ------
    InputError
        A name that the source of the tasks does not have.
    """
    found = _whole_collections(settings, wanted)
    most = settings.data.max_corpus_size
    return [
        replace(
            c, passages=replace(c.passages, count=min(c.passages.count, most or c.passages.count))
        )
        for c in found
    ]


def _whole_collections(settings: Settings, wanted: list[str] | str) -> list[Collection]:
    source = settings.benchmark_source
    if isinstance(wanted, str):
        source = BENCHMARK_OF_TIER.get(wanted, source)
    if source == "mteb":
        return [mteb_task(name) for name in mteb_names(wanted)]
    if source == "beir":
        from ettin_retrieval.sources.beir import collections
        from ettin_retrieval.tasks import task_of_directory

        there = collections(Path(settings.local.benchmark), "local.benchmark")
        found = [_beir(directory, task_of_directory(directory)[0]) for directory in there]
    else:
        from ettin_retrieval.sources import tiny

        found = [
            Collection(
                name,
                _texts(dataset.passage_texts()),
                _texts(dataset.queries["text"].tolist()),
            )
            for name, dataset in tiny.benchmark().items()
        ]
    if isinstance(wanted, str):
        return found
    unknown = set(wanted) - {collection.name for collection in found}
    if unknown:
        names = ", ".join(collection.name for collection in found)
        raise InputError(f"evaluation.tasks: no {', '.join(sorted(unknown))}; there are {names}")
    return [collection for collection in found if collection.name in wanted]


def mteb_names(wanted: list[str] | str) -> list[str]:
    """Names of mteb's tasks for `evaluation.tasks`, CQADupstackRetrieval as its twelve parts."""
    from ettin_retrieval.tasks import GUIDE_TASKS

    if wanted == "eng-v2":
        import mteb

        tasks = mteb.get_benchmark("MTEB(eng, v2)").tasks
        names = [t.metadata.name for t in tasks if t.metadata.type == "Retrieval"]
    else:
        names = list(GUIDE_TASKS) if isinstance(wanted, str) else wanted
    parts = sorted(path.stem for path in _statistics().glob("CQADupstack*Retrieval.json"))
    return [part for name in names for part in (parts if name == CQADUPSTACK else [name])]


def mteb_task(name: str) -> Collection:
    """Size of a task by mteb's descriptive statistics, of the split that is scored.

    Raises
    ------
    InputError
        mteb has no statistics of that name.
    """
    from ettin_retrieval.tasks import split_of

    path = _statistics() / f"{name}.json"
    if not path.is_file():
        raise InputError(f"evaluation.tasks: mteb carries no statistics of {name!r}")
    statistics = json.loads(path.read_text(encoding="utf-8"))[split_of(name)]
    documents, queries = (
        statistics[f"{kind}_text_statistics"] for kind in ("documents", "queries")
    )
    return Collection(name, _described(documents), _described(queries))


def _described(statistics: dict[str, float]) -> Texts:
    characters = statistics["average_text_length"]
    return Texts(round(statistics["total_text_length"] / characters), characters)


def _statistics() -> Path:
    """Found without importing mteb, which takes seconds."""
    found = find_spec("mteb")
    if found is None or not found.submodule_search_locations:
        raise InputError("mteb is not installed")
    return Path(found.submodule_search_locations[0]).parent / TEXT_STATISTICS


def _beir(directory: Path, name: str) -> Collection:
    """Size of a BEIR directory, by lines and bytes."""
    return Collection(name, _lines(directory / "corpus.jsonl"), _lines(directory / "queries.jsonl"))


def _lines(path: Path) -> Texts:
    count = size = 0
    with path.open("rb") as file:
        for line in file:
            count, size = count + 1, size + len(line)
    return Texts(count, size / max(count, 1))


def _texts(texts: list[str]) -> Texts:
    return Texts(len(texts), sum(map(len, texts)) / max(len(texts), 1))


def training_set(settings: Settings) -> Collection:
    """The training set, one query a pair."""
    source, most = settings.train_source, settings.data.max_train_queries
    if source == "tiny":
        from ettin_retrieval.sources import tiny

        rows = tiny.training_rows()["train"]
        passages = [text for row in rows for text in row["passages"]["passage_text"]]
        made = Collection(source, _texts(passages), _texts([row["query"] for row in rows]))
    elif source == "beir":
        from ettin_retrieval.sources.beir import collections

        made = _beir(collections(Path(settings.local.train), "local.train")[0], source)
    elif source == "triplets":
        from ettin_retrieval.sources.triplets import TRAIN_ROWS

        made = _msmarco(source, TRAIN_ROWS, 2, MSMARCO_CHARACTERS["v2.1"])
    else:
        config = settings.data.msmarco_config
        made = _msmarco(
            source, MSMARCO_ROWS[config], MSMARCO_PASSAGES[config], MSMARCO_CHARACTERS[config]
        )
    share = 1.0 if most is None else min(1.0, most / made.queries.count)
    return Collection(made.name, _part(made.passages, share), _part(made.queries, share))


def _msmarco(name: str, rows: int, passages: int, characters: float) -> Collection:
    return Collection(name, Texts(rows * passages, characters), Texts(rows, QUERY_CHARACTERS))


def _part(texts: Texts, share: float) -> Texts:
    return Texts(round(texts.count * share), texts.characters)
