"""The loopback hub's answers: files, folders, names, errors."""

from __future__ import annotations

import json
import math
import urllib.request
from collections.abc import Iterator
from urllib.error import HTTPError

import pytest

from tests.hub import LoopbackHub

FILES = {"sub/model.safetensors": b"0123456789", "a.txt": b"text"}


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    with LoopbackHub() as running:
        yield running


def get(hub: LoopbackHub, path: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of one request."""
    request = urllib.request.Request(hub.endpoint + path, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, dict(response.headers), response.read()
    except HTTPError as error:
        return error.code, dict(error.headers), error.read()


def test_a_file_is_served_by_branch_tag_and_commit(hub: LoopbackHub) -> None:
    commit = hub.add("model", "me/it", FILES, revision="v1")
    for revision in ("main", "v1", commit):
        path = f"/me/it/resolve/{revision}/sub/model.safetensors"
        status, headers, body = get(hub, path)
        assert (status, body) == (200, b"0123456789")
        assert (headers["X-Repo-Commit"], headers["Content-Length"]) == (commit, "10")
        assert get(hub, path, "HEAD")[1]["ETag"] == headers["ETag"]
    assert hub.requests[-1] == f"/me/it/resolve/{commit}/sub/model.safetensors"


def test_a_pinned_commit_stays_when_main_moves_on(hub: LoopbackHub) -> None:
    pinned = hub.add("dataset", "me/it", {"a.txt": b"old"}, revision="0" * 40)
    hub.add("dataset", "me/it", {"a.txt": b"new"})
    assert pinned == "0" * 40
    assert get(hub, f"/datasets/me/it/resolve/{pinned}/a.txt")[2] == b"old"
    assert get(hub, "/datasets/me/it/resolve/main/a.txt")[2] == b"new"


@pytest.mark.parametrize(
    ("request_path", "entries"),
    [
        ("main", [("file", "a.txt"), ("directory", "sub")]),
        ("main/sub", [("file", "sub/model.safetensors")]),
        (
            "main?recursive=true",
            [("file", "a.txt"), ("directory", "sub"), ("file", "sub/model.safetensors")],
        ),
    ],
)
def test_a_folder_lists_its_entries(
    hub: LoopbackHub, request_path: str, entries: list[tuple[str, str]]
) -> None:
    hub.add("model", "me/it", FILES)
    listed = json.loads(get(hub, f"/api/models/me/it/tree/{request_path}")[2])
    assert [(entry["type"], entry["path"]) for entry in listed] == entries


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/api/models/me/other", "RepoNotFound"),
        ("/api/datasets/me/it", "RepoNotFound"),
        ("/api/models/me/it/revision/v2", "RevisionNotFound"),
        ("/api/models/me/it/tree/main/no", "EntryNotFound"),
        ("/me/it/resolve/main/b.txt", "EntryNotFound"),
    ],
)
def test_what_is_missing_has_the_error_code_of_the_hub(
    hub: LoopbackHub, path: str, code: str
) -> None:
    hub.add("model", "me/it", FILES)
    status, headers, _ = get(hub, path)
    assert (status, headers["X-Error-Code"]) == (404, code)


def test_a_hub_can_fail_midway_and_recover(hub: LoopbackHub) -> None:
    hub.add("model", "me/it", FILES)
    hub.fail_after(1)
    statuses = [get(hub, "/me/it/resolve/main/a.txt")[0] for _ in range(3)]
    hub.fail_after(math.inf)
    assert [*statuses, get(hub, "/me/it/resolve/main/a.txt")[0]] == [200, 403, 403, 200]
