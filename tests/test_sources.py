"""BEIR directories, MS MARCO rows and triplets: what they become, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers.processors import TemplateProcessing

from ettin_retrieval.data.dataset import Origin
from ettin_retrieval.encoders.encode import encode
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.sources import beir, benchmark_data, msmarco
from ettin_retrieval.sources.mteb import expand
from ettin_retrieval.tasks import BEIR_TASKS, GUIDE_TASKS, split_of, task_of_directory
from test_own_documents import minilm

HUB = Origin("microsoft/ms_marco v1.1", "c0ffee", "terms", "train")


def lines(*objects: dict[str, Any]) -> str:
    return "".join(json.dumps(o, ensure_ascii=False) + "\n" for o in objects)


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    directory = tmp_path / "contracts"
    (directory / "qrels").mkdir(parents=True)
    (directory / "corpus.jsonl").write_text(
        lines(
            # A line separator inside a passage is no end of line.
            {"_id": "d1", "title": "Rent", "text": "due on\u2028the first\x85of the month"},
            {"_id": "d2", "text": "no title"},
        ),
        encoding="utf-8",
    )
    (directory / "queries.jsonl").write_text(
        lines({"_id": "q1", "text": "when is rent due"}, {"_id": "q2", "text": "not judged"}),
        encoding="utf-8",
    )
    (directory / "qrels" / "test.tsv").write_text(
        "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\n", encoding="utf-8"
    )
    return directory


def test_a_beir_directory_becomes_a_dataset(collection: Path) -> None:
    dataset = beir.load(collection, "test")
    assert dataset.passage_texts() == ["Rent due on\u2028the first\x85of the month", "no title"]
    assert dataset.queries["id"].tolist() == ["q1"]
    assert dataset.judgments() == {"q1": {"d1": 2, "d2": 0}}
    assert dataset.positives() == {"q1": {"d1": 2}}


def test_an_empty_text_is_embedded() -> None:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(minilm(), device="cpu", local_files_only=True)
    vectors = encode(model, ["", "an anchor", ""], "passage", batch_size=2)
    expected = model.encode([""])[0]
    assert np.allclose(vectors[0], expected, atol=1e-5) and np.array_equal(vectors[0], vectors[2])

    # A tokenizer that frames a text in nothing makes no token of an empty one.
    framing = model.tokenizer._tokenizer
    framing.post_processor = TemplateProcessing(single="$A", pair="$A $B", special_tokens=[])
    assert np.isfinite(encode(model, ["", "an anchor"], "passage", batch_size=2)).all()


def test_beir_names_are_mtebs_tasks(collection: Path, tmp_path: Path) -> None:
    """Each with the split that mteb scores: TREC-DL'19 is `test` of MS MARCO, and no part of it."""
    import mteb

    for name, task in BEIR_TASKS.items():
        assert [split_of(task)] == mteb.get_task(task).metadata.eval_splits
        assert task_of_directory(tmp_path / name) == (task, split_of(task))
    assert set(BEIR_TASKS.values()) == set(expand(GUIDE_TASKS))
    assert task_of_directory(tmp_path / "TRECCOVID") == ("TRECCOVID", "test")
    assert task_of_directory(tmp_path / "NanoNQRetrieval") == ("NanoNQRetrieval", "train")
    assert task_of_directory(tmp_path / "android") == ("android", "test"), "any other collection"


def test_the_dev_judgments_of_ms_marco_are_its_benchmark(collection: Path, tmp_path: Path) -> None:
    (collection / "qrels" / "dev.tsv").write_text("q2\td2\t1\n", encoding="utf-8")
    below = tmp_path / "beir"
    shutil.copytree(collection, below / "msmarco")
    shutil.copytree(collection, below / "cqadupstack" / "android")
    tasks = dict(benchmark_data._beir_tasks(below, "auto"))
    assert list(tasks) == ["CQADupstackAndroidRetrieval", "MSMARCO"]
    assert tasks["MSMARCO"].origin.split == "dev"
    assert tasks["MSMARCO"].queries["id"].tolist() == ["q2"]
    shutil.copytree(collection, below / "MSMARCO")
    with pytest.raises(InputError, match=r"MSMARCO and \S+msmarco are both the task MSMARCO"):
        next(benchmark_data._beir_tasks(below, "auto"))


def test_byte_order_marks_and_ids_that_are_numbers(collection: Path) -> None:
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv"):
        content = (collection / name).read_bytes().replace(b'"d2"', b"2").replace(b"d2", b"2")
        (collection / name).write_bytes(b"\xef\xbb\xbf" + content)
    dataset = beir.load(collection, "test")
    assert dataset.corpus["id"].tolist() == ["d1", "2"]
    assert dataset.judgments() == {"q1": {"d1": 2, "2": 0}}


Break = Callable[[Path], object]


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda d: (d / "corpus.jsonl").unlink(), "corpus.jsonl: no such file"),
        (lambda d: (d / "qrels" / "test.tsv").unlink(), "test.tsv: no such file"),
        (lambda d: (d / "corpus.jsonl").write_text(""), "the corpus is empty"),
        (
            lambda d: (d / "corpus.jsonl").write_text('{"_id": "d1", "text": "a"}\n{"_id": \n'),
            "corpus.jsonl:2: not valid JSON",
        ),
        (
            lambda d: (d / "corpus.jsonl").write_text(
                lines({"_id": "d1", "text": "a"}, {"_id": "d2", "text": "b"})
                + lines({"_id": "d1", "text": "c"})
            ),
            "corpus.jsonl:3: id 'd1' occurs twice",
        ),
        (
            lambda d: (d / "corpus.jsonl").write_text(
                lines({"_id": "d1", "text": " "}, {"_id": "d2", "text": "b"})
            ),
            "corpus.jsonl:1: passage 'd1' is judged relevant and has no text",
        ),
        (
            lambda d: (d / "queries.jsonl").write_text(lines({"_id": "q1"})),
            "queries.jsonl:1: no text 'text'",
        ),
        (
            lambda d: (d / "qrels" / "test.tsv").write_text("q1\td1\t1\nq1\td9\t1\n"),
            "test.tsv:2: corpus_id 'd9' is not in the corpus",
        ),
        (
            lambda d: (d / "qrels" / "test.tsv").write_text("q9\td1\t1\n"),
            "test.tsv:1: query_id 'q9' is not in the queries",
        ),
        (
            lambda d: (d / "qrels" / "test.tsv").write_text("q1\td1\thigh\n"),
            "test.tsv:1: score 'high' is not a whole number",
        ),
        (
            lambda d: (d / "qrels" / "test.tsv").write_text("q1\td1\t0.5\n"),
            "test.tsv:1: score '0.5' is not a whole number",
        ),
        (
            lambda d: (d / "qrels" / "test.tsv").write_text(f"q1\td1\t{2**63}\n"),
            "test.tsv:1: score '9223372036854775808' is not a whole number of at most 18 digits",
        ),
        (
            lambda d: (d / "qrels" / "test.tsv").write_text("q1\td1\t1_0\n"),
            "test.tsv:1: score '1_0' is not a whole number",
        ),
        (
            lambda d: (d / "qrels" / "test.tsv").write_text("query_id\tcorpus_id\tscore\n"),
            "test.tsv:1: unknown header; write query-id <tab> corpus-id <tab> score, or none",
        ),
        (
            lambda d: (d / "queries.jsonl").write_bytes(b'{"_id": "q1", "text": "a"}\n\xe9\n'),
            "queries.jsonl:2: not UTF-8 (byte 1 of the line)",
        ),
        (
            lambda d: (d / "queries.jsonl").write_text(r'{"_id": "q1", "text": "\ud800"}'),
            "queries.jsonl:1: 'text' holds half of a surrogate pair",
        ),
        (
            lambda d: (d / "queries.jsonl").write_text("[" * 100_000),
            "queries.jsonl:1: not JSON that can be read",
        ),
        (
            lambda d: (d / "queries.jsonl").write_text('{"_id": ' + "1" * 5000 + "}"),
            "queries.jsonl:1: not JSON that can be read",
        ),
        (
            lambda d: (d / "queries.jsonl").write_text(lines({"_id": True, "text": "a"})),
            "queries.jsonl:1: no text '_id'",
        ),
        (
            lambda d: (d / "corpus.jsonl").write_text(
                lines({"_id": "d1", "title": ["a"], "text": "a"})
            ),
            "corpus.jsonl:1: no text 'title'",
        ),
        (
            lambda d: ((d / "corpus.jsonl").unlink(), (d / "corpus.jsonl").mkdir()),
            "corpus.jsonl: a directory, and no file",
        ),
        (
            lambda d: (d / "qrels" / "test.tsv").write_text("q1 d1 1\n"),
            "test.tsv:1: 1 cells instead of 3",
        ),
        (
            lambda d: (d / "qrels" / "test.tsv").write_text("q1\td1\t1\nq1\td1\t2\n"),
            "test.tsv:2: ('q1', 'd1') is judged twice",
        ),
        (
            lambda d: (d / "qrels" / "test.tsv").write_text("q1\td1\t0\n"),
            "no judgment has a score above 0",
        ),
    ],
)
def test_malformed_beir_files_name_file_and_line(
    collection: Path, damage: Break, told: str
) -> None:
    damage(collection)
    with pytest.raises(InputError) as refused:
        beir.load(collection, "test")
    assert told in str(refused.value)
    assert str(collection) in str(refused.value)


def row(query_id: int, passages: list[tuple[str, int]]) -> dict[str, Any]:
    return {
        "query": f"query {query_id}",
        "query_id": query_id,
        "passages": {
            "passage_text": [text for text, _ in passages],
            "is_selected": [selected for _, selected in passages],
            "url": [""] * len(passages),
        },
    }


def test_ms_marco_rows_share_equal_passages() -> None:
    rows = [row(7, [("a", 0), ("b", 1)]), row(8, [("b", 0), ("c", 1), ("", 0)])]
    dataset = msmarco.from_rows(rows, HUB, skip_without_positive=False)
    assert dict(zip(dataset.corpus["text"], dataset.corpus["id"], strict=True)) == {
        "a": "7-0",
        "b": "7-1",
        "c": "8-1",
    }
    assert dataset.judgments() == {"7": {"7-0": 0, "7-1": 1}, "8": {"7-1": 0, "8-1": 1}}


def test_a_row_without_a_selected_passage_is_refused_or_counted() -> None:
    rows = [row(7, [("a", 1)]), row(9, [("b", 0)])]
    with pytest.raises(InputError, match=r"train row 2: query_id 9 has no selected passage"):
        msmarco.from_rows(rows, HUB, skip_without_positive=False)
    dataset = msmarco.from_rows(rows, HUB, skip_without_positive=True)
    assert dataset.queries["id"].tolist() == ["7"]
    assert dataset.origin.notes == {"rows_without_selected_passage_left_out": 1}


def test_a_row_of_another_schema_is_refused() -> None:
    with pytest.raises(InputError, match=r"train row 1: a field is missing or null \('passages'\)"):
        msmarco.from_rows([{"query": "q", "query_id": 1}], HUB, skip_without_positive=True)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"passages": None}, "train row 2: a field is missing or null"),
        ({"query": None}, "train row 2: query must be text"),
        (
            {"passages": {"passage_text": [None], "is_selected": [1]}},
            "train row 2: query must be text, passage_text a list of texts",
        ),
        ({"passages": {"passage_text": ["a"], "is_selected": None}}, "train row 2: query must"),
        (
            {"passages": {"passage_text": ["a", "b"], "is_selected": [1]}},
            "train row 2: 2 passage_text but 1 is_selected",
        ),
    ],
)
def test_a_row_with_nothing_where_text_should_be(change: dict[str, Any], told: str) -> None:
    rows = [row(7, [("a", 1)]), row(8, [("b", 1)]) | change]
    with pytest.raises(InputError) as refused:
        msmarco.from_rows(rows, HUB, skip_without_positive=True)
    assert told in str(refused.value)
