"""BEIR directories: what they become, and which file and line an error names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.sources import beir


def lines(*objects: dict[str, Any]) -> str:
    return "".join(json.dumps(o, ensure_ascii=False) + "\n" for o in objects)


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    """Two passages, one judged query, and a teacher's scores."""
    directory = tmp_path / "contracts"
    write(directory, "corpus.jsonl", lines(
        # A line separator inside a passage does not end the line.
        {"_id": "d1", "title": "Rent", "text": "due on\u2028the first\x85of the month"},
        {"_id": "d2", "text": "no title"},
    ))  # fmt: skip
    write(directory, "queries.jsonl", lines(
        {"_id": "q1", "text": "when is rent due"}, {"_id": "q2", "text": "not judged"}
    ))  # fmt: skip
    write(directory, "qrels/test.tsv", "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\n")
    write(directory, "teacher/test.tsv", "query-id\tcorpus-id\tscore\nq1\td1\t0.9\nq1\td2\t-.5\n")
    return directory


def write(directory: Path, name: str, content: str | bytes) -> None:
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def test_a_beir_directory_becomes_a_dataset(collection: Path) -> None:
    dataset = beir.load(collection, "test")
    assert dataset.passage_texts() == ["Rent due on\u2028the first\x85of the month", "no title"]
    assert dataset.queries["id"].tolist() == ["q1"]
    assert dataset.judgments() == {"q1": {"d1": 2, "d2": 0}}
    assert dataset.positives() == {"q1": {"d1": 2}}
    assert dataset.teacher_scores() == {"q1": {"d1": 0.9, "d2": -0.5}}


def test_a_teacher_is_optional_and_part_of_the_revision(collection: Path) -> None:
    taught = beir.load(collection, "test")
    (collection / "teacher" / "test.tsv").unlink()
    dataset = beir.load(collection, "test")
    assert dataset.teacher is None
    assert dataset.teacher_scores() == {}
    assert dataset.origin.revision != taught.origin.revision


def test_a_passage_without_text_is_kept_and_counted(collection: Path) -> None:
    with (collection / "corpus.jsonl").open("a", encoding="utf-8") as file:
        file.write(lines({"_id": "d3", "title": "", "text": " "}))
    dataset = beir.load(collection, "test")
    assert dataset.passage_texts()[2] == ""
    assert dataset.manifest()["counts"]["passages_without_text"] == 1
    assert "judgments_of_missing_passages" not in dataset.manifest()["counts"]


def test_byte_order_marks_and_numbers_as_ids_are_read(collection: Path) -> None:
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv", "teacher/test.tsv"):
        content = (collection / name).read_bytes().replace(b'"d2"', b"2").replace(b"d2", b"2")
        write(collection, name, b"\xef\xbb\xbf" + content)
    dataset = beir.load(collection, "test")
    assert dataset.corpus["id"].tolist() == ["d1", "2"]
    assert dataset.judgments() == {"q1": {"d1": 2, "2": 0}}


CORPUS, QUERIES, QRELS = "corpus.jsonl", "queries.jsonl", "qrels/test.tsv"
TWO_PASSAGES = lines({"_id": "d1", "text": "a"}, {"_id": "d2", "text": "b"})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (CORPUS, "", "corpus.jsonl: corpus is empty"),
        (CORPUS, '{"_id": "d1", "text": "a"}\n{"_id": \n', "corpus.jsonl:2: not valid JSON"),
        (CORPUS, TWO_PASSAGES + lines({"_id": "d1", "text": "c"}), "corpus.jsonl:3: id 'd1' "),
        (
            CORPUS,
            lines({"_id": "d1", "title": ["a"], "text": "a"}),
            "corpus.jsonl:1: 'title' is missing or not text (it is a list)",
        ),
        (
            CORPUS,
            TWO_PASSAGES + lines({"_id": "d3", "title": 1984, "text": "a"}),
            "corpus.jsonl:3: 'title' is a number (1984), not text; write it in quotes",
        ),
        (QUERIES, '{"_id": "q1", "text": NaN}', "queries.jsonl:1: 'text' is a number (nan), not"),
        (QUERIES, lines({"_id": 1.5, "text": "a"}), "queries.jsonl:1: '_id' is a number (1.5), "),
        (
            QUERIES,
            lines({"_id": "q1", "text": None}),
            "queries.jsonl:1: 'text' is missing or not text (it is null)",
        ),
        (
            CORPUS,
            TWO_PASSAGES + lines({"_id": "d\0", "text": "a"}),
            "corpus.jsonl:3: id 'd\\x00' contains NUL",
        ),
        (
            QUERIES,
            lines({"_id": "q1\0", "text": "a"}),
            "queries.jsonl:1: id 'q1\\x00' contains NUL",
        ),
        (QUERIES, lines({"_id": "q1"}), "queries.jsonl:1: 'text' is missing or not text"),
        (QUERIES, lines({"_id": True, "text": "a"}), "queries.jsonl:1: '_id' is missing or not"),
        (QUERIES, "[1]\n", "queries.jsonl:1: not a JSON object"),
        (
            QUERIES,
            b'{"_id": "q1", "text": "a"}\n\xe9\n',
            "queries.jsonl:2: not UTF-8 (byte 1 of the line)",
        ),
        (
            QUERIES,
            r'{"_id": "q1", "text": "\ud800"}',
            "queries.jsonl:1: 'text' contains half of a surrogate pair",
        ),
        (QUERIES, "[" * 100_000, "queries.jsonl:1: not valid JSON"),
        (QUERIES, '{"_id": ' + "1" * 5000 + "}", "queries.jsonl:1: not valid JSON"),
        (QRELS, "q1\td1\t1\nq1\td\0\t1\n", "test.tsv:2: corpus_id 'd\\x00' contains NUL"),
        (QRELS, "q1\td9\t1\n", "test.tsv:1: none of the 1 relevant passages is in the corpus"),
        (
            QRELS,
            "q1\td1\t1\nq1\td2\t1001\n",
            "test.tsv:2: score 1001 is above 1,000, which trec_eval",
        ),
        (QRELS, "q1\td1\t5000000\n", "test.tsv:1: score 5000000 is above 1,000, which trec_eval"),
        (QRELS, "q9\td1\t1\n", "test.tsv:1: query_id 'q9' is not in the queries"),
        (QRELS, "q1\td1\thigh\n", "test.tsv:1: score 'high' is not a whole number"),
        (QRELS, "q1\td1\t0.5\n", "test.tsv:1: score '0.5' is not a whole number"),
        (QRELS, "q1\td1\t1_0\n", "test.tsv:1: score '1_0' is not a whole number"),
        (
            QRELS,
            f"q1\td1\t{2**63}\n",
            "test.tsv:1: score '9223372036854775808' is not a whole number of at most 18 digits",
        ),
        (
            QRELS,
            "query_id\tcorpus_id\tscore\n",
            "test.tsv:1: unknown header; write query-id <tab> corpus-id <tab> score, or none",
        ),
        (
            QRELS,
            "\nquery-id\tcorpus-id\tscore\nq1\td1\t1\n",
            "test.tsv:2: a header; it must be the first line of the file, or left out",
        ),
        (
            QRELS,
            '"query-id"\t"corpus-id"\t"score"\n"q1"\t"d1"\t"1"\n',
            "test.tsv:1: a header with quotes, spaces or capitals; write query-id <tab> corpus-id",
        ),
        (
            QRELS,
            "Query-ID\tCorpus-ID\tScore \nq1\td1\t1\n",
            "test.tsv:1: a header with quotes, spaces or capitals; write query-id <tab> corpus-id",
        ),
        (QRELS, "qid\tdocid\trelevance\nq1\td1\t1\n", "test.tsv:1: unknown header; write query-id"),
        (QRELS, "q1 d1 1\n", "test.tsv:1: 1 cells instead of 3"),
        (QRELS, "q1\td1\t1\nq1\td1\t2\n", "test.tsv:2: ('q1', 'd1') is judged twice"),
        (QRELS, "q1\td1\t0\n", "test.tsv:1: no judgment has a score above 0"),
    ],
)
def test_malformed_files_are_refused_by_file_and_line(
    collection: Path, name: str, content: str | bytes, message: str
) -> None:
    write(collection, name, content)
    with pytest.raises(InputError) as refused:
        beir.load(collection, "test")
    assert f"{(collection / name).parent}/{message}" in str(refused.value)


EMPTY = lines({"_id": "d1", "text": " "}, {"_id": "d2", "text": "b"})


@pytest.mark.parametrize(
    ("name", "content", "count", "message"),
    [
        (
            CORPUS,
            EMPTY,
            "relevant_passages_without_text",
            "corpus.jsonl:1: passage 'd1' is judged relevant and has no text",
        ),
        (
            QRELS,
            "q1\td1\t1\nq1\td9\t1\n",
            "relevant_judgments_of_missing_passages",
            "qrels/test.tsv:2: corpus_id 'd9' is not in the corpus",
        ),
    ],
)
def test_a_relevant_passage_without_text_or_missing_is_counted_or_refused_if_strict(
    collection: Path, name: str, content: str, count: str, message: str
) -> None:
    write(collection, name, content)
    assert beir.load(collection, "test").manifest()["counts"][count] == 1
    with pytest.raises(InputError) as refused:
        beir.load(collection, "test", strict=True)
    assert f"{collection}/{message}" in str(refused.value)


def test_negative_scores_are_read_as_0(collection: Path) -> None:
    write(collection, QRELS, "query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td2\t-2\n")
    dataset = beir.load(collection, "test", strict=True)
    assert dataset.judgments() == {"q1": {"d1": 1, "d2": 0}}
    assert dataset.manifest()["notes"] == {"negative_scores_as_0": 1}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("q1\td9\t0.5\n", "2: corpus_id 'd9' is not in the corpus"),
        ("q9\td1\t0.5\n", "2: query_id 'q9' is not in the queries"),
        ("q1\td1\thigh\n", "2: score 'high' is not a number"),
        ("q1\td1\tnan\n", "2: score 'nan' is not a number"),
        ("q1\td1\tinf\n", "2: score 'inf' is not a number"),
        ("q1\td1\t1e999\n", "2: score inf is not between -1 and 1"),
        ("query-id\tcorpus-id\tscore\n", "2: a header; it must be the first line of the file"),
        ("q1\td1\n", "2: 2 cells instead of 3"),
        ("q1\td1\t0.5\nq1\td1\t0.6\n", "3: ('q1', 'd1') is scored twice"),
        ("q1\td1\t0.5\nq1\td2\t7.5\n", "3: score 7.5 is not between -1 and 1"),
    ],
)
def test_malformed_teacher_scores_are_refused_by_line(
    collection: Path, rows: str, message: str
) -> None:
    write(collection, "teacher/test.tsv", "query-id\tcorpus-id\tscore\n" + rows)
    with pytest.raises(InputError) as refused:
        beir.load(collection, "test")
    assert f"teacher/test.tsv:{message}" in str(refused.value)


@pytest.mark.parametrize("name", [CORPUS, QUERIES, QRELS])
def test_missing_files_are_named(collection: Path, name: str) -> None:
    (collection / name).unlink()
    with pytest.raises(InputError, match=f"^{collection}/{name}: no such file; a BEIR directory"):
        beir.load(collection, "test")
    with pytest.raises(InputError, match=f"^local.train: {collection}/{name}: no such file"):
        beir.files_of(collection, "test", "local.train")
    (collection / name).mkdir()
    with pytest.raises(InputError, match=f"{name}: a directory, not a file"):
        beir.load(collection, "test")


def test_the_directory_itself_may_be_missing_or_a_file(collection: Path) -> None:
    with pytest.raises(
        InputError, match=r"contracts/none: no such directory; a BEIR directory has"
    ):
        beir.load(collection / "none", "test")
    with pytest.raises(
        InputError, match=r"corpus.jsonl: a file, not a directory; a BEIR directory has"
    ):
        beir.load(collection / CORPUS, "test")


def test_collections_are_found_in_a_directory(collection: Path, tmp_path: Path) -> None:
    for name in ("b", "a", "cqadupstack/android", "other/deeper"):
        write(tmp_path / "beir" / name, CORPUS, TWO_PASSAGES)
    found = beir.collections(tmp_path / "beir", "local.benchmark")
    assert [path.relative_to(tmp_path / "beir").as_posix() for path in found] == [
        "a", "b", "cqadupstack/android",
    ]  # fmt: skip
    assert beir.collections(collection, "local.benchmark") == [collection]
    for nothing in (tmp_path / "none", collection / CORPUS, collection / "qrels"):
        with pytest.raises(InputError, match=r"^local.benchmark: .*no corpus.jsonl in it or in"):
            beir.collections(nothing, "local.benchmark")
