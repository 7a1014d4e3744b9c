"""Stage training_data: choice of queries, decontamination, and a teacher's scores."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from ettin_retrieval.data.dataset import CORPUS, QRELS, QUERIES, Origin, RetrievalDataset, frame
from ettin_retrieval.data.heldout import write_heldout
from ettin_retrieval.data.storage import read_dataset
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.runtime.files import read_json
from ettin_retrieval.settings.load import load_settings
from ettin_retrieval.settings.schema import Settings
from ettin_retrieval.sources import beir, training_data
from ettin_retrieval.sources.training_data import load_source, training_and_dev
from tests.collections import write_collection
from tests.workspace import ROOT


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load_settings(ROOT / "params.yaml")


@pytest.fixture(scope="module")
def tiny(settings: Settings) -> dict[str, RetrievalDataset]:
    return load_source(settings, Path("unused"))


def test_the_tiny_teacher_knows_what_a_query_means(tiny: dict[str, RetrievalDataset]) -> None:
    train = tiny["train"]
    teacher, judged, positives = train.teacher_scores(), train.judgments(), train.positives()
    assert set(teacher) == set(judged)
    for query_id, scores in teacher.items():
        # Every passage of the row is scored; only relevant ones share all four concepts.
        assert set(scores) == set(judged[query_id])
        assert {d for d, s in scores.items() if s == 1} == set(positives[query_id])
        assert set(scores.values()) <= {0, 0.25, 0.5, 0.75, 1}
        assert list(scores.values()).count(0.75) >= 3


def test_the_teacher_scores_the_chosen_training_queries_only(
    tiny: dict[str, RetrievalDataset], settings: Settings
) -> None:
    chosen = training_and_dev(tiny, settings.with_changes({"data.max_train_queries": 20}))
    assert len(chosen["train"].teacher_scores()) == len(chosen["train"].queries) == 20
    assert chosen["dev"].teacher is None


def test_development_queries_are_held_out_with_the_passages_that_only_they_have(
    tmp_path: Path, settings: Settings
) -> None:
    write_collection(tmp_path / "leases")
    local = settings.with_changes({"model": "local", "data.dev_queries": 1})
    chosen = training_and_dev(load_source(local, tmp_path / "leases"), local)
    dev, train = chosen["dev"], chosen["train"]
    assert (len(dev.queries), len(train.queries)) == (1, 15)
    assert not set(dev.queries["id"]) & set(train.queries["id"])
    assert set(dev.corpus["id"]) == set(dev.qrels["corpus_id"]) and len(train.corpus) == 24

    # A development set over other passages, one of which the training set has too.
    own = [("leases", "", train.passage_texts()[0]), ("own", "", "a clause of its own")]
    other = replace(
        dev,
        corpus=pd.concat([dev.corpus, frame(own, CORPUS)], ignore_index=True),
        origin=replace(dev.origin, split="dev"),
    )
    chosen = training_and_dev({"train": train, "dev": other}, local)
    assert set(chosen["dev"].corpus["id"]) == {*dev.qrels["corpus_id"], "own"}


def test_pairs_that_cannot_be_trained_on_are_left_out_and_counted(
    tmp_path: Path, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    write_collection(tmp_path / "leases")
    with (tmp_path / "leases/corpus.jsonl").open("a") as corpus:
        corpus.write('{"_id": "empty", "text": ""}\n')
    with (tmp_path / "leases/qrels/train.tsv").open("a") as qrels:
        qrels.write("q0-1\tempty\t1\nq0-2\tlost\t1\nq1-1\tgone\t0\nq1-2\trent0\t-1\n")
    local = settings.with_changes({"model": "local", "local.train": str(tmp_path / "leases")})
    paths = {"heldout": tmp_path / "heldout", "training": tmp_path / "training"}
    write_heldout([], "auto", paths["heldout"])
    training_data.run(local, paths)
    sets = [read_dataset(tmp_path / "training" / name) for name in ("train", "dev")]
    positives = {q: set(p) for part in sets for q, p in part.positives().items()}
    assert (positives["q0-1"], positives["q0-2"]) == ({"rent1"}, {"rent2"})
    assert sum(map(len, positives.values())) == 16
    for part in sets:
        assert set(part.qrels["corpus_id"]) <= set(part.corpus["id"])
        assert "empty" not in set(part.corpus["id"])
        notes = part.origin.notes
        assert notes["pairs_left_out_passage_missing"] == 1
        assert notes["pairs_left_out_passage_without_text"] == 1
        assert notes["negative_scores_as_0"] == 1
    assert ["left out of training" in line for line in caplog.messages] == [True, True, False]
    with pytest.raises(InputError, match=r"train.tsv:19: corpus_id 'lost' is not in the corpus"):
        training_data.run(local.with_changes({"data.strict_judgments": True}), paths)


@pytest.mark.parametrize(("decontaminate", "left"), [(True, 12), (False, 16)])
def test_the_stage_removes_overlapping_queries_unless_decontaminate_is_false(
    tmp_path: Path, settings: Settings, decontaminate: bool, left: int
) -> None:
    # Four training queries are test queries of a task with another collection.
    write_collection(tmp_path / "leases")
    whole = beir.load(tmp_path / "leases", "train")
    shared = whole.with_queries(whole.queries["id"].tolist()[:4])
    corpus = shared.corpus.assign(text="another " + shared.corpus["text"])
    task = RetrievalDataset(corpus, shared.queries, shared.qrels, shared.origin)
    changes = {"model": "local", "local.train": str(tmp_path / "leases")}
    local = settings.with_changes(changes | {"data.decontaminate": decontaminate})
    paths = {"heldout": tmp_path / "heldout", "training": tmp_path / "training"}
    listed = write_heldout([("Others", task)], "auto", paths["heldout"])
    summary = training_data.run(local, paths)
    report = read_json(tmp_path / "training" / "decontamination.json")
    assert report["decontaminate"] == decontaminate
    assert report["sets"]["train"]["queries"] == 4
    assert report["removed_for_development"] == 0
    sets = [read_dataset(tmp_path / "training" / name) for name in ("train", "dev")]
    assert sum(len(dataset.queries) for dataset in sets) == left
    for dataset in sets:
        notes = dataset.origin.notes
        assert notes["decontaminate"] == report["decontaminate"] == decontaminate
        assert notes["heldout"] == report["heldout"] == listed["sha256"][:12]
        assert notes["heldout_tasks"] == report["heldout_tasks"] == ["Others"]
    assert f"{16 - left} of 4 train removed; see decontamination.json" in summary


@pytest.mark.parametrize("seed", range(6))
def test_a_question_is_sampled_with_all_its_ids(seed: int, settings: Settings) -> None:
    # Three questions, each under two ids that have different relevant passages.
    names = [f"{question}{number}" for question in "abc" for number in (1, 2)]
    texts = [
        f"Question {name[0]}?" if name[1] == "1" else f"question {name[0]}? " for name in names
    ]
    whole = RetrievalDataset(
        frame([(f"d{name}", "", f"answer {name}") for name in names], CORPUS),
        frame(list(zip(names, texts, strict=True)), QUERIES),
        frame([(name, f"d{name}", 1) for name in names], QRELS),
        Origin("example", "1", "CC0-1.0", "train"),
    )
    datasets = {"train": whole, "dev": replace(whole)}
    for most, expected in ((1, 0), (2, 2), (3, 2), (5, 4), (6, 6)):
        changed = settings.with_changes({"data.max_train_queries": most, "seed": seed})
        if expected == 0:
            with pytest.raises(InputError, match="no query is left for training"):
                training_and_dev(datasets, changed)
            continue
        chosen = training_and_dev(datasets, changed)["train"].queries["id"].tolist()
        assert len(chosen) == expected
        assert {name[0] + other for name in chosen for other in "12"} == set(chosen)
