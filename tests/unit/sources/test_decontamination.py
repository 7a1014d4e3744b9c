"""Queries that overlap with the evaluation: found, reported and removed."""

from __future__ import annotations

from pathlib import Path

import pytest

from ettin_retrieval.data.dataset import CORPUS, QRELS, QUERIES, Origin, RetrievalDataset, frame
from ettin_retrieval.data.storage import write_dataset
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.sources.training_data.decontamination import (
    Setting,
    decontaminate,
    remove_development_queries,
    summary,
)


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
def benchmark(tmp_path: Path) -> Path:
    task = collection(
        {"t1": "Where is  OSLO?", "t2": "who wrote Faust?", "t3": "never judged"},
        {
            "d1": ("", "Oslo is in Norway."),
            "d2": ("Faust", "A play by Goethe."),
            "d3": ("", "Of no use to anybody."),
        },
        [("t1", "d1", 1), ("t2", "d2", 2), ("t2", "d3", 0)],
    )
    write_dataset(task, tmp_path / "benchmark" / "Atlas")
    return tmp_path / "benchmark"


@pytest.fixture
def train() -> RetrievalDataset:
    return collection(
        {
            "same": "where is oslo?",  # other case and spaces
            "answer": "famous plays",  # d2's title and text answer it
            "shared": "what is useless",  # d3 is in the evaluation, but relevant to no query
            "unjudged": "never judged",  # the evaluation does not score this query
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


def test_queries_and_answers_of_the_evaluation_are_removed(
    benchmark: Path, train: RetrievalDataset
) -> None:
    clean, report = decontaminate({"train": train}, benchmark, True)
    kept = clean["train"]
    assert set(kept.queries["id"]) == {"shared", "unjudged", "own"}
    assert set(kept.qrels["query_id"]) == {"shared", "unjudged", "own"}
    assert len(kept.corpus) == 4, "passages stay: the evaluation may have the same collection"
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
                    "shared_passages": 2,
                    "examples": {
                        "queries": ["Where is  OSLO?"],
                        "passages": ["Faust A play by Goethe."],
                    },
                }
            },
        },
    }
    assert "2 of 2 train removed" in summary(report)


def test_a_question_is_removed_under_all_its_ids(benchmark: Path) -> None:
    train = collection(
        {"answer": "Famous  plays", "again": "famous plays", "own": "how tall are giraffes"},
        {"p1": ("", "faust a PLAY by Goethe."), "p2": ("", "Hamlet."), "p3": ("", "Six metres.")},
        [("answer", "p1", 1), ("again", "p2", 1), ("own", "p3", 1)],
    )
    clean, report = decontaminate({"train": train}, benchmark, True)
    assert set(clean["train"].positives()) == {"own"}
    assert report["train"]["queries_removed"] == 2


def test_overlap_is_reported_where_it_is_kept(benchmark: Path, train: RetrievalDataset) -> None:
    clean, report = decontaminate({"train": train}, benchmark, False)
    assert clean["train"] is train
    assert report["train"]["tasks"]["Atlas"]["queries_removed"] == 0
    assert "0 of 2 train removed" in summary(report)


def test_in_the_same_collection_shared_answers_are_removed_on_request(benchmark: Path) -> None:
    train = collection(
        {"same": "Where is Oslo?", "answer": "famous plays", "own": "what is useless"},
        {"p1": ("", "Oslo is in Norway."), "p2": ("Faust", "A play by Goethe.")},
        [("same", "p1", 1), ("answer", "p2", 1), ("own", "p2", 0)],
    )
    settings: dict[Setting, set[str]] = {True: {"answer"}, False: {"same", "answer"}}
    for setting, left in settings.items():
        clean, report = decontaminate({"train": train}, benchmark, setting)
        assert report["train"]["tasks"]["Atlas"]["same_collection"]
        assert set(clean["train"].positives()) == left
    with pytest.raises(InputError, match="all queries overlap with the evaluation tasks Atlas"):
        decontaminate({"train": train}, benchmark, "answers")


def test_one_text_that_differs_does_not_make_it_another_collection(benchmark: Path) -> None:
    passages = {"p1": ("", "Oslo is in Norway."), "p2": ("Faust", "A play by Goethe.")}
    queries, judged = {"answer": "famous plays"}, [("answer", "p2", 1)]
    edited = collection(queries, passages | {"p3": ("", "Of some use.")}, judged)
    clean, report = decontaminate({"train": edited}, benchmark, True)
    assert report["train"]["tasks"]["Atlas"]["same_collection"]
    assert clean["train"] is edited
    others = {f"p{i}": ("", f"Passage {i} of another collection.") for i in (3, 4)}
    other = {"train": collection(queries, passages | others, judged)}
    _, report = decontaminate(other, benchmark, False)
    assert not report["train"]["tasks"]["Atlas"]["same_collection"]


def test_without_overlap_nothing_changes(benchmark: Path, train: RetrievalDataset) -> None:
    own = train.with_queries(["own"])
    clean, report = decontaminate({"train": own}, benchmark, True)
    assert clean["train"] is own
    assert summary(report) == ""


def test_a_set_without_other_queries_is_refused(benchmark: Path, train: RetrievalDataset) -> None:
    same = {"train": train.with_queries(["same"])}
    with pytest.raises(InputError, match="all queries overlap with the evaluation tasks Atlas"):
        decontaminate(same, benchmark, True)


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
