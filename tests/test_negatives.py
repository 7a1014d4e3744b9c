"""Which negatives are chosen, on vectors in the plane made by hand."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
import torch

from ettin_retrieval.data.dataset import (
    CORPUS,
    QRELS,
    QUERIES,
    TEACHER,
    Origin,
    RetrievalDataset,
    frame,
)
from ettin_retrieval.data.negatives import read_negatives, write_negatives
from ettin_retrieval.data.storage import write_dataset
from ettin_retrieval.mining import candidates as negatives_module
from ettin_retrieval.mining import passage_index
from ettin_retrieval.mining.mine import check_enough_passages, choose, mine
from ettin_retrieval.mining.passage_index import PassageIndex
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.settings.load import load_settings
from ettin_retrieval.settings.schema import Settings

ROOT = Path(__file__).resolve().parents[1]
ORIGIN = Origin("test", "1", "CC0-1.0", "train")

# Angles in degrees from the query at 0: the smaller, the nearer.
ANGLES = {"p": 30, "a": 10, "b": 40, "c": 60, "d": 89, "twin": 31}
CORPUS_ROWS = [(name, "", f"passage {name}") for name in ANGLES]


def vectors(angles: list[float]) -> np.ndarray:
    radians = np.deg2rad(angles)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def dataset(
    qrels: list[tuple[str, str, int]],
    corpus: list[tuple[str, str, str]] = CORPUS_ROWS,
    teacher: list[tuple[str, str, float]] | None = None,
) -> RetrievalDataset:
    return RetrievalDataset(
        frame(corpus, CORPUS),
        frame([("q", "query")], QUERIES),
        frame(qrels, QRELS),
        ORIGIN,
        None if teacher is None else frame(teacher, TEACHER),
    )


def settings(margin: float = 0.3, objective: str = "contrastive", **negatives: object) -> Settings:
    committed = load_settings(ROOT / "params.yaml").model_dump()
    committed["negatives"] |= {"per_query": 2, "top_k": 6, "sampling": "hard"} | negatives
    committed["finetuning"] |= {"margin": margin, "objective": objective}
    return Settings.model_validate(committed)


PASSAGES = vectors(list(ANGLES.values()))
QUERY = vectors([0])


def test_hard_negatives_are_the_nearest_that_are_not_positive() -> None:
    pairs, report = choose(dataset([("q", "p", 1)]), QUERY, PASSAGES, settings())
    assert pairs == [("q", "p", ["a", "twin"])]
    assert report.skipped == {"positive": 1}
    assert report.filled_at_random == 0


def test_a_positives_text_under_another_id_is_no_negative() -> None:
    corpus = [(n, t, "passage p" if n == "twin" else x) for n, t, x in CORPUS_ROWS]
    pairs, report = choose(dataset([("q", "p", 1)], corpus), QUERY, PASSAGES, settings())
    assert pairs == [("q", "p", ["a", "b"])]
    assert report.skipped == {"positive": 1, "same text as a positive": 1}


def test_each_positive_has_its_own_negatives_and_none_is_a_positive() -> None:
    pairs, _ = choose(dataset([("q", "p", 1), ("q", "a", 2)]), QUERY, PASSAGES, settings())
    assert pairs == [("q", "a", ["twin", "b"]), ("q", "p", ["twin", "b"])]


def test_a_judged_irrelevant_passage_may_be_a_negative() -> None:
    pairs, _ = choose(dataset([("q", "p", 1), ("q", "a", 0)]), QUERY, PASSAGES, settings())
    assert pairs == [("q", "p", ["a", "twin"])]


def test_of_queries_with_unequally_many_candidates_none_gets_anothers() -> None:
    rows = [("q", "p", 1), ("q", "b", 0), ("r", "a", 1), ("r", "c", 0), ("r", "d", 0)]
    two = replace(dataset(rows), queries=frame([("q", "query"), ("r", "other")], QUERIES))
    own = settings(source="row")
    pairs, report = choose(two, np.concatenate([QUERY, QUERY]), PASSAGES, own)
    assert pairs[1] == ("r", "a", ["c", "d"])
    assert pairs[0][:2] == ("q", "p") and pairs[0][2][0] == "b"
    assert (report.candidates, report.filled_at_random) == (3, 1)
    assert report.skipped == {}


def test_texts_are_told_apart_by_all_bits_of_their_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    def nearly_equal(texts: list[str]) -> np.ndarray:
        return np.arange(len(texts), dtype=np.uint64) + np.uint64(2**63)

    monkeypatch.setattr(negatives_module, "_numbers", nearly_equal)
    pairs, report = choose(dataset([("q", "p", 1)]), QUERY, PASSAGES, settings())
    assert pairs == [("q", "p", ["a", "twin"])]
    assert report.skipped == {"positive": 1}


def test_semi_hard_lies_below_the_positive_by_less_than_the_margin() -> None:
    # cos 30 = 0.866, so the floor is 0.566: cos 31 = 0.857 and cos 40 = 0.766 lie between;
    # cos 10 = 0.985 is above the positive, cos 60 = 0.5 below the floor.
    pairs, report = choose(
        dataset([("q", "p", 1)]), QUERY, PASSAGES, settings(sampling="semi_hard")
    )
    assert pairs == [("q", "p", ["twin", "b"])]
    assert report.skipped["not below the positive (semi_hard)"] == 1
    assert report.skipped["below the positive by the margin or more (semi_hard)"] == 2


def test_semi_hard_follows_the_positive_of_the_pair() -> None:
    # Above b (0.766) nothing may be taken; the floor is 0.466: only c (0.5) is between.
    one = settings(sampling="semi_hard", per_query=1)
    pairs, _ = choose(dataset([("q", "b", 1)]), QUERY, PASSAGES, one)
    assert pairs == [("q", "b", ["c"])]


def test_relative_margin_and_skipped_ranks() -> None:
    # 0.9 x 0.866 = 0.779: a and twin are too near.
    pairs, _ = choose(dataset([("q", "p", 1)]), QUERY, PASSAGES, settings(relative_margin=0.1))
    assert pairs == [("q", "p", ["b", "c"])]
    # Ranks are a, p, twin, b, ...: leaving out the first three leaves b first.
    pairs, report = choose(
        dataset([("q", "p", 1)]), QUERY, PASSAGES, settings(skip_first=3, top_k=6)
    )
    assert pairs == [("q", "p", ["b", "c"])]
    assert report.skipped["within skip_first"] == 2


def test_equal_scores_are_ordered_by_id() -> None:
    same = vectors([30, 50, 50, 50, 50, 50])
    pairs, _ = choose(dataset([("q", "p", 1)]), QUERY, same, settings(per_query=3))
    assert pairs == [("q", "p", ["a", "b", "c"])]


def test_what_is_short_is_filled_at_random_and_reported() -> None:
    # Within 5 hundredths below the positive there is only the twin.
    few = settings(margin=0.05, sampling="semi_hard", per_query=3)
    pairs, report = choose(dataset([("q", "p", 1)]), QUERY, PASSAGES, few)
    negatives = pairs[0][2]
    assert negatives[0] == "twin"
    assert len(set(negatives)) == 3
    assert "p" not in negatives
    assert report.filled_at_random == 2


@pytest.mark.parametrize("sampling", ["random", "hard"])
def test_the_same_seed_gives_the_same_negatives(sampling: str, tmp_path: Path) -> None:
    chosen = settings(sampling=sampling, per_query=4)
    data = dataset([("q", "p", 1)])
    embeddings = (None, None) if sampling == "random" else (QUERY, PASSAGES)
    pairs, report = choose(data, *embeddings, chosen)
    assert pairs == choose(data, *embeddings, chosen)[0]
    assert "p" not in pairs[0][2]
    assert len(set(pairs[0][2])) == 4
    write_negatives(pairs, report, tmp_path)
    assert read_negatives(tmp_path) == pairs


def test_another_seed_draws_others() -> None:
    data = dataset([("q", "p", 1)])
    drawn = set()
    for seed in range(8):
        other = settings(sampling="random").model_copy(update={"seed": seed})
        drawn.add(tuple(choose(data, None, None, other)[0][0][2]))
    assert len(drawn) > 1


def test_each_positive_sets_its_own_semi_hard_bounds() -> None:
    # p (0.866) allows twin (0.857) and b (0.766); a (0.985) allows p, were it no positive, and
    # twin and b; c (0.5) is below both floors.
    one = settings(sampling="semi_hard", margin=0.2)
    pairs, report = choose(dataset([("q", "p", 1), ("q", "c", 1)]), QUERY, PASSAGES, one)
    assert [(p, n[0]) for _, p, n in pairs] == [("c", pairs[0][2][0]), ("p", "twin")]
    # Below c (0.5) there is only d (0.017), too far below: both negatives are random.
    assert set(pairs[0][2]) <= {"a", "b", "d", "twin"}
    assert pairs[1][2] == ["twin", "b"]
    assert report.filled_at_random == 2
    assert report.skipped["positive"] == 4  # two positives, seen by two pairs
    assert report.skipped["not below the positive (semi_hard)"] == 3 + 1
    assert report.skipped["below the positive by the margin or more (semi_hard)"] == 1 + 1


def test_absolute_margin_bounds_from_above() -> None:
    # 0.866 - 0.05 = 0.816: a (0.985) and twin (0.857) are too near.
    pairs, report = choose(
        dataset([("q", "p", 1)]), QUERY, PASSAGES, settings(absolute_margin=0.05)
    )
    assert pairs == [("q", "p", ["b", "c"])]
    assert report.skipped == {"positive": 1, "too near the positive (absolute_margin)": 2}
    # With a floor as well: semi-hard between 0.566 and 0.816 is b alone.
    both = settings(absolute_margin=0.05, sampling="semi_hard", per_query=1)
    assert choose(dataset([("q", "p", 1)]), QUERY, PASSAGES, both)[0] == [("q", "p", ["b"])]


def test_a_window_of_ranks() -> None:
    # Ranks are a, p, twin, b, c, d: from the second to the fourth are p, twin and b.
    window = settings(skip_first=1, top_k=4, per_query=3)
    pairs, report = choose(dataset([("q", "p", 1)]), QUERY, PASSAGES, window)
    assert pairs[0][2][:2] == ["twin", "b"]
    assert report.candidates == 4
    assert report.skipped == {"within skip_first": 1, "positive": 1}
    assert report.filled_at_random == 1


def test_a_text_is_a_negative_once() -> None:
    corpus = [(n, t, "passage a" if n in {"twin", "b"} else x) for n, t, x in CORPUS_ROWS]
    pairs, report = choose(dataset([("q", "p", 1)], corpus), QUERY, PASSAGES, settings())
    assert pairs == [("q", "p", ["a", "c"])]
    assert report.skipped == {"positive": 1, "same text as a nearer candidate": 2}
    every = settings(sampling="random", per_query=3)
    negatives = choose(dataset([("q", "p", 1)], corpus), None, None, every)[0][0][2]
    assert len({"a" if n in {"twin", "b"} else n for n in negatives}) == 3


ROW = [("q", "p", 1), ("q", "twin", 2), ("q", "c", 0), ("q", "b", 0), ("q", "d", 0)]


@pytest.mark.parametrize(
    ("changes", "negatives"),
    [
        # a is the nearest of all, but not of the query's row: b, c, d.
        ({}, ["b", "c"]),
        ({"skip_first": 1}, ["c", "d"]),
        ({"top_k": 2, "per_query": 1, "skip_first": 1}, ["c"]),
        ({"sampling": "semi_hard", "margin": 0.4, "absolute_margin": 0.2}, ["c", "?"]),
        ({"relative_margin": 0.2}, ["c", "d"]),
        ({"sampling": "random", "per_query": 3}, ["b", "c", "d"]),
    ],
)
def test_the_rows_own_unselected_passages(changes: dict[str, Any], negatives: list[str]) -> None:
    own = settings(source="row", **changes)
    embeddings = (None, None) if own.negatives.sampling == "random" else (QUERY, PASSAGES)
    pairs, report = choose(dataset(ROW), *embeddings, own)
    assert [positive for _, positive, _ in pairs] == ["p", "twin"]
    for _, _, chosen in pairs:
        assert len(chosen) == len(negatives)
        # What the row leaves short (?) comes from the corpus, and is never a positive.
        assert all(is_ == want or want == "?" for is_, want in zip(chosen, negatives, strict=True))
        assert not {"p", "twin"} & set(chosen)
    assert report.filled_at_random == 2 * negatives.count("?")


def test_random_negatives_of_a_row_are_drawn_for_each_pair() -> None:
    own = settings(source="row", sampling="random", per_query=1)
    drawn = set()
    for seed in range(12):
        pairs, _ = choose(dataset(ROW), None, None, own.model_copy(update={"seed": seed}))
        drawn.add(tuple(negatives[0] for _, _, negatives in pairs))
    assert {name for pair in drawn for name in pair} == {"b", "c", "d"}
    assert any(first != second for first, second in drawn)


def test_a_row_without_unselected_passages_is_refused() -> None:
    with pytest.raises(InputError, match=r"negatives.source: row takes passages judged 0"):
        choose(dataset([("q", "p", 1)]), QUERY, PASSAGES, settings(source="row"))


def test_a_collection_without_judged_negatives_falls_back_to_its_corpus(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As the recipe `paper` asks for: its triplets have their own, BEIR collections have none."""
    caplog.set_level("INFO")
    either = settings(source="row_or_corpus")
    assert (
        choose(dataset(ROW), QUERY, PASSAGES, either)[0]
        == (choose(dataset(ROW), QUERY, PASSAGES, settings(source="row"))[0])
    )
    assert not caplog.messages
    positive = dataset([("q", "p", 1)])
    assert choose(positive, QUERY, PASSAGES, either)[0] == [("q", "p", ["a", "twin"])]
    assert caplog.messages == [
        "negatives: test has no passages judged 0; they are taken from its whole corpus"
    ]
    drawn, _ = choose(positive, None, None, settings(source="row_or_corpus", sampling="random"))
    assert len(set(drawn[0][2]) - {"p"}) == 2


def test_sampled_negatives_are_a_seeded_draw_from_the_allowed() -> None:
    # Allowed under the absolute margin are b, c and d; the nearest would be b and c.
    data = dataset([("q", "p", 1)])
    sampled = settings(draw="sampled", absolute_margin=0.05)
    drawn = set()
    for seed in range(12):
        one = sampled.model_copy(update={"seed": seed})
        pairs, report = choose(data, QUERY, PASSAGES, one)
        assert pairs == choose(data, QUERY, PASSAGES, one)[0]
        assert report.filled_at_random == 0
        drawn.add(tuple(pairs[0][2]))
    # In the order of nearness.
    assert drawn == {("b", "c"), ("b", "d"), ("c", "d")}
    nearest = sampled.negatives.model_copy(update={"draw": "nearest"})
    pairs, _ = choose(data, QUERY, PASSAGES, sampled.model_copy(update={"negatives": nearest}))
    assert pairs == [("q", "p", ["b", "c"])]


TAUGHT = [("q", "p", 1.0), ("q", "a", 0.5), ("q", "c", 0.25)]


@pytest.mark.parametrize(
    ("changes", "negatives"),
    [
        ({}, ["a", "c"]),
        ({"per_query": 4}, ["a", "c"]),
        ({"absolute_margin": 0.1}, ["c"]),
        ({"sampling": "random", "per_query": 4}, ["a", "c"]),
        ({"source": "row"}, ["c"]),
    ],
)
def test_a_distilled_pair_has_negatives_that_the_teacher_scored(
    changes: dict[str, Any], negatives: list[str]
) -> None:
    qrels = [("q", "p", 1), ("q", "twin", 1), ("q", "c", 0), ("q", "b", 0)]
    distil = settings(objective="margin_mse", **changes)
    embeddings = (None, None) if distil.negatives.sampling == "random" else (QUERY, PASSAGES)
    pairs, report = choose(dataset(qrels, teacher=TAUGHT), *embeddings, distil)
    # The positive twin has no score; what is short stays short, because the corpus has none.
    assert pairs == [("q", "p", negatives)]
    assert report.pairs_without_teacher == 1
    assert report.filled_at_random == 0
    assert report.shortfall == distil.negatives.per_query - len(negatives)


@pytest.mark.parametrize(
    ("teacher", "told"),
    [
        (None, "margin_mse needs a teacher's scores, and the training data (test) has none"),
        ([("q", "p", 1.0)], "margin_mse found no query whose positive and another passage"),
    ],
)
def test_distilling_without_scores_is_refused(
    teacher: list[tuple[str, str, float]] | None, told: str
) -> None:
    data = dataset([("q", "p", 1)], teacher=teacher)
    with pytest.raises(InputError) as refused:
        choose(data, QUERY, PASSAGES, settings(objective="margin_mse"))
    assert told in str(refused.value)


def test_the_report_accounts_for_every_candidate(tmp_path: Path) -> None:
    few = settings(sampling="semi_hard", per_query=5)
    pairs, report = choose(dataset([("q", "p", 1), ("q", "a", 1)]), QUERY, PASSAGES, few)
    write_negatives(pairs, report, tmp_path)
    told = json.loads((tmp_path / "report.json").read_text())
    assert (told["pairs"], told["wanted"], told["candidates"]) == (2, 10, 12)
    # Of the six candidates of each pair: two positives; twin and b are allowed for both.
    assert told["skipped"] == {
        "positive": 4,
        "below the positive by the margin or more (semi_hard)": 4,
    }
    # The corpus has but four passages that may be negatives.
    assert told["filled_at_random"] == 4
    assert told["shortfall"] == 10 - 2 * 4
    scores = told["scores"]
    assert len(scores["edges"]) == len(scores["positives"]) + 1
    assert (scores["edges"][0], scores["edges"][-1]) == pytest.approx((0.017452, 0.984808))
    assert (sum(scores["positives"]), sum(scores["negatives"])) == (2, 8)
    assert scores["positives"][-1] == 1
    assert scores["negatives"][0] == 2
    shares = report.histogram()
    assert sum(row["negatives"] for row in shares) == pytest.approx(1, abs=1e-4)
    assert shares[0]["negatives"] == 2 / 8


def test_random_negatives_have_no_scores_to_draw() -> None:
    _, report = choose(dataset([("q", "p", 1)]), None, None, settings(sampling="random"))
    assert report.histogram() == []
    assert report.content()["scores"] == {"edges": [], "positives": [], "negatives": []}


class Lookup:
    """Stands for an encoder: the embedding of a text is a row of a table."""

    def __init__(self) -> None:
        names = [text for _, _, text in CORPUS_ROWS]
        self.table = dict(zip(["query", *names], np.concatenate([QUERY, PASSAGES]), strict=True))
        self.calls: list[int] = []

    def encode_document(self, texts: list[str], **_: Any) -> torch.Tensor:
        self.calls.append(len(texts))
        return torch.from_numpy(np.stack([self.table[text] for text in texts]))

    encode_query = encode_document


def test_mining_encodes_the_corpus_shard_by_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(negatives_module, "SHARD", 4)
    model: Any = Lookup()
    pairs, _ = mine(dataset([("q", "p", 1)]), model, settings())
    assert pairs == choose(dataset([("q", "p", 1)]), QUERY, PASSAGES, settings())[0]
    assert model.calls == [4, 2, 1]


def disturbed(rows: np.ndarray) -> np.ndarray:
    """What a search on other hardware finds: the same passages in another order."""
    return np.ascontiguousarray(rows[:, ::-1])


def test_another_search_order_gives_the_same_negatives(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(3)
    passages = random.normal(size=(60, 8)).astype(np.float32)
    passages[30:] = passages[:30]  # every score is there twice
    corpus = [(f"d{i:02}", "", f"text {i}") for i in range(60)]
    query = random.normal(size=(1, 8)).astype(np.float32)
    many = settings(top_k=20, per_query=15)
    data = dataset([("q", "d07", 1)], corpus)
    here = choose(data, query, passages, many)
    search = PassageIndex._search
    monkeypatch.setattr(PassageIndex, "_search", lambda self, q, k: disturbed(search(self, q, k)))
    there = choose(data, query, passages, many)
    assert here[0] == there[0]
    assert here[1].content() == there[1].content()


def test_without_a_gpu_the_search_is_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 0)
    # faiss-gpu imports there too, and its index of no GPU would crash.
    monkeypatch.setattr(faiss, "StandardGpuResources", object, raising=False)
    monkeypatch.setattr(faiss, "index_cpu_to_all_gpus", None)
    assert passage_index.gpus() == 0
    index = PassageIndex(2, np.arange(6))
    index.add(PASSAGES)
    assert index.nearest(QUERY, 2)[1].tolist() == [[1, 0]]


def test_with_a_gpu_one_sharded_copy_is_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    searches = []

    class Options:
        shard = False

    class OnGpus:
        def __init__(self, index: Any) -> None:
            self.index = index

        def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
            searches.append((self, k))
            scores, rows = self.index.search(queries, k)
            return np.nextafter(scores[:, ::-1], 2), disturbed(rows)

    def copy(index: Any, co: Options) -> Any:
        assert co.shard
        return OnGpus(index)

    monkeypatch.setattr(passage_index, "gpus", lambda: 1)
    monkeypatch.setattr(faiss, "GpuMultipleClonerOptions", Options, raising=False)
    monkeypatch.setattr(faiss, "index_cpu_to_all_gpus", copy)
    index = PassageIndex(2, np.arange(6))
    index.add(PASSAGES)
    assert index.nearest(QUERY, 2)[1].tolist() == [[1, 0]]
    assert index.nearest(QUERY, 3)[1].tolist() == [[1, 0, 5]]
    assert [k for _, k in searches] == [6, 6]
    assert searches[0][0] is searches[1][0], "copied once"
    # FAISS finds no more than 2,048 neighbours on a GPU.
    monkeypatch.setattr(passage_index, "GPU_LIMIT", 5)
    assert index.nearest(QUERY, 2)[1].tolist() == [[1, 0]]
    assert len(searches) == 2


def test_more_ties_than_are_searched_for_are_ordered_by_id() -> None:
    # Corpus row 199 is first by id: a search that stops at 21 of 200 equal scores misses it.
    index = PassageIndex(2, tie_order=np.arange(200)[::-1].copy())
    index.add(np.ones((200, 2), dtype=np.float32))
    scores, rows = index.nearest(np.ones((1, 2), dtype=np.float32), 5)
    assert rows.tolist() == [[199, 198, 197, 196, 195]]
    assert scores.tolist() == [[2.0] * 5]


def test_the_memory_benchmark_mines(tmp_path: Path) -> None:
    path = ROOT / "benchmarks" / "mining_memory.py"
    spec = importlib.util.spec_from_file_location("mining_memory", path)
    assert spec is not None and spec.loader is not None
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    write_dataset(benchmark.collection(passages=120, queries=5), tmp_path / "collection")
    told = benchmark.measure(tmp_path / "collection", 8, ROOT / "params.yaml")
    assert (told["passages"], told["queries"], told["pairs"]) == (120, 5, 5)
    assert told["above_index_gib"] == pytest.approx(told["peak_gib"] - told["index_gib"], abs=2e-3)


def test_more_negatives_than_there_are_other_passages_are_refused() -> None:
    given = dataset([("q", "p", 1), ("q", "a", 1)])
    most = len(given.corpus) - 2
    check_enough_passages(given, settings(per_query=most))
    with pytest.raises(InputError, match=f"has {most} others than its positives; ask for {most} "):
        check_enough_passages(given, settings(per_query=most + 1))
