"""Datasets written and read: the same bytes, and only files that match the manifest."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ettin_retrieval.data.dataset import SCHEMAS
from ettin_retrieval.data.storage import open_dataset, read_dataset, write_dataset
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.runtime.files import read_json, sha256_file
from tests.unit.data.example import DATASET, WITH_TEACHER


def test_a_dataset_read_and_written_again_has_the_same_bytes(tmp_path: Path) -> None:
    write_dataset(WITH_TEACHER, tmp_path / "one")
    again = read_dataset(tmp_path / "one")
    assert again.origin == WITH_TEACHER.origin
    assert again.judgments() == WITH_TEACHER.judgments()
    assert again.teacher_scores() == WITH_TEACHER.teacher_scores()
    write_dataset(again, tmp_path / "two")
    written = {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()}
    assert written == {path.name: path.read_bytes() for path in (tmp_path / "two").iterdir()}
    digests = read_json(tmp_path / "one" / "manifest.json")["sha256"]
    for name, schema in SCHEMAS.items():
        path = tmp_path / "one" / f"{name}.parquet"
        assert digests[path.name] == sha256_file(path)
        # No metadata of pandas, whose version would change the bytes.
        assert pq.read_schema(path).equals(schema, check_metadata=True)


def test_without_a_teacher_no_file_mentions_one(tmp_path: Path) -> None:
    write_dataset(DATASET, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "corpus.parquet",
        "manifest.json",
        "qrels.parquet",
        "queries.parquet",
    ]
    assert "teacher" not in (tmp_path / "manifest.json").read_text()
    assert read_dataset(tmp_path).teacher is None


def test_an_opened_dataset_leaves_its_corpus_on_disk(tmp_path: Path) -> None:
    write_dataset(DATASET, tmp_path)
    stored = open_dataset(tmp_path)
    assert stored.corpus == tmp_path / "corpus.parquet"
    assert stored.queries.equals(DATASET.queries)
    assert stored.judgments() == DATASET.judgments()
    assert stored.origin == DATASET.origin


@pytest.mark.parametrize("name", ["corpus", "queries", "qrels", "teacher"])
def test_a_missing_or_changed_file_is_refused(name: str, tmp_path: Path) -> None:
    write_dataset(WITH_TEACHER, tmp_path)
    path = tmp_path / f"{name}.parquet"
    for damage in (lambda: path.write_bytes(b"other"), path.unlink):
        damage()
        for read in (read_dataset, open_dataset):
            with pytest.raises(InputError, match=rf"{name}.parquet: missing or not the file"):
                read(tmp_path)


def test_a_directory_without_a_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"manifest.json: no such file; run `dvc repro` to make"):
        read_dataset(tmp_path)
