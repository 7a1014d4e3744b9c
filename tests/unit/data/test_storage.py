"""Datasets on disk: the same bytes each time, and changed files are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from ettin_retrieval.data.dataset import (
    CORPUS,
    QRELS,
    QUERIES,
    TEACHER,
    Origin,
    RetrievalDataset,
    frame,
)
from ettin_retrieval.data.storage import read_dataset, write_dataset
from ettin_retrieval.runtime.errors import InputError

FILES = ("corpus.parquet", "manifest.json", "qrels.parquet", "queries.parquet")


@pytest.fixture(params=[True, False], ids=["teacher", "no teacher"])
def dataset(request: pytest.FixtureRequest) -> RetrievalDataset:
    scores = [("q1", "d1", 0.9), ("q1", "d2", -0.5), ("q2", "d2", 1.0)]
    return RetrievalDataset(
        corpus=frame([("d1", "Rent", "due on\u2028the first"), ("d2", "", "no title")], CORPUS),
        queries=frame([("q1", "when"), ("q2", "what")], QUERIES),
        qrels=frame([("q1", "d1", 2), ("q1", "d2", 0), ("q2", "d2", 1)], QRELS),
        origin=Origin("example", "1", "CC0-1.0", "test"),
        teacher=frame(scores, TEACHER) if request.param else None,
    ).validate()


def test_a_dataset_read_and_written_again_has_the_same_bytes(
    dataset: RetrievalDataset, tmp_path: Path
) -> None:
    write_dataset(dataset, tmp_path / "one")
    again = read_dataset(tmp_path / "one")
    assert again.teacher_scores() == dataset.teacher_scores()
    assert again.with_queries(["q2"]).teacher_scores().keys() <= {"q2"}
    write_dataset(again, tmp_path / "two")
    teacher = () if dataset.teacher is None else ("teacher.parquet",)
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == [*FILES, *teacher]
    for name in (*FILES, *teacher):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_the_manifest_counts_a_teachers_scores(dataset: RetrievalDataset, tmp_path: Path) -> None:
    write_dataset(dataset, tmp_path / "one")
    counts = dataset.manifest()["counts"]
    assert counts.get("teacher") == (None if dataset.teacher is None else 3)
    mentioned = "teacher" in (tmp_path / "one" / "manifest.json").read_text()
    assert mentioned == (dataset.teacher is not None)


def test_changed_and_missing_files_are_refused(dataset: RetrievalDataset, tmp_path: Path) -> None:
    write_dataset(dataset, tmp_path / "one")
    last = "qrels.parquet" if dataset.teacher is None else "teacher.parquet"
    (tmp_path / "one" / last).write_bytes(b"other")
    with pytest.raises(InputError, match=f"{last}: missing or not the file"):
        read_dataset(tmp_path / "one")
    (tmp_path / "one" / last).unlink()
    with pytest.raises(InputError, match=f"{last}: missing"):
        read_dataset(tmp_path / "one")
