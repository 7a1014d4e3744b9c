"""The development set: which passages it holds beside those judged for its queries."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest

from ettin_retrieval.data.dataset import CORPUS, QRELS, QUERIES, Origin, RetrievalDataset, frame
from ettin_retrieval.encoders.encode import Embeddings
from ettin_retrieval.mining import bm25, development
from ettin_retrieval.mining.bm25 import nearest_by_words
from ettin_retrieval.mining.development import development_set
from ettin_retrieval.settings.load import load_settings
from ettin_retrieval.settings.schema import Settings
from tests.workspace import ROOT

QUERY = "how tall is the tower"
ANSWER = "The tower measures ninety metres."
BY_WORDS = "A tall man sees a tall tower."
BY_MEANING = "Its height: 90 m."
OTHERS = [f"On gardening, part {number}." for number in range(30)]


class Meanings:
    """An encoder to which the query, its answer and `BY_MEANING` are near, all else is not."""

    def __init__(self) -> None:
        self.read: list[str] = []

    def encode_query(self, texts: list[str], **_: Any) -> Embeddings:
        return np.tile(np.array([1, 0, 0], dtype=np.float32), (len(texts), 1))

    def encode_document(self, texts: list[str], **_: Any) -> Embeddings:
        self.read += texts
        near = [0.9 if text in (ANSWER, BY_MEANING) else 0.0 for text in texts]
        return np.array([[similarity, 1, 0] for similarity in near], dtype=np.float32)


def dataset(passages: dict[str, str], split: str) -> RetrievalDataset:
    return RetrievalDataset(
        frame([(name, "", text) for name, text in passages.items()], CORPUS),
        frame([("q", QUERY)], QUERIES),
        frame([("q", "answer", 1)], QRELS),
        Origin("test", "1", "CC0-1.0", split),
    )


def whole(**more: str) -> dict[str, str]:
    """The corpus of the training set: the answer, two passages near the query, and others."""
    near = {"answer": ANSWER, "words": BY_WORDS, "meaning": BY_MEANING}
    return near | {f"other{i:02}": text for i, text in enumerate(OTHERS)} | more


def settings(passages: int, seed: int = 42) -> Settings:
    changes = {"data.dev_passages": passages, "seed": seed}
    return load_settings(ROOT / "params.yaml").with_changes(changes)


def chosen(
    passages: int, train: dict[str, str] | None = None, dev: dict[str, str] | None = None
) -> dict[str, str]:
    """Ids and texts of the development corpus."""
    made = made_of(passages, train, dev).corpus
    return dict(zip(made["id"], made["text"], strict=True))


def made_of(
    passages: int,
    train: dict[str, str] | None = None,
    dev: dict[str, str] | None = None,
    model: Any = None,
    seed: int = 42,
) -> RetrievalDataset:
    given = dataset(train or whole(), "train"), dataset(dev or {"answer": ANSWER}, "dev")
    encoder: Any = model or Meanings()
    return development_set(*given, encoder, settings(passages, seed))


def test_it_holds_the_nearest_passages_by_words_and_by_meaning() -> None:
    assert chosen(3) == {"answer": ANSWER, "meaning": BY_MEANING, "words": BY_WORDS}
    # Of one rank the lower id comes first.
    assert set(chosen(2)) == {"answer", "meaning"}


def test_judged_passages_are_kept_whatever_the_size() -> None:
    assert chosen(1) == {"answer": ANSWER}
    made = made_of(1000)
    assert len(made.corpus) == 33 and made.corpus["id"].is_monotonic_increasing
    assert made.origin.notes["passages_of_whole_corpus"] == 33


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (ANSWER, "the answer under another id"),
        ("THE  tower measures ninety\nmetres.", "the answer but for case and white space"),
        (QUERY.upper(), "the question itself"),
        (BY_WORDS, "a passage twice"),
    ],
)
def test_a_known_text_is_not_added(text: str, why: str) -> None:
    with_known = chosen(1000, whole(zz=text))
    assert "zz" not in with_known and len(with_known) == 33, why
    notes = made_of(1000, whole(zz=text)).origin.notes
    assert notes["passages_left_out_with_a_known_text"] == 1


def test_passages_of_both_sets_are_searched_and_clashing_ids_told_apart() -> None:
    """As in the triplets, whose two parts number their passages alike."""
    train = {"answer": BY_WORDS, "other": OTHERS[0]}
    dev = {"answer": ANSWER, "meaning": BY_MEANING}
    found = chosen(3, train, dev)
    assert found == {"answer": ANSWER, "meaning": BY_MEANING, "train-answer": BY_WORDS}


def test_only_the_seed_decides_what_no_rank_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(development, "BY_ENCODER", 2)
    backwards = dict(reversed(whole().items()))
    first = made_of(10)
    assert made_of(10, backwards).corpus.equals(first.corpus)
    other = set(made_of(10, seed=43).corpus["id"])
    assert {"answer", "words", "meaning"} < other != set(first.corpus["id"])


def test_the_encoder_reads_a_bounded_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(development, "BY_WORDS", 1)
    monkeypatch.setattr(development, "SAMPLE", 4)
    model = Meanings()
    notes = made_of(1000, model=model).origin.notes
    assert BY_WORDS in model.read and len(model.read) == notes["passages_ranked"]
    assert 4 <= len(model.read) <= 5

    monkeypatch.setattr(development, "SAMPLE", 33)
    model = Meanings()
    made_of(1000, model=model)
    assert model.read == list(whole().values()), "as mining reads them, so that a cache has them"


@pytest.mark.parametrize("part", [2, 5, 100])
def test_bm25_finds_the_same_passages_in_parts(part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bm25, "PART", part)
    texts = ["red fish", "blue fish", "green bird", "red red bird", "blue fish", "stone"]
    queries = ["the red ones", "a blue fish", "the", "water"]
    eligible = np.array([True, True, True, True, True, True])
    red, blue, *nothing = nearest_by_words(texts, queries, eligible, top_k=3)
    assert sorted(red) == [0, 3]
    assert set(blue[:2]) == {1, 4}
    assert part < 6 or blue[:2].tolist() == [1, 4], "equal scores by row"
    assert [len(rows) for rows in nothing] == [0, 0], "stop words, and unknown ones"
    eligible[1] = False
    assert nearest_by_words(texts, queries, eligible, top_k=1)[1].tolist() == [4]


def test_a_corpus_of_its_answers_alone_is_left_as_it_is() -> None:
    assert chosen(10, {"answer": ANSWER}) == {"answer": ANSWER}


def test_a_repeated_call_makes_the_same_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(development, "BY_ENCODER", 1)

    def digest(made: RetrievalDataset) -> str:
        return hashlib.sha256(made.corpus.to_json().encode()).hexdigest()

    assert digest(made_of(12)) == digest(made_of(12)) != digest(made_of(12, seed=43))
