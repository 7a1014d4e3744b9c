"""The loopback hub against the real clients, which all run unchanged in one subprocess."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from tests.loopback_hub import (
    ETTIN_ENCODERS,
    MS_MARCO,
    MTEB_TASKS,
    TRIPLETS,
    WORDS,
    LoopbackHub,
    msmarco_files,
    populate,
    synthetic_msmarco_rows,
    synthetic_retrieval,
    synthetic_triplets,
    tiny_encoder_files,
    triplet_files,
)

ONE_B = "jhu-clsp/ettin-encoder-1b"
V1 = {"train": synthetic_msmarco_rows(6, 1), "test": synthetic_msmarco_rows(3, 2)}
V2 = {"train": synthetic_msmarco_rows(6, 3, unanswered_every=2)}
TRIPLET_ROWS = synthetic_triplets(5, 4)
TASKS = {"SciFact": "test", "NFCorpus": "test", "MSMARCO": "dev"}

CLIENTS = """
import json, sys
from pathlib import Path

import datasets, huggingface_hub, mteb
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError
from sentence_transformers import SentenceTransformer

asked = json.loads(sys.argv[1])
answer = {}
answer["snapshots"] = {
    revision: sorted(p.name for p in Path(path).iterdir()) + [Path(path).name]
    for revision in ("main", asked["commit"])
    for path in [huggingface_hub.snapshot_download(asked["model"], revision=revision)]
}
for name, kwargs in {"repo": {}, "revision": {"revision": "0" * 40}}.items():
    model = "jhu-clsp/unknown" if name == "repo" else asked["model"]
    try:
        huggingface_hub.snapshot_download(model, **kwargs)
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        answer[f"unknown {name}"] = type(error).__name__
encoder = SentenceTransformer(asked["model"], device="cpu")
vectors = encoder.encode(["the apple of the river", "the temple of the zebra"])
answer["encoder"] = [type(encoder[0].auto_model).__name__, list(vectors.shape)]
answer["dtype"] = str(vectors.dtype)
answer["tokens"] = encoder.tokenizer.tokenize("The apple, zzap")
for config, split in (("v1.1", "train"), ("v1.1", "test"), ("v2.1", "train")):
    data = datasets.load_dataset(
        asked["msmarco"], config, split=split, revision=asked["msmarco_commit"]
    )
    answer[f"{config}/{split}"] = data.to_list()
    answer["features"] = {k: str(v) for k, v in data.features.items()}
triplets = datasets.load_dataset(asked["triplets"], "triplet-hard", split="train")
answer["triplets"] = triplets.to_list()
answer["pins"] = {}
for name in asked["pins"]:
    pinned = mteb.get_task(name).metadata.dataset
    answer["pins"][name] = [pinned["path"], pinned["revision"]]
for name, split in asked["tasks"].items():
    task = mteb.get_task(name)
    task.load_data()
    assert list(task.dataset) == ["default"] and list(task.dataset["default"]) == [split]
    data = task.dataset["default"][split]
    answer[name] = {
        "corpus": data["corpus"].to_list(),
        "queries": data["queries"].to_list(),
        "relevant_docs": data["relevant_docs"],
        "top_ranked": data["top_ranked"],
    }
Path(sys.argv[2]).write_text(json.dumps(answer))
"""


@pytest.fixture(scope="module")
def answer(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What every client saw, with the requests it took."""
    folder = tmp_path_factory.mktemp("hub")
    with LoopbackHub() as hub:
        hub.add_repo("dataset", TRIPLETS, triplet_files(TRIPLET_ROWS))
        first = hub.add_repo("dataset", MS_MARCO, msmarco_files({"v1.1": V1, "v2.1": V2}))
        hub.add_repo("dataset", MS_MARCO, msmarco_files({"v1.1": V2}))  # main has moved on
        asked = {
            "model": ONE_B,
            "commit": hub.add_repo("model", ONE_B, tiny_encoder_files(5, WORDS)),
            "msmarco": MS_MARCO,
            "msmarco_commit": first,
            "triplets": TRIPLETS,
            "tasks": TASKS,
            "pins": list(MTEB_TASKS),
        }
        for seed, (name, split) in enumerate(TASKS.items()):
            corpus, queries, judged = synthetic_retrieval(3, 2, seed)
            unjudged = queries | {"q-none": "a query nobody judged"}
            splits = {"train": {"q0": {"d1": 1}}, split: judged}
            hub.add_mteb_task(name, corpus, unjudged, splits)
        out = folder / "answer.json"
        subprocess.run(
            [sys.executable, "-c", CLIENTS, json.dumps(asked), str(out)],
            env=hub.env(folder / "cache"),
            cwd=folder,
            check=True,
            timeout=300,
        )
        return json.loads(out.read_text()) | {"asked": asked, "requests": list(hub.requests)}


def test_huggingface_hub_downloads_by_branch_and_by_commit(answer: dict[str, Any]) -> None:
    commit = answer["asked"]["commit"]
    expected = [*sorted(tiny_encoder_files(5, WORDS)), commit]
    assert answer["snapshots"] == {"main": expected, commit: expected}


def test_unknown_names_raise_the_errors_of_huggingface_hub(answer: dict[str, Any]) -> None:
    assert answer["unknown repo"] == "RepositoryNotFoundError"
    assert answer["unknown revision"] == "RevisionNotFoundError"


def test_sentence_transformers_loads_the_plain_encoder(answer: dict[str, Any]) -> None:
    assert answer["encoder"] == ["ModernBertModel", [2, 32]]
    assert answer["dtype"] == "float32"
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


def test_tasks_are_pinned_as_mteb_pins_them(answer: dict[str, Any]) -> None:
    assert answer["pins"] == {name: list(pin) for name, pin in MTEB_TASKS.items()}


@pytest.mark.parametrize(("seed", "name"), list(enumerate(TASKS)))
def test_mteb_reads_a_task(answer: dict[str, Any], seed: int, name: str) -> None:
    corpus, queries, judged = synthetic_retrieval(3, 2, seed)
    assert answer[name] == {
        "corpus": [{"id": key, **document} for key, document in corpus.items()],
        "queries": [{"id": key, "text": text} for key, text in queries.items()],
        "relevant_docs": judged,
        "top_ranked": None,
    }
    dataset, revision = MTEB_TASKS[name]
    assert f"/datasets/{dataset}/resolve/{revision}/README.md" in answer["requests"]


def _get(hub: LoopbackHub, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of one request."""
    request = urllib.request.Request(hub.endpoint + path, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, dict(response.headers), response.read()
    except HTTPError as error:
        return error.code, dict(error.headers), error.read()


def test_files_carry_the_headers_of_the_hub(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"0123456789")
    files = {"sub/model.safetensors": Path("weights"), "a.txt": b"text"}
    with LoopbackHub(tmp_path) as hub:
        commit = hub.add_repo("model", "me/it", files, revision="v1")
        for revision in ("main", "v1", commit):
            status, headers, body = _get(hub, f"/me/it/resolve/{revision}/sub/model.safetensors")
            assert (status, body) == (200, b"0123456789")
            assert headers["X-Repo-Commit"] == commit
            assert headers["X-Linked-Size"] == headers["Content-Length"] == "10"
        path = "/me/it/resolve/main/sub/model.safetensors"
        assert _get(hub, path, Range="bytes=2-4")[::2] == (206, b"234")
        assert _get(hub, path, Range="bytes=-3")[::2] == (206, b"789")
        assert _get(hub, path, Range="bytes=10-")[0] == 416
        top = json.loads(_get(hub, "/api/models/me/it/tree/v1")[2])
        assert [(e["type"], e["path"]) for e in top] == [("file", "a.txt"), ("directory", "sub")]
        for path, code in {
            "/api/models/me/other": "RepoNotFound",
            "/api/datasets/me/it": "RepoNotFound",
            "/api/models/me/it/revision/v2": "RevisionNotFound",
            "/me/it/resolve/main/b.txt": "EntryNotFound",
        }.items():
            status, headers, _ = _get(hub, path)
            assert (status, headers["X-Error-Code"]) == (404, code)
        assert hub.requests[-1] == "/me/it/resolve/main/b.txt"


def test_a_hub_can_fail_midway() -> None:
    with LoopbackHub() as hub:
        hub.add_repo("model", "me/it", {"a.txt": b"text"})
        hub.fail_after(1)
        statuses = [_get(hub, "/me/it/resolve/main/a.txt")[0] for _ in range(3)]
        hub.fail_after(0, "close")
        with pytest.raises(OSError):
            _get(hub, "/me/it/resolve/main/a.txt")
        hub.recover()
        assert [*statuses, _get(hub, "/me/it/resolve/main/a.txt")[0]] == [200, 500, 500, 200]


def test_contents_are_deterministic_and_encoders_differ() -> None:
    with LoopbackHub() as first, LoopbackHub() as second:
        commits = populate(first)
        assert commits == populate(second)
    assert len({commits[encoder] for encoder in ETTIN_ENCODERS}) == len(ETTIN_ENCODERS)
    assert set(commits) >= {MS_MARCO, TRIPLETS, *(dataset for dataset, _ in MTEB_TASKS.values())}
