"""The held-out list on disk: what it keeps of a task, its digest, damaged files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ettin_retrieval.data.dataset import CORPUS, QRELS, QUERIES, Origin, RetrievalDataset, frame
from ettin_retrieval.data.heldout import (
    digest_of,
    held_out,
    read_heldout,
    read_manifest,
    sketch_of,
    write_heldout,
)
from ettin_retrieval.data.normalisation import digest
from ettin_retrieval.runtime.errors import InputError


def task(order: int = 1, answer: str = "Oslo is in Norway.") -> RetrievalDataset:
    """A task with five passages, two of them with one text; `order` -1 turns its rows round."""
    corpus = [
        ("d1", "", answer),
        ("d2", "Faust", "A play by Goethe."),
        ("d3", "", "Of no use."),
        ("d4", "", "of no  USE."),
        ("d5", "", ""),
    ]
    queries = [("t1", "Where is Oslo?"), ("t2", "who wrote Faust?"), ("t3", "judged 0 alone")]
    qrels = [("t1", "d1", 1), ("t2", "d2", 2), ("t2", "d3", 0), ("t3", "d3", 0), ("t1", "gone", 1)]
    return RetrievalDataset(
        frame(corpus[::order], CORPUS),
        frame(queries[::order], QUERIES),
        frame(qrels[::order], QRELS),
        Origin("beir", "abc", "CC0-1.0", "test"),
    ).validate(as_published=True)


def written(directory: Path) -> dict[str, bytes]:
    files = [path for path in directory.rglob("*") if path.is_file()]
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in files}


def test_the_list_keeps_scored_queries_relevant_passages_and_a_sketch(tmp_path: Path) -> None:
    manifest = write_heldout([("Atlas", task())], ["Atlas"], tmp_path)
    assert manifest == read_manifest(tmp_path)
    assert manifest["setting"] == ["Atlas"]
    record = manifest["tasks"]["Atlas"]
    assert {key: value for key, value in record.items() if key != "sha256"} == {
        "source": "beir", "revision": "abc", "split": "test",
        "queries": 2, "relevant": 2, "passages": 4, "sketch": 4,
    }  # fmt: skip
    [(name, read)] = read_heldout(tmp_path)
    assert name == "Atlas" and read.is_whole
    assert read.queries["text"].tolist() == ["Where is Oslo?", "who wrote Faust?"]
    assert read.relevant["text"].tolist() == ["Oslo is in Norway.", "Faust A play by Goethe."]
    texts = ["Oslo is in Norway.", "faust a play by goethe.", "of no use.", ""]
    assert read.sketch.tolist() == sorted(
        int.from_bytes(digest(text)[:8], "little") for text in texts
    )


def test_a_sketch_has_the_smallest_digests() -> None:
    whole, number = sketch_of(task())
    assert np.all(whole[:-1] < whole[1:]) and number == len(whole) == 4
    part, number = sketch_of(task(), most=2)
    assert part.tolist() == whole[:2].tolist() and number == 4


def test_the_same_tasks_give_the_same_bytes_and_other_ones_another_digest(tmp_path: Path) -> None:
    first = write_heldout([("Atlas", task())], "auto", tmp_path / "first")["sha256"]
    again = write_heldout([("Atlas", task())], "auto", tmp_path / "again")["sha256"]
    assert first == again
    assert written(tmp_path / "first") == written(tmp_path / "again")
    assert held_out(task()).digest() == held_out(task(order=-1)).digest()
    other = held_out(task(answer="Oslo is the capital."))
    assert other.digest() != held_out(task()).digest()
    records = read_manifest(tmp_path / "first")["tasks"]
    assert digest_of(records) == first
    assert digest_of(records | {"Deeds": {"sha256": other.digest()}}) != first
    # How the tasks were named in the settings does not matter.
    assert write_heldout([("Atlas", task())], ["Atlas"], tmp_path / "named")["sha256"] == first


@pytest.mark.parametrize("file", ["queries.parquet", "relevant.parquet", "sketch.npy"])
def test_a_file_that_is_gone_or_another_is_one_line(tmp_path: Path, file: str) -> None:
    write_heldout([("Atlas", task())], "auto", tmp_path / "list")
    write_heldout([("Atlas", task(answer="Another."))], "auto", tmp_path / "other")
    changed = tmp_path / "list/Atlas" / file
    changed.unlink()
    with pytest.raises(InputError, match=r"Atlas: missing or not what manifest.json describes"):
        list(read_heldout(tmp_path / "list"))
    for damaged in (b"", b"neither Parquet nor NumPy's"):
        changed.write_bytes(damaged)
        with pytest.raises(InputError, match=r"Atlas: missing or not what manifest.json describes"):
            list(read_heldout(tmp_path / "list"))
    if file != "queries.parquet":  # both have the same queries
        changed.write_bytes((tmp_path / "other/Atlas" / file).read_bytes())
        with pytest.raises(InputError, match="or `dvc repro heldout` to make it again"):
            list(read_heldout(tmp_path / "list"))


def test_without_a_list_one_line_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"manifest.json: no such file; run `dvc repro heldout`"):
        list(read_heldout(tmp_path))
