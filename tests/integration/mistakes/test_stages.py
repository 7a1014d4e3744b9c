"""Every user error through its stage: one line, a status that is not 0, outputs intact."""

from __future__ import annotations

import re
import runpy
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ettin_retrieval import hub
from ettin_retrieval.data.heldout import write_heldout
from tests.collections import TOPICS, write_collection
from tests.hub.encoders import encoder_files
from tests.hub.rows import msmarco_rows
from tests.settings_files import write_settings

LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4\n"
STAGES = {
    "preflight": ("--settings", "metrics/settings.json"),
    "sources.training_data": ("--heldout", "data/heldout", "--training", "data/training"),
    "sources.benchmark_data": ("--benchmark", "data/benchmark"),
    "sources.benchmark_data.heldout": ("--heldout", "data/heldout"),
    "base_encoder": ("--encoder", "models/base"),
    "mining": (
        "--training", "data/training", "--encoder", "models/base", "--negatives", "data/negatives",
        "--plot", "plots/negatives.json",
    ),
}  # fmt: skip
"""Module of a stage to its options in dvc.yaml."""
OUTPUTS = (
    "metrics/settings.json", "data/benchmark/kept.txt", "data/heldout/kept.txt",
    "data/training/kept.txt", "data/negatives/kept.txt", "models/base/kept.txt",
    "plots/negatives.json",
)  # fmt: skip


class User:
    """A directory with settings, an encoder, a collection, and outputs of an earlier run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.collection = path / "own/leases"
        self.encoder = path / "own/encoder"
        self.weights = self.encoder / "model.safetensors"
        self._settings: dict[str, Any] = {}
        write_collection(self.collection)
        self.encoder.mkdir()
        for name, content in encoder_files(0).items():
            (self.encoder / name).write_bytes(content)
        for name in OUTPUTS:
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_text("of an earlier run")
        write_heldout([], "auto", path / "data/heldout")
        local = {"encoder": "own/encoder", "train": "own/leases", "benchmark": "own"}
        self.set({"model": "local", "strict": False, "local": local})

    def set(self, changes: dict[str, Any]) -> None:
        """Change settings."""
        self._settings |= changes
        write_settings(self.path, self._settings)

    def write(self, name: str, content: str) -> None:
        """Write a file of the collection anew."""
        (self.collection / name).write_text(content)

    def add(self, name: str, line: str | bytes) -> None:
        """Add a line to a file of the collection."""
        with (self.collection / name).open("ab") as file:
            file.write((line if isinstance(line, bytes) else line.encode()) + b"\n")

    def run(self, stage: str, monkeypatch: pytest.MonkeyPatch) -> str | None:
        """Run a stage's command; returns its error message, if it has one."""
        monkeypatch.setattr(sys, "argv", [stage, *STAGES[stage]])
        monkeypatch.delitem(sys.modules, f"ettin_retrieval.{stage}", raising=False)
        try:
            runpy.run_module(f"ettin_retrieval.{stage}", run_name="__main__")
        except SystemExit as ended:
            assert isinstance(ended.code, str), "printed to standard error, with status 1"
            return ended.code
        return None

    def is_refused(self, stage: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """See that the stage fails with one line and leaves the earlier outputs."""
        message = self.run(stage, monkeypatch)
        assert message is not None, "the mistake was accepted"
        assert message.startswith("error: ") and "\n" not in message
        assert re.search(said, message), message
        for name in OUTPUTS:
            assert (self.path / name).read_text() == "of an earlier run", name
        assert not list(self.path.rglob("*.partial"))


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> User:
    monkeypatch.chdir(tmp_path)
    return User(tmp_path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"finetuning.margins": 0.3}, "finetuning.margins: unknown key; did you mean margin"),
        ({"seed": "42"}, "seed: '42' is not allowed; it must be a whole number"),
        ({"seed": 4294967296}, "seed: .* less than or equal to 4294967295"),
        ({"model": "2b"}, "model: unknown model"),
        ({"recipe": "guid"}, "recipe: 'guid' is not allowed"),
        ({"evaluation.tasks": []}, "evaluation.tasks: .*at least one"),
        ({"evaluation.tasks": ["a", "a"]}, "evaluation.tasks: a is listed twice"),
        ({"finetuning.margin": float("inf")}, "finetuning.margin: .*a finite number"),
        (
            {"negatives.num_negatives": 500},
            r"range_max 100 is smaller than range_min 0 \+ num_negatives 500",
        ),
        ({"finetuning.precision": "fp16"}, "finetuning.precision: fp16 needs a GPU"),
        (
            {"encoders.yaml:ettin_local.base.source": "/data/my model"},
            "encoders.yaml: .* is not a hub id such as .* write source: local",
        ),
        ({"local.train": "own/leases/corpus.jsonl"}, "local.train: own/leases/corpus.jsonl: "),
    ],
    ids=lambda case: next(iter(case)) if isinstance(case, dict) else "",
)
def test_a_mistake_in_the_settings(
    user: User, changes: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    user.set(changes)
    user.is_refused("preflight", said, monkeypatch)


@pytest.mark.parametrize("stage", STAGES)
def test_any_stage_reports_a_typo(user: User, stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    user.set({"finetuning.margn": 0.3})
    user.is_refused(stage, "did you mean margin", monkeypatch)


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"model: \xe9", "params.yaml:1: not UTF-8"), (b"5", "params.yaml: must be a mapping of")],
)
def test_a_file_that_is_not_settings(
    user: User, content: bytes, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (user.path / "params.yaml").write_bytes(content)
    user.is_refused("preflight", said, monkeypatch)


def add_relevant_passage_without_text(user: User) -> None:
    user.set({"data.strict_judgments": True})
    user.add("corpus.jsonl", '{"_id": "empty", "text": ""}')
    user.add("qrels/train.tsv", "q0-1\tempty\t1")


def add_judgment_of_an_unknown_passage(user: User) -> None:
    user.set({"data.strict_judgments": True})
    user.add("qrels/train.tsv", "q0-1\tno\t1")


def replace_corpus_by_a_directory(user: User) -> None:
    (user.collection / "corpus.jsonl").unlink()
    (user.collection / "corpus.jsonl").mkdir()


Mistake = tuple[str, Callable[[User], object], str]
IN_TRAINING_COLLECTIONS: list[Mistake] = [
    ("no corpus", lambda u: (u.collection / "corpus.jsonl").unlink(), "corpus.jsonl: no such file"),
    ("an empty corpus", lambda u: u.write("corpus.jsonl", ""), "corpus.* is empty"),
    (
        "bad JSON",
        lambda u: u.add("corpus.jsonl", '{"_id": "x", "text": '),
        r"corpus.jsonl:25: not valid JSON",
    ),
    (
        "a duplicate id",
        lambda u: u.add("corpus.jsonl", '{"_id": "rent0", "text": "a"}'),
        r"corpus.jsonl:25: .*'rent0'",
    ),
    (
        "a relevant passage without text",
        add_relevant_passage_without_text,
        r"corpus.jsonl:25: passage 'empty' is judged relevant .*no text",
    ),
    (
        "a query without text",
        lambda u: u.add("queries.jsonl", '{"_id": "empty", "text": " "}'),
        r"queries.jsonl:25: query 'empty' has no text",
    ),
    (
        "an unknown passage",
        add_judgment_of_an_unknown_passage,
        r"train.tsv:18: corpus_id 'no' is not in the corpus",
    ),
    (
        "one training query",
        lambda u: u.write("qrels/train.tsv", "q0-1\trent1\t1\n"),
        "no query is left for training",
    ),
]
IN_BENCHMARK_COLLECTIONS: list[Mistake] = [
    (
        "an unknown query",
        lambda u: u.add("qrels/test.tsv", "no\trent0\t1"),
        r"test.tsv:10: query_id 'no' is not in the queries",
    ),
    (
        "a fractional score",
        lambda u: u.add("qrels/test.tsv", "q0-1\trent0\t0.5"),
        r"test.tsv:10: score '0.5' is not a whole number",
    ),
    (
        "a score beyond 64 bits",
        lambda u: u.add("qrels/test.tsv", f"q0-1\trent0\t{2**64}"),
        r"test.tsv:10: score '\d+' is not a whole number of at most 18 digits",
    ),
    (
        "a very large score",
        lambda u: u.add("qrels/test.tsv", "q0-1\trent0\t5000000"),
        r"test.tsv:10: score 5000000 is above 1,000",
    ),
    (
        "a NUL in an id",
        lambda u: u.add("qrels/test.tsv", "q0-1\trent0\0\t1"),
        r"test.tsv:10: corpus_id 'rent0\\x00' contains NUL",
    ),
    (
        "a header on the second line",
        lambda u: u.write("qrels/test.tsv", "\nquery-id\tcorpus-id\tscore\n"),
        r"test.tsv:2: a header; it must be the first line of the file",
    ),
    (
        "a title that is a number",
        lambda u: u.add("corpus.jsonl", '{"_id": "x", "title": 1984, "text": "a"}'),
        r"corpus.jsonl:25: 'title' is a number \(1984\), not text",
    ),
    (
        "another header",
        lambda u: u.write("qrels/test.tsv", "query_id\tcorpus_id\tscore\n"),
        r"test.tsv:1: unknown header; write query-id <tab> corpus-id <tab> score",
    ),
    ("another encoding", lambda u: u.add("corpus.jsonl", b"\xe9"), r"corpus.jsonl:25: not UTF-8"),
    (
        "no judgments for the test",
        lambda u: (u.collection / "qrels/test.tsv").unlink(),
        r"test.tsv: no such file; .* judgment files here: train",
    ),
    (
        "two directories of one task",
        lambda u: [shutil.copytree(u.collection, u.path / "own" / n) for n in ("fiqa", "FiQA2018")],
        "are both the task FiQA2018; remove one of the two",
    ),
    (
        "a task that the directory lacks",
        lambda u: u.set({"evaluation.tasks": ["SciFact"]}),
        "'SciFact' is not in own; there are leases",
    ),
    ("no collections", lambda u: shutil.rmtree(u.collection), "no corpus.jsonl"),
]
IN_HELDOUT: list[Mistake] = [
    (
        "a held-out task that the directory lacks",
        lambda u: u.set({"data.heldout": ["SciFact"]}),
        "data.heldout: 'SciFact' is not in own; there are leases",
    ),
    IN_BENCHMARK_COLLECTIONS[-1],
]
IN_ENCODERS: list[Mistake] = [
    ("no encoder", lambda u: shutil.rmtree(u.encoder), "no such directory"),
    ("no weights", lambda u: u.weights.unlink(), r"no .safetensors weights in it"),
    (
        "pickled weights",
        lambda u: u.weights.rename(u.encoder / "pytorch_model.bin"),
        r"no .safetensors weights in it",
    ),
    ("a pointer", lambda u: u.weights.write_text(LFS), "pointer"),
    (
        "weights cut short",
        lambda u: u.weights.write_bytes(u.weights.read_bytes()[:-9]),
        "model.safetensors is not a complete",
    ),
    (
        "a length beyond the positions",
        lambda u: u.set({"encoders.yaml:ettin_local.base.max_passage_length": 8000}),
        "max_passage_length 8000 is more than the 7999 tokens",
    ),
    (
        "another shape",
        lambda u: (u.encoder / "config.json").write_text(
            (u.encoder / "config.json")
            .read_text()
            .replace('"intermediate_size": 64', '"intermediate_size": 32')
        ),
        r"has shape \(\d+, \d+\), and config.json says",
    ),
]


@pytest.mark.parametrize(
    ("stage", "mistake", "said"),
    [
        pytest.param(stage, *mistake, id=name)
        for stage, mistakes in {
            "sources.training_data": IN_TRAINING_COLLECTIONS,
            "sources.benchmark_data": IN_BENCHMARK_COLLECTIONS,
            "sources.benchmark_data.heldout": [*IN_BENCHMARK_COLLECTIONS[:-2], *IN_HELDOUT],
            "base_encoder": IN_ENCODERS,
        }.items()
        for name, *mistake in mistakes
    ],
)
def test_a_mistake_in_the_user_s_files(
    user: User,
    stage: str,
    mistake: Callable[[User], object],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mistake(user)
    user.is_refused(stage, said, monkeypatch)


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        (lambda u: shutil.rmtree(u.encoder), "local.encoder: .*no such directory"),
        (lambda u: u.weights.unlink(), "local.encoder: .*no .safetensors weights in it"),
        (lambda u: u.weights.write_text(LFS), "local.encoder: .*pointer"),
        (
            lambda u: u.weights.write_bytes(u.weights.read_bytes()[:-9]),
            "local.encoder: .*not a complete",
        ),
        (replace_corpus_by_a_directory, "local.train: .*corpus.jsonl: "),
    ],
)
def test_the_stage_settings_reports_files_before_any_data_is_read(
    user: User, mistake: Callable[[User], object], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mistake(user)
    user.is_refused("preflight", said, monkeypatch)


@pytest.mark.parametrize("stage", ["preflight", "base_encoder"])
def test_without_a_mistake_the_stage_writes_its_output(
    user: User, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the tests above change is all that is wrong."""
    assert user.run(stage, monkeypatch) is None
    written = user.path / STAGES[stage][-1]
    assert not (written / "kept.txt").exists() and written.exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"passages": {"passage_text": ["a"], "is_selected": [0]}}, "has no selected passage"),
        (
            {"passages": {"passage_text": [None], "is_selected": [1]}},
            "passages.passage_text.0: None is not allowed; it must be text",
        ),
        (
            {"passages": None},
            "passages: None is not allowed; it must be a mapping with passage_text, is_sel",
        ),
    ],
)
def test_an_ms_marco_row_that_cannot_be_used(
    user: User, change: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = msmarco_rows(3)
    rows[2] |= change
    monkeypatch.setattr(hub, "resolve_commit", lambda *_: "c0ffee")
    monkeypatch.setattr(hub, "load_split", lambda *_: rows)
    user.set({"data.train": "msmarco", "data.rows_without_positive": "error"})
    user.is_refused("sources.training_data", f"v1.1 train row 3: .*{said}", monkeypatch)


def test_more_negatives_than_passages_are_refused_before_encoding(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    passages = 3 * len(TOPICS)
    user.set({"negatives.num_negatives": passages})
    assert user.run("sources.training_data", monkeypatch) is None
    message = user.run("mining", monkeypatch)
    assert message is not None and "\n" not in message
    said = f"num_negatives: {passages} negatives of a query, and the corpus of {passages} passages"
    assert said in message
    assert (user.path / "data/negatives/kept.txt").read_text() == "of an earlier run"
