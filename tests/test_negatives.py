"""Which negatives are chosen, on vectors in the plane made by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ettin_retrieval.negatives import choose, read_negatives, write_negatives
from ettin_retrieval.params import Settings, load_settings
from ettin_retrieval.records import CORPUS, QRELS, QUERIES, Origin, RetrievalDataset, frame

ROOT = Path(__file__).resolve().parents[1]
ORIGIN = Origin("test", "1", "CC0-1.0", "train")

# Angles in degrees from the query at 0: the smaller, the nearer.
ANGLES = {"p": 30, "a": 10, "b": 40, "c": 60, "d": 89, "twin": 31}
CORPUS_ROWS = [(name, "", f"passage {name}") for name in ANGLES]


def vectors(angles: list[float]) -> np.ndarray:
    radians = np.deg2rad(angles)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def dataset(qrels: list[tuple[str, str, int]], corpus: list[tuple[str, str, str]] = CORPUS_ROWS):
    return RetrievalDataset(
        frame(corpus, CORPUS), frame([("q", "query")], QUERIES), frame(qrels, QRELS), ORIGIN
    )


def settings(margin: float = 0.3, **negatives: object) -> Settings:
    committed = load_settings(ROOT / "params.yaml").model_dump()
    committed["negatives"] |= {"per_query": 2, "top_k": 6, "sampling": "hard"} | negatives
    committed["finetuning"]["margin"] = margin
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
