"""A teacher's scores: read, checked, written, and joined to the training_examples of distillation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.settings.load import load_settings
from ettin_retrieval.sources import beir
from ettin_retrieval.sources.training_data import load_source, training_and_dev
from ettin_retrieval.training.examples import training_examples

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    directory = tmp_path / "contracts"
    for part in ("qrels", "teacher"):
        (directory / part).mkdir(parents=True)
    (directory / "corpus.jsonl").write_text(
        '{"_id": "d1", "text": "a"}\n{"_id": "d2", "text": "b"}\n{"_id": "d3", "text": "c"}\n'
    )
    (directory / "queries.jsonl").write_text(
        '{"_id": "q1", "text": "one"}\n{"_id": "q2", "text": "two"}\n'
    )
    (directory / "qrels" / "train.tsv").write_text("q1\td1\t1\nq2\td2\t1\n")
    (directory / "teacher" / "train.tsv").write_text(
        "query-id\tcorpus-id\tscore\nq1\td1\t0.9\nq1\td2\t-0.5\nq2\td2\t1\n"
    )
    return directory


def test_a_teachers_file_is_part_of_the_dataset(collection: Path) -> None:
    dataset = beir.load(collection, "train")
    assert dataset.teacher_scores() == {"q1": {"d1": 0.9, "d2": -0.5}, "q2": {"d2": 1.0}}


def test_without_a_teacher_nothing_is_said_of_one(collection: Path) -> None:
    taught = beir.load(collection, "train")
    (collection / "teacher" / "train.tsv").unlink()
    dataset = beir.load(collection, "train")
    assert dataset.teacher is None
    assert dataset.teacher_scores() == {}
    # Another file is another revision.
    assert dataset.origin.revision != taught.origin.revision


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("q1\td9\t0.5\n", "train.tsv:2: corpus_id 'd9' is not in the corpus"),
        ("q9\td1\t0.5\n", "train.tsv:2: query_id 'q9' is not in the queries"),
        ("q1\td1\thigh\n", "train.tsv:2: score 'high' is not a number"),
        ("q1\td1\n", "train.tsv:2: 2 cells instead of 3"),
        ("q1\td1\t0.5\nq1\td1\t0.6\n", "train.tsv:3: ('q1', 'd1') is scored twice"),
        ("q1\td1\t0.5\nq1\td2\t7.5\n", "train.tsv:3: score 7.5 is not between -1 and 1"),
        ("q1\td1\tnan\n", "train.tsv:2: score 'nan' is not a number"),
    ],
)
def test_malformed_scores_name_file_and_line(collection: Path, lines: str, told: str) -> None:
    path = collection / "teacher" / "train.tsv"
    path.write_text("query-id\tcorpus-id\tscore\n" + lines)
    with pytest.raises(InputError) as refused:
        beir.load(collection, "train")
    assert f"teacher/{told}" in str(refused.value)


def test_the_synthetic_teacher_knows_what_a_query_asks() -> None:
    settings = load_settings(ROOT / "params.yaml")
    datasets = load_source(settings, Path("unused"))
    train = datasets["train"]
    teacher, judged = train.teacher_scores(), train.judgments()
    assert set(teacher) == set(judged)
    for query_id, scores in teacher.items():
        # Every passage of the row is scored; the answers, and only they, are wholly right.
        assert set(scores) == set(judged[query_id])
        assert {d for d, s in scores.items() if s == 1} == set(train.positives()[query_id])
        assert set(scores.values()) <= {0, 0.25, 0.5, 0.75, 1}
        assert list(scores.values()).count(0.75) >= 3
    few = settings.data.model_copy(update={"max_train_queries": 20})
    chosen = training_and_dev(datasets, settings.model_copy(update={"data": few}))
    assert len(chosen["train"].teacher_scores()) == 20
    assert chosen["dev"].teacher is None


def test_examples_carry_the_scores_of_their_passages(collection: Path) -> None:
    dataset = beir.load(collection, "train")
    taught, untaught = training_examples(
        dataset, [("q1", "d1", ["d2"]), ("q1", "d1", ["d2", "d3"])]
    )
    assert taught.scores == [0.9, -0.5]
    assert untaught.scores is None  # d3 has no score
    assert (
        training_examples(replace(dataset, teacher=None), [("q1", "d1", ["d2"])])[0].scores is None
    )
