"""Training queries that the evaluation asks too: found, reported, removed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.workspace import Workspace
from ettin_retrieval.data.dataset import CORPUS, QRELS, QUERIES, Origin, RetrievalDataset, frame
from ettin_retrieval.data.storage import write_dataset
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.sources import decontamination as overlap


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
            "answer": "famous plays",  # d2's text, joined to its title, answers it
            "shared": "what is useless",  # a passage of the evaluation that is relevant nowhere
            "unjudged": "never judged",  # no query that is scored
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
            ("own", "p2", 0),  # a judged negative is no answer
        ],
    )


def test_queries_and_answers_of_the_evaluation_are_removed(
    benchmark: Path, train: RetrievalDataset
) -> None:
    found = overlap.find({"train": train}, benchmark)
    atlas = found["train"]["Atlas"]
    assert (atlas.queries, atlas.answered, atlas.shared_passages) == ({"same"}, {"answer"}, 2)
    kept = overlap.without({"train": train}, found, True)["train"]
    assert set(kept.queries["id"]) == {"shared", "unjudged", "own"}
    assert set(kept.qrels["query_id"]) == {"shared", "unjudged", "own"}
    assert len(kept.corpus) == 4, "passages stay: the collection may be the evaluation's"
    assert kept.manifest()["notes"] == {"queries_removed_for_overlap": 2}


def test_the_report_has_counts_and_examples(benchmark: Path, train: RetrievalDataset) -> None:
    found = overlap.find({"train": train}, benchmark)
    assert overlap.report(found, True) == {
        "removed": True,
        "train": {
            "queries": 2,
            "tasks": {
                "Atlas": {
                    "queries_removed": 2,
                    "queries_asked_there": 1,
                    "queries_with_an_answer_there": 1,
                    "one_collection": False,
                    "passages_in_its_collection": 2,
                    "examples": {
                        "queries": ["Where is  OSLO?"],
                        "passages": ["Faust A play by Goethe."],
                    },
                }
            },
        },
    }
    assert "2 of 2 train removed" in overlap.told(found, True)
    assert "0 of 2 train removed" in overlap.told(found, False)


def test_in_one_collection_a_shared_answer_is_removed_on_request(benchmark: Path) -> None:
    train = collection(
        {"same": "Where is Oslo?", "answer": "famous plays", "own": "what is useless"},
        {"p1": ("", "Oslo is in Norway."), "p2": ("Faust", "A play by Goethe.")},
        [("same", "p1", 1), ("answer", "p2", 1), ("own", "p2", 0)],
    )
    found = overlap.find({"train": train}, benchmark)
    assert found["train"]["Atlas"].one_collection
    for removal, left in ((True, {"answer"}), (False, {"same", "answer"})):
        kept = overlap.without({"train": train}, found, removal)["train"]
        assert set(kept.positives()) == left
    with pytest.raises(InputError, match="all of its queries overlap"):
        overlap.without({"train": train}, found, "answers")


def test_a_text_that_differs_does_not_make_it_another_collection(benchmark: Path) -> None:
    passages = {"p1": ("", "Oslo is in Norway."), "p2": ("Faust", "A play by Goethe.")}
    queries, judged = {"answer": "famous plays"}, [("answer", "p2", 1)]
    edited = collection(queries, passages | {"p3": ("", "Of some use.")}, judged)
    found = overlap.find({"train": edited}, benchmark)
    assert found["train"]["Atlas"].one_collection
    assert overlap.without({"train": edited}, found, True)["train"] is edited
    others = {f"p{i}": ("", f"Passage {i} of another collection.") for i in (3, 4)}
    found = overlap.find({"train": collection(queries, passages | others, judged)}, benchmark)
    assert not found["train"]["Atlas"].one_collection


def test_training_leaves_out_what_development_asks() -> None:
    """As in the paper's triplets, which repeat a query with one negative after another."""
    passages = {"p1": ("", "A city."), "p2": ("", "A lake.")}
    dev = collection({"d": "Where is Oslo?"}, passages, [("d", "p1", 1)])
    judged = [("a", "p1", 1), ("b", "p2", 1), ("c", "p1", 1)]
    train = collection({"a": "where is OSLO?", "b": "deep water", "c": "Oslo"}, passages, judged)
    chosen, removed = overlap.without_development_queries({"train": train, "dev": dev})
    assert removed == {"a"} and chosen["dev"] is dev
    assert set(chosen["train"].positives()) == {"b", "c"}
    assert chosen["train"].manifest()["notes"] == {"queries_removed_for_development": 1}
    again, removed = overlap.without_development_queries(chosen)
    assert removed == set() and again["train"] is chosen["train"]
    with pytest.raises(InputError, match="every training query is a development query too"):
        overlap.without_development_queries({"train": train.with_queries(["a"]), "dev": dev})


def test_without_overlap_nothing_changes(benchmark: Path, train: RetrievalDataset) -> None:
    own = train.with_queries(["own"])
    found = overlap.find({"train": own}, benchmark)
    assert overlap.without({"train": own}, found, True)["train"] is own
    assert overlap.told(found, True) == ""


def test_nothing_left_is_a_mistake(benchmark: Path, train: RetrievalDataset) -> None:
    same = train.with_queries(["same"])
    found = overlap.find({"train": same}, benchmark)
    with pytest.raises(InputError, match="all of its queries overlap with the evaluation tasks"):
        overlap.without({"train": same}, found, True)


def test_the_stage_removes_by_default_and_keeps_on_request(
    workspace: Workspace, benchmark: Path, train: RetrievalDataset
) -> None:
    beir = workspace.path / "data" / "own"
    for name, rows in (
        ("corpus", [{"_id": i, "title": t, "text": x} for i, t, x in train.corpus.values]),
        ("queries", [{"_id": i, "text": x} for i, x in train.queries.values]),
    ):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (beir / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    (beir / "qrels").mkdir()
    rows = ["query-id\tcorpus-id\tscore", *(f"{q}\t{d}\t{s}" for q, d, s in train.qrels.values)]
    (beir / "qrels" / "train.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    workspace.set_params(lambda text: text.replace("model: tiny", "model: local"))
    for remove, left in (("true", 3), ("false", 5)):
        workspace.set_params(
            lambda text, to=remove: text.replace("remove_overlap: true", f"remove_overlap: {to} ")
        )
        done = workspace.stage(
            "training_data", "--local", "data/own", "--benchmark", str(benchmark),
            "--training", "data/training",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        training = workspace.path / "data/training"
        report = json.loads((training / "overlap.json").read_text())
        assert report["train"]["queries"] == 2
        assert report["removed"] == (remove == "true")
        counts = [
            json.loads((training / part / "manifest.json").read_text())["counts"]["queries"]
            for part in ("train", "dev")
        ]
        assert sum(counts) == left
