"""The loopback hub read by the real clients, unchanged, in a subprocess."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from typing import Any

import pytest

from ettin_retrieval.sources.training_data.msmarco import REPOSITORY as MS_MARCO
from ettin_retrieval.sources.training_data.msmarco import TRIPLETS
from tests.hub import LoopbackHub, populate
from tests.hub.datasets import msmarco_files, triplet_files
from tests.hub.encoders import encoder_files
from tests.hub.populate import add_mteb_task
from tests.hub.rows import msmarco_rows, retrieval_rows, triplet_rows
from tests.workspace import ROOT

ENCODER = "jhu-clsp/ettin-encoder-1b"
V1 = {"train": msmarco_rows(6, 1), "test": msmarco_rows(3, 2)}
V2 = {"train": msmarco_rows(6, 3, unanswered_every=2)}
TRIPLET_ROWS = triplet_rows(5, 4)
TASKS = {"SciFact": "test", "NFCorpus": "test", "MSMARCO": "dev"}

CLIENTS = """
import json, sys
from pathlib import Path

import datasets, huggingface_hub, mteb
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError
from sentence_transformers import SentenceTransformer

given = json.loads(sys.stdin.read())
answer = {"snapshots": {}}
for revision in ("main", given["commit"]):
    path = Path(huggingface_hub.snapshot_download(given["model"], revision=revision))
    answer["snapshots"][revision] = [path.name, *sorted(p.name for p in path.iterdir())]
for model, revision in (("jhu-clsp/unknown", "main"), (given["model"], "0" * 40)):
    try:
        huggingface_hub.snapshot_download(model, revision=revision)
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        answer[revision] = type(error).__name__
encoder = SentenceTransformer(given["model"], device="cpu")
vectors = encoder.encode(["the apple of the river", "the temple of the zebra"])
answer["encoder"] = [type(encoder[0].auto_model).__name__, str(vectors.dtype), *vectors.shape]
answer["tokens"] = encoder.tokenizer.tokenize("The apple, zzap")
for config, split in (("v1.1", "train"), ("v1.1", "test"), ("v2.1", "train")):
    data = datasets.load_dataset(
        given["msmarco"], config, split=split, revision=given["msmarco_commit"]
    )
    answer[f"{config}/{split}"] = data.to_list()
    answer["features"] = {k: str(v) for k, v in data.features.items()}
triplets = datasets.load_dataset(given["triplets"], "triplet-hard", split="train")
answer["triplets"] = triplets.to_list()
for name, split in given["tasks"].items():
    task = mteb.get_task(name)
    task.load_data()
    assert list(task.dataset) == ["default"] and list(task.dataset["default"]) == [split]
    data = task.dataset["default"][split]
    answer[name] = {
        "pinned": [task.metadata.dataset["path"], task.metadata.dataset["revision"]],
        "corpus": data["corpus"].to_list(),
        "queries": data["queries"].to_list(),
        "relevant_docs": data["relevant_docs"],
        "top_ranked": data["top_ranked"],
    }
print(json.dumps(answer))
"""


@pytest.fixture(scope="module")
def answer(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What every client read, and the requests that it took."""
    folder = tmp_path_factory.mktemp("hub")
    with LoopbackHub() as hub:
        hub.add("dataset", TRIPLETS, triplet_files(TRIPLET_ROWS))
        first = hub.add("dataset", MS_MARCO, msmarco_files({"v1.1": V1, "v2.1": V2}))
        hub.add("dataset", MS_MARCO, msmarco_files({"v1.1": V2}))  # main has moved on
        given = {
            "model": ENCODER,
            "commit": hub.add("model", ENCODER, encoder_files(5)),
            "msmarco": MS_MARCO,
            "msmarco_commit": first,
            "triplets": TRIPLETS,
            "tasks": TASKS,
        }
        for seed, (name, split) in enumerate(TASKS.items()):
            corpus, queries, judged = retrieval_rows(3, 2, seed)
            unjudged = queries | {"q-none": "a query without judgments"}
            splits = {"train": {"q0": {"d1": 1}}, split: judged}
            add_mteb_task(hub, name, corpus, unjudged, splits)
        done = subprocess.run(
            [sys.executable, "-c", CLIENTS], input=json.dumps(given), env=hub.env(folder / "cache"),
            cwd=folder, stdout=subprocess.PIPE, check=True, text=True, timeout=300,
        )  # fmt: skip
    read = json.loads(done.stdout.splitlines()[-1])
    return read | {"commit": given["commit"], "requests": hub.requests}


def test_huggingface_hub_downloads_by_branch_and_by_commit(answer: dict[str, Any]) -> None:
    commit = answer["commit"]
    expected = [commit, *sorted(encoder_files(5))]
    assert answer["snapshots"] == {"main": expected, commit: expected}


def test_unknown_names_raise_the_errors_of_huggingface_hub(answer: dict[str, Any]) -> None:
    assert answer["main"] == "RepositoryNotFoundError"
    assert answer["0" * 40] == "RevisionNotFoundError"


def test_sentence_transformers_loads_the_encoder(answer: dict[str, Any]) -> None:
    assert answer["encoder"] == ["ModernBertModel", "float32", 2, 32]
    assert answer["tokens"] == ["the", "apple", ",", "z", "##z", "##a", "##p"]


def test_datasets_reads_ms_marco_at_a_commit(answer: dict[str, Any]) -> None:
    assert answer["v1.1/train"] == V1["train"]
    assert answer["v1.1/test"] == V1["test"]
    assert answer["v2.1/train"] == V2["train"]
    assert answer["features"] == {
        "answers": "List(Value('string'))",
        "passages": "{'is_selected': List(Value('int32')), 'passage_text': List(Value('string')),"
        " 'url': List(Value('string'))}",
        "query": "Value('string')",
        "query_id": "Value('int32')",
        "query_type": "Value('string')",
        "wellFormedAnswers": "List(Value('string'))",
    }
    unanswered = [row for row in V2["train"] if not any(row["passages"]["is_selected"])]
    assert [row["answers"] for row in unanswered] == [["No Answer Present."]] * 3


def test_datasets_reads_the_triplets(answer: dict[str, Any]) -> None:
    assert answer["triplets"] == TRIPLET_ROWS


@pytest.mark.parametrize(("seed", "name"), list(enumerate(TASKS)))
def test_mteb_reads_a_task(answer: dict[str, Any], seed: int, name: str) -> None:
    corpus, queries, judged = retrieval_rows(3, 2, seed)
    dataset, revision = answer[name].pop("pinned")
    assert answer[name] == {
        "corpus": [{"id": key, **passage} for key, passage in corpus.items()],
        "queries": [{"id": key, "text": text} for key, text in queries.items()],
        "relevant_docs": judged,
        "top_ranked": None,
    }
    assert f"/datasets/{dataset}/resolve/{revision}/README.md" in answer["requests"]


def test_the_command_of_the_readme_serves_the_miniatures() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.hub"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        line = server.stdout.readline()
        endpoint = line.split("HF_ENDPOINT=")[1].split()[0]
        with urllib.request.urlopen(f"{endpoint}/api/models/{ENCODER}", timeout=10) as response:
            assert json.load(response)["id"] == ENCODER
        server.terminate()


def test_contents_are_deterministic() -> None:
    with LoopbackHub() as first, LoopbackHub() as second:
        commits = populate(first)
        assert commits == populate(second)
    encoders = [commit for repo_id, commit in commits.items() if "ettin-encoder" in repo_id]
    assert len(set(encoders)) == 6, "the sizes have different weights"
    assert {MS_MARCO, TRIPLETS, "mteb/scifact", "mteb/cqadupstack-gis"} < set(commits)
    # CQADupstackRetrieval is twelve datasets, and four of MTEB(eng, v2) are editions of their own.
    assert len(commits) == 6 + 2 + 14 + 12 + 4
