"""A BEIR directory, a scored collection and a checkpoint for the tests of this package."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ettin_retrieval.data.dataset import CORPUS, QRELS, QUERIES, Origin, RetrievalDataset, frame
from ettin_retrieval.data.storage import write_dataset
from ettin_retrieval.encoders.checkpoint import fingerprint, read_checkpoint
from ettin_retrieval.evaluation.result_files import write_scores
from ettin_retrieval.evaluation.score import TaskScores, score_task
from ettin_retrieval.runtime.files import write_json
from tests.unit.interop.fixed_run import PASSAGES, QRELS_OF_RUN, RUN, FixedRun, Scored


@pytest.fixture(scope="package")
def collection() -> RetrievalDataset:
    judgments = [(q, d, score) for q, judged in QRELS_OF_RUN.items() for d, score in judged.items()]
    return RetrievalDataset(
        corpus=frame([(d, "", f"passage {d}") for d in PASSAGES], CORPUS),
        queries=frame([(q, f"query {q}") for q in RUN], QUERIES),
        qrels=frame(judgments, QRELS),
        origin=Origin("tiny", "1", "MIT", "test"),
    ).validate()


@pytest.fixture(scope="package")
def write_checkpoint() -> Callable[[Path, bytes], Path]:
    """Writes a checkpoint of some bytes that no library reads."""

    def write(directory: Path, weights: bytes) -> Path:
        directory.mkdir(parents=True)
        (directory / "model.safetensors").write_bytes(weights)
        record = {
            "fingerprint": fingerprint(directory),
            "parameters": 7,
            "embedding_dimension": 4,
            "normalize": True,
            "max_passage_length": 64,
            "source": "finetuned",
            "revision": "of the base",
        }
        write_json(directory / "checkpoint.json", record)
        return directory

    return write


@pytest.fixture(scope="package")
def checkpoint(
    write_checkpoint: Callable[[Path, bytes], Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("models") / "finetuned", b"weights")


@pytest.fixture(scope="package")
def score(checkpoint: Path) -> Callable[[str, RetrievalDataset, Path], TaskScores]:
    """Scores a collection under a task's name and writes the files."""

    def scored(name: str, dataset: RetrievalDataset, directory: Path) -> TaskScores:
        search: Any = FixedRun(read_checkpoint(checkpoint))
        task = score_task(search, name, dataset)
        directory.mkdir(exist_ok=True)
        write_scores(task, directory)
        return task

    return scored


@pytest.fixture(scope="package")
def scored(
    collection: RetrievalDataset,
    score: Callable[[str, RetrievalDataset, Path], TaskScores],
    tmp_path_factory: pytest.TempPathFactory,
) -> Scored:
    data = tmp_path_factory.mktemp("data")
    task = score("TinyTies", collection, data / "scores")
    write_dataset(collection, data / "benchmark" / "TinyTies")
    return Scored(data / "scores", data / "benchmark", task)


@pytest.fixture
def beir(tmp_path: Path) -> Path:
    """Two queries over three passages, with BM25 ranks 1 and 2 of the relevant ones.

    A wrong passage has both words of the second query, the relevant one has one of them.
    """
    directory = tmp_path / "beir"
    (directory / "qrels").mkdir(parents=True)
    passages = {
        "d1": ("Volcano", "Lava flows from a volcano."),
        "d2": ("Tide", "The moon pulls the tide."),
        "d3": ("Moon", "Craters cover it."),
    }
    queries = {"q1": "lava of a volcano", "q2": "moon and tide"}
    lines = [json.dumps({"_id": i, "title": t, "text": x}) for i, (t, x) in passages.items()]
    (directory / "corpus.jsonl").write_text("\n".join(lines))
    lines = [json.dumps({"_id": i, "text": text}) for i, text in queries.items()]
    (directory / "queries.jsonl").write_text("\n".join(lines))
    qrels = "query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td3\t1\n"
    (directory / "qrels" / "test.tsv").write_text(qrels)
    return directory
