"""A teacher's scores joined to the training examples of distillation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ettin_retrieval.sources import beir
from ettin_retrieval.training.examples import training_examples


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
