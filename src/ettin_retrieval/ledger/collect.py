"""Ledger entries of DVC experiments, brought together in the working tree.

An experiment's commit holds the entries that it measured; nothing else keeps them once the
experiment is removed. Collecting never overwrites: an entry that is there already with the same
numbers is left alone, or filled with the tasks that it lacks; one with other numbers is a
conflict that somebody has to decide.
"""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from ettin_retrieval.ledger.merging import (
    Measurement,
    numeric_differences,
    origin_differences,
    united,
)
from ettin_retrieval.ledger.store import read_entry, read_queries, write_entry, write_index
from ettin_retrieval.runtime.errors import InputError

WORKING_TREE = "working tree"

KEPT_FOR_DVC = ("refs/exps/exec/", "refs/exps/stash", "refs/exps/celery/")
"""References below refs/exps that are DVC's own bookkeeping and no experiments."""


@dataclass(frozen=True)
class Found:
    """A measurement, and where it was found."""

    measurement: Measurement
    revision: str


@dataclass(frozen=True)
class Conflict:
    """One number that two revisions give differently for the same key.

    Attributes
    ----------
    key
        Name of the entry, such as `150m/finetuned-guide-seed42`.
    metric
        Flat metric, a task (when what was evaluated differs), a query of one, or what was scored.
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
        Names of DVC experiments, branches, tags or commits; none stands for all experiments.
    ledger
        Directory of the ledger, relative to the root.

    Raises
    ------
    InputError
        No git repository, an unknown revision, or an entry that is malformed or lacks its
        per-query scores.
    """
    references = revisions or experiments(repository)
    found: dict[str, list[Found]] = {}
    for found_entry in _read_revisions(repository, references, ledger):
        found.setdefault(found_entry.measurement.entry.name, []).append(found_entry)
    collected = Collected()
    writable = []
    for name, versions in sorted(found.items()):
        here = _in_working_tree(repository / ledger, name)
        kept, *others = ([here] if here else []) + versions
        conflicts: list[Conflict] = []
        for other in others:
            differing = conflicts_of(kept, other)
            conflicts += differing
            kept = kept if differing else _together(kept, other)
        collected.conflicts += conflicts
        if kept is here or (here and conflicts):
            collected.present.append(name)
        elif not conflicts:
            writable.append(kept)
    for kept in writable:
        write_entry(repository / ledger, kept.measurement.entry, kept.measurement.queries)
        collected.written.append(kept.measurement.entry.name)
    if (repository / ledger).is_dir():
        # Or `dvc repro tables` would find nothing changed.
        write_index(repository / ledger)
    return collected


def conflicts_of(left: Found, right: Found) -> list[Conflict]:
    """Every number in which two entries of the same key differ over the tasks that both have.

    Where one has further tasks, the two may only be taken together if the same weights were
    scored in the same precision.
    """
    ours, theirs = left.measurement, right.measurement
    told = numeric_differences(ours, theirs)
    if not told and ours.entry.tasks.keys() != theirs.entry.tasks.keys():
        told = origin_differences(ours.entry, theirs.entry)
    return [
        Conflict(ours.entry.name, each.what, each.values, (left.revision, right.revision))
        for each in told
    ]


def experiments(repository: Path) -> list[str]:
    """Full names of all references to DVC experiments."""
    listed = _git(repository, "for-each-ref", "--format=%(refname)", "refs/exps")
    return [name for name in listed.decode().split() if not name.startswith(KEPT_FOR_DVC)]


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
    return Found(Measurement(entry, queries), revision)


def _in_working_tree(ledger: Path, name: str) -> Found | None:
    path = ledger / f"{name}.json"
    if not path.is_file():
        return None
    entry = read_entry(path)
    return Found(Measurement(entry, read_queries(ledger, entry)), WORKING_TREE)


def _together(kept: Found, other: Found) -> Found:
    """Two that agree as one; the first as it is where the other has no further task."""
    ours, theirs = kept.measurement, other.measurement
    if theirs.entry.tasks.keys() <= ours.entry.tasks.keys():
        return kept
    return Found(united(ours, theirs), f"{kept.revision} and {other.revision}")


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
    named = [name for name in experiments(repository) if name.endswith(f"/{reference}")]
    if len(named) > 1:
        raise InputError(f"{reference}: several experiments; name one of {', '.join(named)}")
    name = named[0] if named else reference
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
