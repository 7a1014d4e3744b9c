"""The HTTP server: what huggingface_hub and datasets request to read a repository."""

from __future__ import annotations

import json
import math
import os
import re
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from tests.hub.repository import HubError, Kind, Repository, digest

API = re.compile(r"/api/(model|dataset)s/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+)/?(.*))?")
FILE = re.compile(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)")

ELSEWHERE = re.compile(
    r"(HF|HUGGING_?FACE|TRANSFORMERS|SENTENCE_TRANSFORMERS|MTEB)_.*|.*_proxy", re.IGNORECASE
)
"""Environment variables that lead a client to another hub or cache."""


class LoopbackHub:
    """A hub to enter as a context manager; repositories may be added while it serves.

    Attributes
    ----------
    endpoint
        Its address, for HF_ENDPOINT.
    requests
        Paths requested so far.
    answers
        How many of them get an answer.
    """

    def __init__(self) -> None:
        self.requests: list[str] = []
        self._repositories: dict[tuple[str, str], Repository] = {}
        self.answers = math.inf
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), daemon=True
        )
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def add(
        self, kind: Kind, repo_id: str, files: Mapping[str, bytes], revision: str | None = None
    ) -> str:
        """Add a commit to a repository, new or known, and return its 40 hexadecimal digits.

        `main` moves to it; earlier commits stay.
        """
        key = (kind, repo_id)
        return self._repositories.setdefault(key, Repository(*key)).add(files, revision)

    def repository(self, kind: str, repo_id: str) -> Repository:
        """A repository that was added."""
        if (kind, repo_id) not in self._repositories:
            raise HubError("RepoNotFound", "Repository not found")
        return self._repositories[kind, repo_id]

    def fail_after(self, answers: float) -> None:
        """Give so many further answers, then 403 as a firewall does, until called with infinity.

        The clients retry after a 500, for 25 s.
        """
        self.answers = len(self.requests) + answers

    def env(self, cache: Path) -> dict[str, str]:
        """Environment with the hub as HF_ENDPOINT and every cache below a directory."""
        quiet = ("TELEMETRY", "IMPLICIT_TOKEN", "UPDATE_CHECK", "PROGRESS_BARS")
        return {k: v for k, v in os.environ.items() if not ELSEWHERE.fullmatch(k)} | {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(cache),
            "MTEB_CACHE": str(cache / "mteb"),
            "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
            "HF_UPDATE_DOWNLOAD_COUNTS": "0",  # datasets counts at another address
            **{f"HF_HUB_DISABLE_{name}": "1" for name in quiet},
        }


class _Handler(BaseHTTPRequestHandler):
    hub: LoopbackHub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing: the hub lists the requests."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.hub.requests.append(self.path)
        if len(self.hub.requests) > self.hub.answers:
            self._send(403, b"", {})
            return
        try:
            self._answer()
        except HubError as error:
            code, message = error.args
            self._send(404, b"", {"X-Error-Code": code, "X-Error-Message": message})

    def _answer(self) -> None:
        url = urlsplit(self.path)
        if match := API.fullmatch(unquote(url.path)):
            kind, repo_id, action, revision, folder = match.groups()
            repository = self.hub.repository(kind, repo_id)
            commit = repository.commit(revision or "main")
            answer: Any = repository.info(commit)
            if action == "tree":
                answer = repository.tree(commit, folder, recursive="recursive=true" in url.query)
            self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})
        elif match := FILE.fullmatch(unquote(url.path)):
            prefix, repo_id, revision, name = match.groups()
            repository = self.hub.repository("dataset" if prefix else "model", repo_id)
            commit = repository.commit(revision)
            data = repository.file(commit, name)
            self._send(200, data, {"X-Repo-Commit": commit, "ETag": f'"{digest(data)}"'})
        else:
            raise HubError("RepoNotFound", "Repository not found")

    def _send(self, status: int, data: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
