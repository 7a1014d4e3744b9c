"""One repository of the hub: its commits, and how the API describes them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, Literal

Kind = Literal["model", "dataset"]


class HubError(Exception):
    """A request that the Hub answers with status 404: its X-Error-Code and X-Error-Message."""


class Repository:
    """A model or a dataset; each commit holds all of its files."""

    def __init__(self, kind: Kind, repo_id: str) -> None:
        self.kind = kind
        self.id = repo_id
        self._commits: dict[str, dict[str, bytes]] = {}
        self._names: dict[str, str] = {}

    def add(self, files: Mapping[str, bytes], revision: str | None) -> str:
        """Add a commit, which `main`, the commit itself and `revision` name from now on.

        The commit is a digest of the files, unless `revision` is a commit, as mteb's are.
        """
        digests = {path: digest(files[path]) for path in sorted(files)}
        commit = digest(json.dumps([self.kind, self.id, digests]).encode())
        if revision is not None and re.fullmatch(r"[0-9a-f]{40}", revision):
            commit = revision
        self._commits[commit] = dict(sorted(files.items()))
        self._names |= {"main": commit, commit: commit, revision or "main": commit}
        return commit

    def commit(self, revision: str) -> str:
        """The commit that a branch, a tag or a commit names."""
        if revision not in self._names:
            raise HubError("RevisionNotFound", f"Invalid rev id: {revision}")
        return self._names[revision]

    def file(self, commit: str, path: str) -> bytes:
        """The content of a file."""
        if path not in self._commits[commit]:
            raise HubError("EntryNotFound", "Entry not found")
        return self._commits[commit][path]

    def info(self, commit: str) -> dict[str, Any]:
        """The answer of /api/models/ID/revision/REV: the keys that the clients need."""
        siblings = [{"rfilename": path} for path in self._commits[commit]]
        counts = {"downloads": 0, "likes": 0, "tags": [], "private": False}
        return {"id": self.id, "sha": commit, "siblings": siblings, **counts}

    def tree(self, commit: str, folder: str, *, recursive: bool) -> list[dict[str, Any]]:
        """The answer of /api/models/ID/tree/REV/FOLDER: the files and folders in a folder."""
        entries: dict[PurePosixPath, dict[str, Any]] = {}
        for name, data in self._commits[commit].items():
            path = PurePosixPath(name)
            entries |= {p: {"type": "directory", "oid": commit, "size": 0} for p in path.parents}
            entries[path] = {"type": "file", "oid": digest(data), "size": len(data)}
        top = PurePosixPath(folder)
        if top not in entries:
            raise HubError("EntryNotFound", f'"{folder}" does not exist on "{commit}"')
        return [
            entries[path] | {"path": str(path)}
            for path in sorted(entries)
            if top in (path.parents if recursive else path.parents[:1])
        ]


def digest(data: bytes) -> str:
    """The id that Git gives to a file of these bytes."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
