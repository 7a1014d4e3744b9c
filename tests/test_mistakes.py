"""Every mistake of a user's through its stage: one line, a status that is not 0, outputs intact."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.workspace import ROOT, Workspace
from ettin_retrieval import hub
from tests.loopback_hub import WORDS, synthetic_msmarco_rows, tiny_encoder_files
from test_own_documents import TOPICS, write_collection

LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4\n"
STAGES = {
    "settings": ("--params", "params.yaml", "--settings", "metrics/settings.json"),
    "training_data": (
        "--local", "own/leases", "--benchmark", "data/benchmark", "--training", "data/training",
    ),
    "benchmark_data": ("--local", "own", "--benchmark", "data/benchmark"),
    "base_encoder": ("--local", "own/encoder", "--encoder", "models/base"),
    "negatives": (
        "--training", "data/training", "--encoder", "models/base", "--negatives", "data/negatives",
        "--plot", "plots/negatives.json",
    ),
}  # fmt: skip
"""Stage to its options, as dvc.yaml gives them."""
OUTPUTS = (
    "metrics/settings.json", "data/benchmark/kept.txt", "data/training/kept.txt",
    "data/negatives/kept.txt", "models/base/kept.txt", "plots/negatives.json",
)  # fmt: skip


@dataclass(frozen=True)
class User:
    """A directory with params.yaml, an encoder, a collection, and outputs of an earlier run."""

    path: Path

    @property
    def collection(self) -> Path:
        """A BEIR directory."""
        return self.path / "own/leases"

    @property
    def encoder(self) -> Path:
        """A transformers directory."""
        return self.path / "own/encoder"

    def write(self, name: str, content: str | bytes) -> None:
        """Write a file of the collection anew."""
        data = content if isinstance(content, bytes) else content.encode()
        (self.collection / name).write_bytes(data)

    def add(self, name: str, line: str | bytes) -> None:
        """Add a line to a file of the collection."""
        data = line if isinstance(line, bytes) else line.encode()
        self.write(name, (self.collection / name).read_bytes() + data + b"\n")

    def set(self, before: str, after: str) -> None:
        """Change params.yaml."""
        text = (self.path / "params.yaml").read_text(encoding="utf-8")
        assert before in text
        (self.path / "params.yaml").write_text(text.replace(before, after, 1), encoding="utf-8")


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> User:
    shutil.copyfile(ROOT / "params.yaml", tmp_path / "params.yaml")
    made = User(tmp_path)
    made.set("model: tiny", "model: local")
    made.set("strict: true", "strict: false")
    made.set("encoder: models/own", "encoder: own/encoder")
    made.set("train: data/own", "train: own/leases")
    made.set("benchmark: data/own", "benchmark: own")
    write_collection(made.collection)
    made.encoder.mkdir()
    for name, content in tiny_encoder_files(0, WORDS).items():
        (made.encoder / name).write_bytes(content)
    for name in OUTPUTS:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("of an earlier run")
    monkeypatch.chdir(tmp_path)
    return made


def run(stage: str, monkeypatch: pytest.MonkeyPatch) -> str | None:
    """What a stage's command ends with, as Python's own command line would run it."""
    monkeypatch.setattr(sys, "argv", [stage, *STAGES[stage]])
    try:
        runpy.run_module(f"ettin_retrieval.stages.{stage}", run_name="__main__")
    except SystemExit as ended:
        assert isinstance(ended.code, str), "printed to standard error, with status 1"
        return ended.code
    return None


def refused(stage: str, told: str, user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    message = run(stage, monkeypatch)
    assert message is not None, "the mistake was accepted"
    assert message.startswith("error: ") and "\n" not in message
    assert re.search(told, message), message
    for name in OUTPUTS:
        assert (user.path / name).read_text() == "of an earlier run", name
    assert not list(user.path.rglob("*.partial"))


def weights(user: User) -> Path:
    return user.encoder / "model.safetensors"


Mistake = tuple[str, str, Callable[[User], object], str]
IN_PARAMS: list[Mistake] = [
    ("an unknown key", "settings", lambda u: u.set("margin: 0.3", "margins: 0.3"), "unknown key"),
    ("a wrong type", "settings", lambda u: u.set("seed: 42", "seed: '42'"), "a whole number"),
    ("an unknown model", "settings", lambda u: u.set("model: local", "model: 2b"), "unknown model"),
    ("a seed too large", "settings", lambda u: u.set("seed: 42", "seed: 4294967296"), "at most"),
    ("no tasks", "settings", lambda u: u.set("tasks: auto", "tasks: []"), "at least one"),
    ("a task twice", "settings", lambda u: u.set("tasks: auto", "tasks: [a, a]"), "there twice"),
    ("infinity", "settings", lambda u: u.set("margin: 0.3", "margin: .inf"), "a finite number"),
    ("an unknown recipe", "settings", lambda u: u.set("recipe: guide", "recipe: guid"), "guid"),
    (
        "an impossible combination",
        "settings",
        lambda u: u.set("per_query: auto", "per_query: 500"),
        r"top_k 100 is smaller than skip_first 0 \+ per_query 500",
    ),
    (
        "fp16 on a CPU",
        "settings",
        lambda u: u.set("precision: fp32     # fp32", "precision: fp16     # fp32"),
        "finetuning.precision: fp16 needs a GPU",
    ),
    (
        "a path as a hub id",
        "settings",
        lambda u: u.set("source: local", "source: /data/my model"),
        "is no hub id such as .* write source: local",
    ),
    (
        "another encoding",
        "settings",
        lambda u: (u.path / "params.yaml").write_bytes(b"model: \xe9"),
        "params.yaml:1: not UTF-8",
    ),
    ("no mapping", "settings", lambda u: (u.path / "params.yaml").write_text("5"), "a mapping of"),
    ("a typo, told by any stage", "base_encoder", lambda u: u.set("margin:", "margn:"), "margin?"),
]
IN_COLLECTIONS: list[Mistake] = [
    ("no corpus", "training_data", lambda u: (u.collection / "corpus.jsonl").unlink(), "no such f"),
    ("an empty corpus", "training_data", lambda u: u.write("corpus.jsonl", ""), "corpus is empty"),
    (
        "bad JSON",
        "training_data",
        lambda u: u.add("corpus.jsonl", '{"_id": "x", "text": '),
        r"corpus.jsonl:25: not valid JSON",
    ),
    (
        "a duplicate id",
        "training_data",
        lambda u: u.add("corpus.jsonl", '{"_id": "rent0", "text": "a"}'),
        r"corpus.jsonl:25: id 'rent0' occurs twice",
    ),
    (
        "a relevant passage without text",
        "training_data",
        lambda u: (
            u.add("corpus.jsonl", '{"_id": "empty", "text": ""}'),
            u.add("qrels/train.tsv", "q0-1\tempty\t1"),
        ),
        r"corpus.jsonl:25: passage 'empty' is judged relevant and has no text",
    ),
    (
        "a query without text",
        "training_data",
        lambda u: u.add("queries.jsonl", '{"_id": "empty", "text": " "}'),
        r"queries.jsonl:25: query 'empty' has no text",
    ),
    (
        "an unknown passage",
        "training_data",
        lambda u: u.add("qrels/train.tsv", "q0-1\tno\t1"),
        r"train.tsv:18: corpus_id 'no' is not in the corpus",
    ),
    (
        "an unknown query",
        "benchmark_data",
        lambda u: u.add("qrels/test.tsv", "no\trent0\t1"),
        r"test.tsv:10: query_id 'no' is not in the queries",
    ),
    (
        "a score that is no integer",
        "benchmark_data",
        lambda u: u.add("qrels/test.tsv", "q0-1\trent0\t0.5"),
        r"test.tsv:10: score '0.5' is not a whole number",
    ),
    (
        "a score beyond 64 bits",
        "benchmark_data",
        lambda u: u.add("qrels/test.tsv", f"q0-1\trent0\t{2**64}"),
        r"test.tsv:10: score '\d+' is not a whole number of at most 18 digits",
    ),
    (
        "another header",
        "benchmark_data",
        lambda u: u.write("qrels/test.tsv", "query_id\tcorpus_id\tscore\n"),
        r"test.tsv:1: unknown header; write query-id <tab> corpus-id <tab> score",
    ),
    (
        "another encoding in a collection",
        "benchmark_data",
        lambda u: u.add("corpus.jsonl", b"\xe9"),
        r"corpus.jsonl:25: not UTF-8",
    ),
    (
        "no judgments for the test",
        "benchmark_data",
        lambda u: (u.collection / "qrels/test.tsv").unlink(),
        r"test.tsv: no such file; .* judgment files here: train",
    ),
    (
        "two directories of one task",
        "benchmark_data",
        lambda u: [shutil.copytree(u.collection, u.path / "own" / n) for n in ("fiqa", "FiQA2018")],
        "are both the task FiQA2018; leave one of the two",
    ),
    (
        "a task that the directory does not hold",
        "benchmark_data",
        lambda u: u.set("tasks: auto", "tasks: [SciFact]"),
        "'SciFact' is not in own; there are leases",
    ),
    ("no collections", "benchmark_data", lambda u: shutil.rmtree(u.collection), "no corpus.jsonl"),
    (
        "one training query",
        "training_data",
        lambda u: u.write("qrels/train.tsv", "q0-1\trent1\t1\n"),
        "no query is left for training",
    ),
    (
        "a file instead of a directory",
        "settings",
        lambda u: u.set("train: own/leases", "train: own/leases/corpus.jsonl"),
        "local.train: own/leases/corpus.jsonl: a file, and no directory",
    ),
    (
        "a directory instead of a file",
        "settings",
        lambda u: (
            (u.collection / "corpus.jsonl").unlink(),
            (u.collection / "corpus.jsonl").mkdir(),
        ),
        "local.train: .*corpus.jsonl: ",
    ),
]
IN_ENCODERS: list[Mistake] = [
    ("no encoder", "settings", lambda u: shutil.rmtree(u.encoder), "no such directory"),
    ("no weights", "settings", lambda u: weights(u).unlink(), r"no .safetensors weights in it"),
    (
        "pickled weights",
        "base_encoder",
        lambda u: weights(u).rename(u.encoder / "pytorch_model.bin"),
        r"no .safetensors weights in it",
    ),
    ("a pointer", "settings", lambda u: weights(u).write_text(LFS), "is a pointer of Git LFS"),
    (
        "weights cut short",
        "settings",
        lambda u: weights(u).write_bytes(weights(u).read_bytes()[:-9]),
        "is no whole safetensors file",
    ),
    (
        "a length beyond the positions",
        "base_encoder",
        lambda u: u.set("max_passage_length: auto", "max_passage_length: 8000"),
        "max_passage_length 8000 is more than the 7999 tokens",
    ),
    (
        "another shape",
        "base_encoder",
        lambda u: (u.encoder / "config.json").write_text(
            (u.encoder / "config.json")
            .read_text()
            .replace('"intermediate_size": 64', '"intermediate_size": 32')
        ),
        r"has shape \(\d+, \d+\), and config.json says",
    ),
]


@pytest.mark.parametrize(
    ("stage", "mistake", "told"),
    [pytest.param(*case[1:], id=case[0]) for case in (*IN_PARAMS, *IN_COLLECTIONS, *IN_ENCODERS)],
)
def test_a_mistake_is_told_in_one_line(
    user: User,
    stage: str,
    mistake: Callable[[User], object],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mistake(user)
    refused(stage, told, user, monkeypatch)


@pytest.mark.parametrize("stage", ["settings", "base_encoder"])
def test_without_a_mistake_the_stage_ends_well(
    user: User, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the tests above change is all that is wrong."""
    assert run(stage, monkeypatch) is None
    written = user.path / STAGES[stage][-1]
    assert not (written / "kept.txt").exists() and written.exists()


def ms_marco(rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "resolve_commit", lambda *_: "c0ffee")
    monkeypatch.setattr(hub, "load_split", lambda *_: rows)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"passages": {"passage_text": ["a"], "is_selected": [0]}}, "has no selected passage"),
        ({"passages": {"passage_text": [None], "is_selected": [1]}}, "a list of texts"),
        ({"passages": None}, "a field is missing or null"),
    ],
)
def test_an_ms_marco_row_that_cannot_be_used(
    user: User, change: dict[str, Any], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = synthetic_msmarco_rows(3)
    ms_marco([*rows[:2], rows[2] | change], monkeypatch)
    user.set("train: auto", "train: msmarco")
    user.set("rows_without_positive: auto", "rows_without_positive: error")
    refused("training_data", f"v1.1 train row 3: .*{told}", user, monkeypatch)


def test_more_negatives_than_passages_are_refused_before_encoding(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    passages = 3 * len(TOPICS)
    user.set("per_query: auto", f"per_query: {passages}")
    assert run("training_data", monkeypatch) is None
    told = f"per_query: {passages} negatives of a query, and the corpus of {passages} passages has"
    message = run("negatives", monkeypatch)
    assert message is not None and told in message
    assert (user.path / "data/negatives/kept.txt").read_text() == "of an earlier run"


def test_the_commands_status_and_stream(workspace: Workspace) -> None:
    """By a process of its own: status 1, the line on standard error, nothing else."""
    workspace.set_params(lambda text: text.replace("seed: 42", "seed: -1"))
    done = workspace.stage("settings", *STAGES["settings"])
    assert (done.returncode, done.stdout) == (1, "")
    told = "error: params.yaml: seed: -1 is not allowed; it must be at least 0\n"
    assert done.stderr == told


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("model=2b", "model: unknown model '2b'; allowed: tiny, 17m"),
        ("finetuning.epochs=many", "epochs: 'many' is not allowed; it must be a whole number or"),
    ],
)
def test_a_wrong_value_in_an_experiment(workspace: Workspace, change: str, told: str) -> None:
    before = {p: p.read_bytes() for p in (workspace.path / "metrics").iterdir()}
    done = workspace.run("dvc", "exp", "run", "-S", change)
    assert done.returncode != 0
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and told in errors[0], done.stderr
    assert "Traceback" not in done.stderr
    assert {p: p.read_bytes() for p in (workspace.path / "metrics").iterdir()} == before
    assert json.loads((workspace.path / "metrics/settings.json").read_text())["model"] == "tiny"
