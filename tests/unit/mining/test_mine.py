"""Mining as a whole: encoding, search, ties, batches, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ettin_retrieval.data.dataset import RetrievalDataset
from ettin_retrieval.data.negatives import Pair, read_negatives
from ettin_retrieval.data.storage import read_dataset, write_dataset
from ettin_retrieval.encoders.encode import Embeddings
from ettin_retrieval.mining import __main__ as stage
from ettin_retrieval.mining import candidates
from ettin_retrieval.mining import mine as module
from ettin_retrieval.mining.candidates import check_negatives
from ettin_retrieval.mining.mine import mine
from ettin_retrieval.mining.passage_index import PassageIndex
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.runtime.files import read_json
from ettin_retrieval.settings.schema import Settings
from tests.small import save_small_checkpoint
from tests.unit.mining.plane import (
    ANGLES,
    PASSAGES,
    POSITIVE,
    QUERY,
    Lookup,
    dataset,
    mined,
    settings,
    vectors,
)


def naive(
    given: RetrievalDataset, queries: Embeddings, passages: Embeddings, wanted: Settings
) -> list[Pair]:
    """Semi-hard negatives of each pair, passage by passage."""
    ids, texts = given.corpus["id"].tolist(), given.passage_texts()
    row = {passage: number for number, passage in enumerate(ids)}
    found = []
    for query, vector in zip(given.queries["id"], queries.astype(np.float64), strict=True):
        score = {p: np.float32(passages[row[p]].astype(np.float64) @ vector) for p in ids}
        ranked = sorted(ids, key=lambda p: (-score[p], p))[: wanted.negatives.range_max]
        positives = sorted(given.positives().get(query, {}))
        for positive in positives:
            floor = float(score[positive]) - wanted.finetuning.margin
            seen = {texts[row[p]] for p in positives}
            negatives: list[str] = []
            for passage in ranked:
                if texts[row[passage]] in seen:
                    continue
                seen.add(texts[row[passage]])
                if floor < float(score[passage]) < float(score[positive]):
                    negatives.append(passage)
            found.append((query, positive, negatives[: wanted.negatives.num_negatives]))
    return found


@pytest.mark.parametrize("batch", [1, 7, 1024])
def test_negatives_are_those_of_a_naive_loop(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", batch)
    monkeypatch.setattr(candidates, "PAIRS", 4 * batch)
    random = np.random.default_rng(11)
    names = [f"d{number}" for number in random.permutation(80)]
    corpus = [(name, "", f"text {random.integers(60)}") for name in names]
    queries = tuple(f"q{number}" for number in range(12))
    qrels = [
        (query, str(passage), int(score))
        for query in queries
        for passage, score in zip(
            random.choice(names, 6, replace=False), random.integers(0, 2, 6), strict=True
        )
    ]
    given = dataset(qrels, corpus, queries=queries)
    # Few distinct coordinates give many equal scores; equal texts have equal ones.
    of_text = random.integers(-2, 3, size=(60, 3)).astype(np.float32)
    passages = of_text[[int(text.split()[1]) for _, _, text in corpus]]
    of_queries = random.integers(-2, 3, size=(12, 3)).astype(np.float32)
    wanted = settings(sampling="semi_hard", margin=5.0, num_negatives=3, range_max=60)
    expected = naive(given, of_queries, passages, wanted)
    pairs, report = mined(given, wanted, of_queries, passages)
    assert [pair[:2] for pair in pairs] == [pair[:2] for pair in expected]
    for (_, _, negatives), (_, _, nearest) in zip(pairs, expected, strict=True):
        assert negatives[: len(nearest)] == nearest
    # The rest is random.
    short = sum(3 - len(nearest) for _, _, nearest in expected)
    assert 0 < short < 2 * len(expected)
    assert report.filled_at_random == short


def test_equal_scores_are_ordered_by_id() -> None:
    same = vectors([30, 50, 50, 50, 50, 50])
    pairs, _ = mined(dataset(), settings(num_negatives=3), passages=same)
    assert pairs == [("q", "p", ["a", "b", "c"])]


def test_another_search_order_gives_the_same_negatives(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(3)
    passages = random.normal(size=(60, 8)).astype(np.float32)
    passages[30:] = passages[:30]  # every score occurs twice
    corpus = [(f"d{i:02}", "", f"text {i}") for i in range(60)]
    query = random.normal(size=(1, 8)).astype(np.float32)
    many = settings(range_max=20, num_negatives=15)
    data = dataset([("q", "d07", 1)], corpus)
    here = mined(data, many, query, passages)
    search = PassageIndex._search
    # As on other hardware: the same passages in another order.
    monkeypatch.setattr(PassageIndex, "_search", lambda self, q, k: search(self, q, k)[:, ::-1])
    there = mined(data, many, query, passages)
    assert here[0] == there[0]
    assert here[1].content() == there[1].content()


def test_mining_encodes_the_corpus_shard_by_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "SHARD", 4)
    model: Any = Lookup(dataset(), QUERY, PASSAGES)
    pairs, _ = mine(dataset(), model, settings())
    assert pairs == mined(dataset(), settings())[0] == [("q", "p", ["a", "twin"])]
    assert model.calls == [4, 2, 1]


def test_hard_negatives_need_an_encoder() -> None:
    with pytest.raises(ValueError, match="hard negatives need an encoder"):
        mine(dataset(), None, settings())


def test_more_negatives_than_there_are_other_passages_are_refused() -> None:
    given = dataset([*POSITIVE, ("q", "a", 1)])
    most = len(given.corpus) - 2
    check_negatives(given, settings(num_negatives=most))
    with pytest.raises(InputError, match=f"has {most} others than its positives; ask for {most} "):
        check_negatives(given, settings(num_negatives=most + 1))


def test_the_stage_writes_negatives_a_report_and_a_plot(tmp_path: Path) -> None:
    for name in ("train", "dev"):
        write_dataset(dataset(), tmp_path / "training" / name)
    save_small_checkpoint(tmp_path / "encoder", layers=1)
    paths = {name: tmp_path / name for name in ("training", "encoder", "negatives", "plot")}
    summary = stage.run(settings(sampling="random"), paths)
    pairs, report = mined(dataset(), settings(sampling="random"))
    assert read_negatives(paths["negatives"]) == pairs
    assert read_json(paths["negatives"] / "report.json") == report.content()
    assert read_json(paths["plot"]) == report.histogram()
    assert read_dataset(paths["negatives"] / "dev").corpus["id"].tolist() == sorted(ANGLES)
    assert summary == (
        "2 random negatives for 1 pairs, 0 of them filled at random; development queries over 6 "
        "passages"
    )
