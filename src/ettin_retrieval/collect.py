"""Ledger entries of DVC experiments and branches, brought together in the working tree.

An experiment's commit holds the entries that it measured; nothing else keeps them once the
experiment is removed. Collecting never overwrites: an entry that is there already with the same
numbers is left alone, one with other numbers is a conflict that somebody has to decide.
"""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import pandas as pd

from ettin_retrieval.errors import InputError
from ettin_retrieval.results import Entry, read_entry, read_queries, write_index

WORKING_TREE = "working tree"

KEPT_FOR_DVC = ("refs/exps/exec/", "refs/exps/stash", "refs/exps/celery/")
"""References below refs/exps that are DVC's own bookkeeping and no experiments."""


@dataclass(frozen=True)
class Found:
    """An entry, where it was found, and the bytes of its two files."""

    entry: Entry
    queries: pd.DataFrame
    revision: str
    json_bytes: bytes
    queries_bytes: bytes


@dataclass(frozen=True)
class Conflict:
    """One number that two revisions give differently for the same key.

    Attributes
    ----------
    key
        Name of the entry, such as `150m/finetuned-seed42`.
    metric
        Flat metric, a task (when what was evaluated differs) or a query of one.
    values, revisions
        The two values, in words where they are no numbers, and where each was found.
    """

    key: str
    metric: str
    values: tuple[str, str]
    revisions: tuple[str, str]

    def __str__(self) -> str:
        return (
            f"conflict: {self.key}: {self.metric}: {self.values[0]} ({self.revisions[0]}) "
            f"or {self.values[1]} ({self.revisions[1]})"
        )


@dataclass
class Collected:
    """What collecting did: names written, names that were there already, and conflicts."""

    written: list[str] = field(default_factory=list)
    present: list[str] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)


def collect(repository: Path, revisions: list[str], ledger: str = "results") -> Collected:
    """Copy the entries of git revisions into the working tree's ledger.

    All revisions are read and compared before anything is written. Where two revisions differ
    over a key that the working tree has not, neither is written.

    Parameters
    ----------
    repository
        Root of the working tree.
    revisions
        Names of DVC experiments, branches, tags or commits; none stands for all experiments and
        branches.
    ledger
        Directory of the ledger, relative to the root.

    Raises
    ------
    InputError
        No git repository, an unknown revision, or an entry that is malformed or lacks its
        per-query scores.
    """
    references = revisions or experiments_and_branches(repository)
    found: dict[str, list[Found]] = {}
    for found_entry in _read_revisions(repository, references, ledger):
        found.setdefault(found_entry.entry.name, []).append(found_entry)
    collected = Collected()
    writable = []
    for name, versions in sorted(found.items()):
        here = _in_working_tree(repository / ledger, name)
        kept, *others = ([here] if here else []) + versions
        conflicts = [c for other in others for c in differences(kept, other)]
        collected.conflicts += conflicts
        if here:
            collected.present.append(name)
        elif not conflicts:
            writable.append(kept)
    for kept in writable:
        _write(repository / ledger, kept)
        collected.written.append(kept.entry.name)
    if (repository / ledger).is_dir():
        # Or `dvc repro tables` would find nothing changed.
        write_index(repository / ledger)
    return collected


def differences(left: Found, right: Found) -> list[Conflict]:
    """Every number in which two entries of the same key differ; provenance is no number."""
    told: list[tuple[str, str, str]] = []
    ours, theirs = left.entry.scores, right.entry.scores
    for metric in sorted(ours.keys() | theirs.keys()):
        if ours.get(metric) != theirs.get(metric):
            values = [str(scores.get(metric, "missing")) for scores in (ours, theirs)]
            told.append((metric, values[0], values[1]))
    for task in sorted(left.entry.tasks.keys() | right.entry.tasks.keys()):
        a, b = left.entry.tasks.get(task), right.entry.tasks.get(task)
        if a != b:
            told.append((f"task {task}", str(a), str(b)))
    told += [] if told else _query_differences(left.queries, right.queries)
    return [
        Conflict(left.entry.name, metric, (a, b), (left.revision, right.revision))
        for metric, a, b in told
    ]


def experiments_and_branches(repository: Path) -> list[str]:
    """Full names of all references to experiments and to local and remote branches."""
    listed = _git(
        repository, "for-each-ref", "--format=%(refname)", "refs/exps", "refs/heads", "refs/remotes"
    )
    return [
        name
        for name in listed.decode().split()
        if not name.startswith(KEPT_FOR_DVC) and not name.endswith("/HEAD")
    ]


def _read_revisions(repository: Path, references: list[str], ledger: str) -> list[Found]:
    """Entries of all revisions; two revisions with the same files count once."""
    found: dict[tuple[str, str], Found] = {}
    for reference in references:
        commit = _commit(repository, reference)
        blobs = _blobs(repository, commit, ledger)
        for path, blob in blobs.items():
            queries = PurePosixPath(path).with_suffix(".queries.parquet").as_posix()
            if not path.endswith(".json"):
                continue
            if queries not in blobs:
                raise InputError(f"{_short(reference)}:{path}: {queries} is missing beside it")
            if (blob, blobs[queries]) not in found:
                contents = (_blob(repository, blob), _blob(repository, blobs[queries]))
                found[blob, blobs[queries]] = _parse(path, *contents, revision=_short(reference))
    return list(found.values())


def _parse(path: str, json_bytes: bytes, queries_bytes: bytes, revision: str) -> Found:
    """An entry from the bytes of its files, read as the ledger reads its own."""
    model, name = PurePosixPath(path).parts[-2:]
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / model / name
        file.parent.mkdir()
        file.write_bytes(json_bytes)
        file.with_suffix(".queries.parquet").write_bytes(queries_bytes)
        try:
            entry = read_entry(file)
            queries = read_queries(Path(scratch), entry)
        except InputError as error:
            raise InputError(str(error).replace(str(file), f"{revision}:{path}")) from None
    return Found(entry, queries, revision, json_bytes, queries_bytes)


def _in_working_tree(ledger: Path, name: str) -> Found | None:
    path = ledger / f"{name}.json"
    if not path.is_file():
        return None
    entry = read_entry(path)
    return Found(entry, read_queries(ledger, entry), WORKING_TREE, b"", b"")


def _write(ledger: Path, found: Found) -> None:
    """Write both files; the JSON last, as the one that makes an entry."""
    path = ledger / f"{found.entry.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".queries.parquet").write_bytes(found.queries_bytes)
    path.write_bytes(found.json_bytes)


def _query_differences(left: pd.DataFrame, right: pd.DataFrame) -> list[tuple[str, str, str]]:
    """The first difference of per-query scores: where, and both values."""
    ours, theirs = (frame.set_index(["task", "query_id"]).sort_index() for frame in (left, right))
    if not ours.index.equals(theirs.index):
        task, query = ours.index.symmetric_difference(theirs.index)[0]
        words = ["scored" if (task, query) in f.index else "missing" for f in (ours, theirs)]
        return [(f"query {query} of {task}", words[0], words[1])]
    for metric in ours.columns:
        differ = ours[metric] != theirs[metric]
        if differ.any():
            row = int(differ.to_numpy().argmax())
            task, query = ours.index[row]
            values = [str(f[metric].iloc[row]) for f in (ours, theirs)]
            return [(f"{metric} of query {query} of {task}", values[0], values[1])]
    return []


def _blobs(repository: Path, commit: str, ledger: str) -> dict[str, str]:
    """Path to blob id of the ledger's files in a commit."""
    listed = _git(repository, "ls-tree", "-r", "-z", "--full-tree", commit, f"{ledger}/")
    blobs = {}
    for line in filter(None, listed.decode().split("\0")):
        description, _, path = line.partition("\t")
        depth = len(PurePosixPath(path).relative_to(ledger).parts)
        if depth == 2 and path.endswith((".json", ".queries.parquet")):
            blobs[path] = description.split()[2]
    return blobs


def _blob(repository: Path, blob: str) -> bytes:
    return _git(repository, "cat-file", "blob", blob)


def _commit(repository: Path, reference: str) -> str:
    """The commit that an experiment's name, or any name that git knows, stands for."""
    experiments = [
        name
        for name in experiments_and_branches(repository)
        if name.startswith("refs/exps/") and name.endswith(f"/{reference}")
    ]
    if len(experiments) > 1:
        raise InputError(f"{reference}: several experiments; name one of {', '.join(experiments)}")
    name = experiments[0] if experiments else reference
    try:
        answer = _git(
            repository, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"
        )
    except InputError:
        raise InputError(
            f"{reference}: no experiment, branch, tag or commit; see `dvc exp list` and "
            "`git branch --all`"
        ) from None
    return answer.decode().strip()


def _short(reference: str) -> str:
    """A reference as its user writes it: an experiment's or branch's name.

    >>> _short("refs/exps/ab/cdef01/tidy-newt"), _short("refs/heads/feature/x"), _short("v1")
    ('tidy-newt', 'feature/x', 'v1')
    """
    if reference.startswith("refs/exps/"):
        return reference.rpartition("/")[2]
    return reference.removeprefix("refs/heads/").removeprefix("refs/remotes/")


def _git(repository: Path, *arguments: str) -> bytes:
    done = subprocess.run(["git", *arguments], cwd=repository, capture_output=True, check=False)
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip() or f"exit {done.returncode}"
        raise InputError(f"git {arguments[0]} in {repository}: {reason}")
    return done.stdout
