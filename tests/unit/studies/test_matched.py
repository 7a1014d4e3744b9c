"""Two domains of the same size: queries, pairs, and what the evaluation asks."""

from __future__ import annotations

from collections import Counter
from typing import Any

from ettin_retrieval.data.dataset import CORPUS, QRELS, QUERIES, Origin, RetrievalDataset, frame
from ettin_retrieval.experiment import Material
from ettin_retrieval.studies.matched import matched, with_train
from ettin_retrieval.studies.settings import TwoDomains
from tests.unit.studies.inputs import dataset


def collection(name: str, queries: int, relevant: int) -> Material:
    """Every query has so many relevant passages of its own."""
    pairs = [(f"q{q}", f"d{q}-{d}") for q in range(queries) for d in range(relevant)]
    train = RetrievalDataset(
        corpus=frame([(d, "", f"{name} {d}") for _, d in pairs], CORPUS),
        queries=frame([(f"q{q}", f"{name} query {q}") for q in range(queries)], QUERIES),
        qrels=frame([(q, d, 1) for q, d in pairs], QRELS),
        origin=Origin(name, "1", "CC0-1.0", "train"),
    )
    return Material(train, dataset("dev", 2), [(q, d, []) for q, d in pairs])


def sizes(material: Material) -> tuple[int, int]:
    return len(material.train.queries), len(material.pairs or [])


MATERIALS = {"web": collection("web", 500, 1), "scientific": collection("science", 30, 40)}


def drawn(seed: int = 1, **limits: Any) -> dict[str, Material]:
    given = {"queries": None, "pairs_per_query": 1} | limits
    return matched(MATERIALS, TwoDomains(**given), seed)


def test_both_domains_have_as_many_queries_and_pairs() -> None:
    assert {name: sizes(m) for name, m in drawn().items()} == {
        "web": (30, 30), "scientific": (30, 30)
    }  # fmt: skip
    assert {sizes(m) for m in drawn(queries=8).values()} == {(8, 8)}
    # The web has one pair a query, so that a higher cap finds no more of the other domain.
    assert {sizes(m) for m in drawn(pairs_per_query=5).values()} == {(30, 30)}


def test_pairs_per_query_are_capped() -> None:
    both = {"a": MATERIALS["scientific"], "b": collection("other", 50, 3)}
    capped = matched(both, TwoDomains(queries=20, pairs_per_query=2), 1)
    assert {sizes(m) for m in capped.values()} == {(20, 40)}
    chosen = matched(both, TwoDomains(queries=20, pairs_per_query=4), 1)
    assert {sizes(m) for m in chosen.values()} == {(20, 60)}
    for material in chosen.values():
        counts = Counter(query for query, _, _ in material.pairs or [])
        assert len(counts) == 20 and max(counts.values()) <= 4


def test_every_query_keeps_all_its_judgments() -> None:
    train = drawn()["scientific"].train
    assert {len(of) for of in train.positives().values()} == {40}, "mining must know them"
    assert train.manifest()["notes"] == {"pairs_trained_on": 30}


def test_a_seed_draws_the_same_and_another_seed_others() -> None:
    one, again, other = (drawn(seed, queries=8)["web"].pairs for seed in (1, 1, 2))
    assert one == again != other


def test_the_pairs_follow_their_queries() -> None:
    material = MATERIALS["scientific"]
    fewer = with_train(material, material.train.with_queries(["q1", "q2"]))
    assert sizes(fewer) == (2, 80)
    assert {query for query, _, _ in fewer.pairs or []} == {"q1", "q2"}
