"""The audit of mined negatives: which are counted, the interval, the examples, what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from ettin_retrieval.cli import main
from ettin_retrieval.data.dataset import (
    CORPUS,
    QRELS,
    QUERIES,
    TEACHER,
    Origin,
    RetrievalDataset,
    frame,
)
from ettin_retrieval.data.negatives import Pair, write_negatives
from ettin_retrieval.data.storage import write_dataset
from ettin_retrieval.interop.audit import audit
from ettin_retrieval.interop.cross_encoder import Scores
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.runtime.files import read_json, sha256_file
from tests.workspace import ROOT

BY = {"name": "test"}


def collection(negatives: int, teacher: list[tuple[str, str, float]] | None) -> RetrievalDataset:
    """The question q with the positive p and passages n000, n001 and so on."""
    names = [f"n{number:03}" for number in range(negatives)]
    return RetrievalDataset(
        frame([("p", "The", "positive"), *((name, "", f"text {name}") for name in names)], CORPUS),
        frame([("q", "question")], QUERIES),
        frame([("q", "p", 1)], QRELS),
        Origin("test", "1", "CC0-1.0", "train"),
        None if teacher is None else frame(teacher, TEACHER),
    )


def pairs_of(given: RetrievalDataset) -> list[Pair]:
    return [("q", "p", given.corpus["id"].tolist()[1:])]


def scored(relevant: int, negatives: int, of_relevant: float = 0.75) -> RetrievalDataset:
    """The first negatives have the teacher's score `of_relevant`; the positive has 0.5."""
    scores = [
        ("q", f"n{row:03}", of_relevant if row < relevant else 0.25) for row in range(negatives)
    ]
    return collection(negatives, [("q", "p", 0.5), *scores])


@pytest.mark.parametrize(
    ("relevant", "negatives", "low", "high"),
    [
        # Newcombe, Statistics in Medicine 17:857-872 (1998), table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_rate_and_interval_are_those_published(
    relevant: int, negatives: int, low: float, high: float
) -> None:
    given = scored(relevant, negatives)
    found = audit(given, pairs_of(given), BY)
    assert (found.negatives, found.audited, found.relevant) == (negatives, negatives, relevant)
    assert found.rate == relevant / negatives
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)
    assert len(found.examples) == min(20, relevant)
    assert f"{low:.2%} to {high:.2%}" in str(found)


@pytest.mark.parametrize(("score", "relevant"), [(0.5, 3), (0.4999, 0)])
def test_a_negative_as_high_as_the_positive_is_relevant(score: float, relevant: int) -> None:
    given = scored(3, 5, score)
    assert audit(given, pairs_of(given), BY).relevant == relevant


def test_only_negatives_scored_together_with_their_positive_are_audited() -> None:
    teacher = [("q", "n000", 0.9), ("q", "n001", 0.1), ("q", "p", 0.5)]
    given = collection(4, teacher)
    found = audit(given, pairs_of(given), BY)
    assert (found.negatives, found.unscored, found.audited, found.relevant) == (4, 2, 2, 1)
    assert str(found).endswith("\n2 negatives were not audited: the teacher has not scored them")
    given = collection(4, teacher[:2])
    with pytest.raises(InputError, match="has scored no negative together with its positive"):
        audit(given, pairs_of(given), BY)


def test_a_sample_is_seeded_and_has_no_negative_twice() -> None:
    given = scored(60, 120)

    def sampled(size: int, seed: int) -> list[str]:
        found = audit(given, pairs_of(given), BY, sample=size, seed=seed)
        assert found.audited == min(size, 120)
        names = [example["negative_id"] for example in found.examples]
        assert len(set(names)) == len(names) == min(20, found.relevant)
        return names

    assert sampled(25, 1) == sampled(25, 1) != sampled(25, 2)
    # The whole is not a sample.
    assert sampled(120, 1) == sampled(1000, 2) == [f"n{row:03}" for row in range(20)]


def test_examples_are_the_clearest_with_their_texts() -> None:
    teacher = [("q", "p", 0.5), ("q", "n000", 0.6), ("q", "n001", 0.9), ("q", "n002", 0.6)]
    given = collection(3, teacher)
    found = audit(given, pairs_of(given), BY)
    assert [example["negative_id"] for example in found.examples] == ["n001", "n000", "n002"]
    assert found.examples[0] == {
        "query_id": "q", "positive_id": "p", "negative_id": "n001",
        "query": "question", "positive": "The positive", "negative": "text n001",
        "positive_score": 0.5, "negative_score": 0.9,
    }  # fmt: skip


def test_a_cross_encoder_reads_titles_and_each_text_once() -> None:
    given = collection(3, None)
    pairs = [("q", "p", ["n000", "n001"]), ("q", "n002", ["n001"])]
    read: list[tuple[str, str]] = []

    def score(texts: list[tuple[str, str]]) -> Scores:
        read.extend(texts)
        values = {"The positive": 2, "text n000": 1, "text n001": 3, "text n002": 3}
        return np.array([values[passage] for _, passage in texts], dtype=np.float32)

    found = audit(given, pairs, BY, score)
    texts = ["The positive", "text n000", "text n001", "text n002"]
    assert sorted(read) == [("question", text) for text in texts]
    # n001 is above p, and as high as n002.
    assert (found.audited, found.relevant, found.unscored) == (3, 2, 0)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_teacher_s_score_that_is_not_finite_is_refused(value: float) -> None:
    given = scored(3, 5, value)
    with pytest.raises(InputError, match=r"query 'q' and passage 'n000' .* is not a finite number"):
        audit(given, pairs_of(given), BY, sample=1)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([], "there are no negatives to audit"),
        ([("q", "p", [])], "there are no negatives to audit"),
        ([("q", "p", ["lost"])], "of query 'q' were not chosen from this training data"),
        ([("lost", "p", ["n000"])], "of query 'lost' were not chosen from this training data"),
    ],
)
def test_negatives_that_cannot_be_audited_are_refused(pairs: list[Pair], message: str) -> None:
    with pytest.raises(InputError, match=message):
        audit(scored(1, 2), pairs, BY)


def write(given: RetrievalDataset) -> None:
    """The outputs of both stages, where the command looks for them."""
    for path in (Path("data/training/train"), Path("data/negatives")):
        path.mkdir(parents=True, exist_ok=True)
    write_dataset(given, Path("data/training/train"))
    write_negatives(pairs_of(given), Path("data/negatives"))


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("params", "encoders", "recipes"):
        Path(f"{name}.yaml").write_bytes((ROOT / f"{name}.yaml").read_bytes())


@pytest.mark.usefixtures("workplace")
def test_the_command_prints_a_table_and_writes_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    write(scored(81, 263))
    assert main(["audit-negatives"]) == 0
    assert capsys.readouterr().out == (
        "teacher: teacher scores of the training data\n"
        "  negatives    audited   relevant     rate  95% interval (Wilson)\n"
        "        263        263         81   30.80%  25.53% to 36.62%\n"
        "data/negatives_audit.json: numbers and examples\n"
    )
    written = Path("data/negatives_audit.json")
    content, before = read_json(written), written.read_bytes()
    assert (content["relevant"], content["audited"], content["rate"]) == (81, 263, 81 / 263)
    assert content["interval"]["method"] == "Wilson" and content["interval"]["level"] == 0.95
    assert len(content["examples"]) == 20
    assert content["negatives_sha256"] == sha256_file(Path("data/negatives/negatives.parquet"))
    assert main(["audit-negatives"]) == 0
    assert written.read_bytes() == before
    assert main(["audit-negatives", "--sample", "10"]) == 0
    assert read_json(written)["audited"] == 10


@pytest.mark.usefixtures("workplace")
def test_the_command_says_what_is_missing_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def said(*arguments: str) -> str:
        assert main(["audit-negatives", *arguments]) == 1
        out, err = capsys.readouterr()
        assert out == "" and err.count("\n") == 1
        return err

    assert "data/negatives/negatives.parquet: no such file; run `dvc repro negatives`" in said()
    write(dataclasses.replace(scored(1, 2), teacher=None))
    assert "data/training: has no teacher's scores; give the directory of a cross-" in said()
    write(scored(1, 2, float("nan")))
    assert "is not a finite number" in said()
    assert not Path("data/negatives_audit.json").exists()
