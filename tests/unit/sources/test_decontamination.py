"""Queries that overlap with held-out tasks: found, reported and removed."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from ettin_retrieval.data.dataset import CORPUS, QRELS, QUERIES, Origin, RetrievalDataset, frame
from ettin_retrieval.data.heldout import HeldOutTask, held_out, sketch_of, write_heldout
from ettin_retrieval.data.normalisation import Hashes
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.sources import beir
from ettin_retrieval.sources.training_data.decontamination import (
    Setting,
    Texts,
    decontaminate,
    overlap_with,
    remove_development_queries,
    summary,
)
from ettin_retrieval.studies.scientific_data import together


def collection(
    queries: dict[str, str],
    passages: dict[str, tuple[str, str]],
    qrels: list[tuple[str, str, int]],
) -> RetrievalDataset:
    return RetrievalDataset(
        corpus=frame([(i, title, text) for i, (title, text) in passages.items()], CORPUS),
        queries=frame(list(queries.items()), QUERIES),
        qrels=frame(qrels, QRELS),
        origin=Origin("example", "1", "CC0-1.0", "train"),
    ).validate()


@pytest.fixture
def heldout(tmp_path: Path) -> Path:
    task = collection(
        {"t1": "Where is  OSLO?", "t2": "who wrote Faust?", "t3": "never judged"},
        {
            "d1": ("", "Oslo is in Norway."),
            "d2": ("Faust", "A play by Goethe."),
            "d3": ("", "Of no use to anybody."),
            "d4": ("", "Ulm is on the Danube."),
            "d5": ("", "Bern is on a river."),
        },
        [("t1", "d1", 1), ("t2", "d2", 2), ("t2", "d3", 0)],
    )
    write_heldout([("Atlas", task)], "auto", tmp_path / "heldout")
    return tmp_path / "heldout"


@pytest.fixture
def train() -> RetrievalDataset:
    return collection(
        {
            "same": "where is oslo?",  # other case and spaces
            "answer": "famous plays",  # d2's title and text answer it
            "shared": "what is useless",  # d3 is in the collection, but relevant to no query
            "unjudged": "never judged",  # the task does not score this query
            "own": "how tall are giraffes",
        },
        {
            "p1": ("", "A city."),
            "p2": ("", "faust a PLAY by Goethe."),
            "p3": ("", "Of no use\u00a0to anybody."),
            "p4": ("", "Up to six metres."),
        },
        [
            ("same", "p1", 1),
            ("answer", "p2", 1),
            ("shared", "p3", 1),
            ("unjudged", "p1", 1),
            ("own", "p4", 1),
            ("own", "p2", 0),  # a judged negative is not an answer
        ],
    )


def test_queries_and_answers_of_held_out_tasks_are_removed(
    heldout: Path, train: RetrievalDataset
) -> None:
    clean, report = decontaminate({"train": train}, heldout, True)
    kept = clean["train"]
    assert set(kept.queries["id"]) == {"shared", "unjudged", "own"}
    assert set(kept.qrels["query_id"]) == {"shared", "unjudged", "own"}
    assert len(kept.corpus) == 4, "passages stay: the task may have the same collection"
    assert kept.manifest()["notes"] == {"queries_removed_for_overlap": 2}
    assert report == {
        "train": {
            "queries": 2,
            "queries_removed": 2,
            "tasks": {
                "Atlas": {
                    "queries_removed": 2,
                    "queries_with_the_same_text": 1,
                    "queries_with_the_same_answer": 1,
                    "same_collection": False,
                    "share_of_the_set": 0.5,
                    "share_of_the_task": 0.4,
                    "shared_passages": 2,
                    "estimated": False,
                    "examples": {
                        "queries": ["Where is  OSLO?"],
                        "passages": ["Faust A play by Goethe."],
                    },
                }
            },
        },
    }
    assert "2 of 2 train removed" in summary(report)


def test_a_question_is_removed_under_all_its_ids(heldout: Path) -> None:
    train = collection(
        {"answer": "Famous  plays", "again": "famous plays", "own": "how tall are giraffes"},
        {"p1": ("", "faust a PLAY by Goethe."), "p2": ("", "Hamlet."), "p3": ("", "Six metres.")},
        [("answer", "p1", 1), ("again", "p2", 1), ("own", "p3", 1)],
    )
    clean, report = decontaminate({"train": train}, heldout, True)
    assert set(clean["train"].positives()) == {"own"}
    assert report["train"]["queries_removed"] == 2


def test_overlap_is_reported_where_it_is_kept(heldout: Path, train: RetrievalDataset) -> None:
    clean, report = decontaminate({"train": train}, heldout, False)
    assert clean["train"] is train
    assert report["train"]["tasks"]["Atlas"]["queries_removed"] == 0
    assert "0 of 2 train removed" in summary(report)


def test_in_the_same_collection_shared_answers_are_removed_on_request(heldout: Path) -> None:
    train = collection(
        {"same": "Where is Oslo?", "answer": "famous plays", "own": "what is useless"},
        {"p1": ("", "Oslo is in Norway."), "p2": ("Faust", "A play by Goethe.")},
        [("same", "p1", 1), ("answer", "p2", 1), ("own", "p2", 0)],
    )
    settings: dict[Setting, set[str]] = {True: {"answer"}, False: {"same", "answer"}}
    for setting, left in settings.items():
        clean, report = decontaminate({"train": train}, heldout, setting)
        assert report["train"]["tasks"]["Atlas"]["same_collection"]
        assert set(clean["train"].positives()) == left
    with pytest.raises(InputError, match="all queries overlap with the held-out tasks Atlas"):
        decontaminate({"train": train}, heldout, "answers")


def test_one_text_that_differs_does_not_make_it_another_collection(heldout: Path) -> None:
    passages = {"p1": ("", "Oslo is in Norway."), "p2": ("Faust", "A play by Goethe.")}
    queries, judged = {"answer": "famous plays"}, [("answer", "p2", 1)]
    edited = collection(queries, passages | {"p3": ("", "Of some use.")}, judged)
    clean, report = decontaminate({"train": edited}, heldout, True)
    assert report["train"]["tasks"]["Atlas"]["same_collection"]
    assert clean["train"] is edited
    others = {f"p{i}": ("", f"Passage {i} of another collection.") for i in (3, 4)}
    other = {"train": collection(queries, passages | others, judged)}
    _, report = decontaminate(other, heldout, False)
    assert not report["train"]["tasks"]["Atlas"]["same_collection"]


def test_without_overlap_nothing_changes(heldout: Path, train: RetrievalDataset) -> None:
    own = train.with_queries(["own"])
    clean, report = decontaminate({"train": own}, heldout, True)
    assert clean["train"] is own
    assert summary(report) == ""


def test_a_set_without_other_queries_is_refused(heldout: Path, train: RetrievalDataset) -> None:
    same = {"train": train.with_queries(["same"])}
    with pytest.raises(InputError, match="all queries overlap with the held-out tasks Atlas"):
        decontaminate(same, heldout, True)


def test_training_queries_with_the_text_of_a_development_query_are_removed() -> None:
    """As in the paper's triplets, which repeat a query with one negative after another."""
    passages = {"p1": ("", "A city."), "p2": ("", "A lake.")}
    dev = collection({"d": "Where is Oslo?"}, passages, [("d", "p1", 1)])
    judged = [("a", "p1", 1), ("b", "p2", 1), ("c", "p1", 1)]
    train = collection({"a": "where is OSLO?", "b": "deep water", "c": "Oslo"}, passages, judged)
    kept, removed = remove_development_queries(train, dev)
    assert removed == 1
    assert set(kept.positives()) == {"b", "c"}
    assert kept.manifest()["notes"] == {"queries_removed_for_development": 1}
    again, removed = remove_development_queries(kept, dev)
    assert again is kept and removed == 0
    with pytest.raises(InputError, match="every training query is a development query too"):
        remove_development_queries(train.with_queries(["a"]), dev)


def parts() -> dict[str, tuple[RetrievalDataset, RetrievalDataset]]:
    """Two collections of their own, a large and a small one: their train and test judgments.

    In both, every training query shares its answer with a test query, as in NFCorpus, and one has
    the text of a test query.
    """
    made = {}
    for name, passages in (("large", 6), ("small", 4)):
        texts = {f"d{i}": ("", f"Passage {i} of the {name} one.") for i in range(passages)}
        asked = {f"q{i}": f"{name} question {i}" for i in range(3)}
        tested = {"t0": f"{name} test", "t1": f"{name}  QUESTION 0"}
        train = collection(asked, texts, [(q, f"d{q[1]}", 1) for q in asked])
        test = collection(tested, texts, [("t0", "d1", 1), ("t0", "d2", 1), ("t1", "d0", 1)])
        made[name] = train, test
    return made


def test_of_merged_collections_each_decides_for_itself(tmp_path: Path) -> None:
    """Merged, the small one has 40% of the passages, and would be foreign to its own test."""
    collections = parts()
    tests = ((name, test) for name, (_, test) in collections.items())
    write_heldout(tests, "auto", tmp_path / "heldout")
    trains = {name: train for name, (train, _) in collections.items()}
    for datasets in (trains, {"both": together(list(trains.values()))}):
        clean, report = decontaminate(datasets, tmp_path / "heldout", True)
        left = [text for dataset in clean.values() for text in dataset.queries["text"]]
        assert sorted(left) == [f"{name} question {i}" for name in trains for i in (1, 2)]
        assert sum(counts["queries_removed"] for counts in report.values()) == 2
    _, report = decontaminate(trains, tmp_path / "heldout", True)
    assert {name: list(counts["tasks"]) for name, counts in report.items()} == {
        "large": ["large"], "small": ["small"],
    }  # fmt: skip
    with pytest.raises(InputError, match="all queries overlap with the held-out tasks large"):
        decontaminate(trains, tmp_path / "heldout", "answers")


def test_an_answer_of_another_collection_is_removed_from_its_part(tmp_path: Path) -> None:
    """What a merged set would hide: one part shares an answer with the test of the other."""
    (large, test), (small, _) = parts().values()
    borrowed = small.corpus.assign(text=["Passage 1 of the LARGE one.", *small.corpus["text"][1:]])
    small = RetrievalDataset(borrowed, small.queries, small.qrels, small.origin)
    write_heldout([("large", test)], "auto", tmp_path / "heldout")
    clean, _ = decontaminate({"large": large, "small": small}, tmp_path / "heldout", True)
    assert set(clean["small"].queries["id"]) == {"q1", "q2"}
    assert set(clean["large"].queries["id"]) == {"q1", "q2"}, "q0 has the text of a test query"


def passages(numbers: Iterable[int]) -> dict[str, tuple[str, str]]:
    return {f"d{i}": ("", f"Passage number {i}.") for i in numbers}


def of_5000() -> HeldOutTask:
    """A task over 5,000 passages, with a sketch of 500."""
    task = collection({"t": "a test"}, passages(range(5000)), [("t", "d0", 1)])
    sketch, number = sketch_of(task, most=500)
    assert (len(sketch), number) == (500, 5000)
    return replace(held_out(task), sketch=sketch)


@pytest.mark.parametrize(
    ("numbers", "share", "of_task", "same"),
    [
        (range(2000, 7000), 0.6, 0.6, True),
        (range(3000, 8000), 0.4, 0.4, False),
        (range(4000, 5500), 2 / 3, 0.2, True),  # a part of the task's collection, and more
        (range(20_000), 0.25, 1.0, True),  # the task's collection is a part of the set's
        (range(6000, 9000), 0.0, 0.0, False),
    ],
)
def test_a_sketch_tells_shares_and_the_same_collection(
    numbers: range, share: float, of_task: float, same: bool
) -> None:
    ids = {"q": "a question"}, [("q", f"d{numbers[0]}", 1)]
    texts = Texts(collection(ids[0], passages(numbers), ids[1]))
    overlap = overlap_with(of_5000(), texts)
    assert overlap.of_set is not None
    assert overlap.of_set == pytest.approx(share, abs=0.1)
    assert overlap.of_task == pytest.approx(of_task, abs=0.07)
    assert overlap.same_collection == same
    assert overlap.shared_passages == round(overlap.of_set * len(numbers))
    assert overlap.counts(True)["estimated"]
    whole = overlap_with(replace(of_5000(), sketch=sketch_of_5000()), texts)
    assert whole.of_set == pytest.approx(share) and whole.of_task == pytest.approx(of_task)
    assert whole.shared_passages == round(share * len(numbers))
    assert not whole.counts(True)["estimated"]


def sketch_of_5000() -> Hashes:
    task = collection({"t": "a test"}, passages(range(5000)), [("t", "d0", 1)])
    return sketch_of(task)[0]


def test_from_a_few_passages_nothing_is_concluded() -> None:
    """Ten percent of the collection is in the sketch, so about ten of a hundred can be compared."""
    texts = Texts(collection({"q": "a question"}, passages(range(100)), [("q", "d0", 1)]))
    overlap = overlap_with(of_5000(), texts)
    assert overlap.same_answer == {"q"}
    assert not overlap.same_collection, "so that answers in common are left out"
    assert overlap.removed_by(True) == {"q"}
    assert overlap.counts(True)["share_of_the_set"] is None
    whole = overlap_with(replace(of_5000(), sketch=sketch_of_5000()), texts)
    assert whole.same_collection and not whole.removed_by(True)


COLLECTIONS = Path(os.environ.get("ETTIN_BEIR", "unset"))
"""A directory with BEIR's scifact and nfcorpus."""


@pytest.mark.skipif(
    not (COLLECTIONS / "nfcorpus/corpus.jsonl").is_file(),
    reason="ETTIN_BEIR names no directory with BEIR's scifact and nfcorpus",
)
def test_nfcorpus_keeps_its_training_queries_beside_scifact(tmp_path: Path) -> None:
    """Merged before, 2,519 of 2,590 of NFCorpus's were removed and 2 of 809 of SciFact's."""
    names = {"SciFact": "scifact", "NFCorpus": "nfcorpus"}
    tests = ((name, beir.load(COLLECTIONS / d, "test")) for name, d in names.items())
    write_heldout(tests, "auto", tmp_path / "heldout")
    trains = {name: beir.load(COLLECTIONS / d, "train") for name, d in names.items()}
    assert [len(train.queries) for train in trains.values()] == [809, 2590]
    removed = {}
    for setting in (True, "answers"):
        found, report = decontaminate(trains, tmp_path / "heldout", setting)
        removed[setting] = [counts["queries_removed"] for counts in report.values()]
        assert all(counts["tasks"][name]["same_collection"] for name, counts in report.items())
        assert [len(dataset.queries) for dataset in found.values()] == [
            809 - removed[setting][0], 2590 - removed[setting][1],
        ]  # fmt: skip
    assert removed == {True: [2, 4], "answers": [273, 2519]}
