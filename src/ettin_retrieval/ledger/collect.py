"""Ledger entries of DVC experiments, brought together in the working tree.

An experiment's commit holds the entries it measured, and nothing else keeps them once the
experiment is removed. Collecting never overwrites numbers: an entry with the same numbers stays
or gains the tasks it lacks, and one with other numbers is a conflict for you to decide.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ettin_retrieval.ledger.entry import Measurement
from ettin_retrieval.ledger.merging import numeric_differences, origin_differences, united
from ettin_retrieval.ledger.migrate import migrate
from ettin_retrieval.ledger.store import (
    entry_files,
    read_measurement,
    write_index,
    write_measurement,
)
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.runtime.files import sha256_file

INTERNAL = ("refs/exps/exec/", "refs/exps/stash", "refs/exps/celery/")
"""References below refs/exps that are DVC's own bookkeeping."""


class Found(NamedTuple):
    """A measurement, and the revision that holds it."""

    measurement: Measurement
    revision: str


class Conflict(NamedTuple):
    """A value that differs between two revisions of an entry."""

    key: str  # name of the entry, such as `150m/finetuned-guide-seed42`
    metric: str  # a metric, a task whose data differs, a query, `lengths`, `weights`, `precision`
    values: tuple[str, str]
    revisions: tuple[str, str]

    def __str__(self) -> str:
        return (
            f"conflict: {self.key}: {self.metric}: {self.values[0]} ({self.revisions[0]}) "
            f"or {self.values[1]} ({self.revisions[1]})"
        )


@dataclass
class Collected:
    """Names of entries that were written or already present, and conflicts."""

    written: list[str] = field(default_factory=list)
    present: list[str] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)


def collect(repository: Path, revisions: list[str], ledger: str = "results") -> Collected:
    """Copy the entries of git revisions into the working tree's ledger.

    All revisions are read and compared before anything is written. If two revisions conflict
    over an entry that the working tree lacks, neither is written.

    Parameters
    ----------
    repository
        Root of the working tree.
    revisions
        Names of DVC experiments, branches, tags or commits; empty for all experiments.
    ledger
        Directory of the ledger, relative to the root.

    Raises
    ------
    InputError
        Not a git repository, an unknown revision, or a malformed entry.
    """
    directory = repository / ledger
    versions: dict[str, list[Found]] = defaultdict(list)
    for found in _read_revisions(repository, revisions or experiments(repository), ledger):
        versions[found.measurement.entry.name].append(found)
    collected, writable = Collected(), []
    for name, elsewhere in sorted(versions.items()):
        here = []
        if (directory / f"{name}.json").is_file():
            here = [Found(read_measurement(directory, name), "working tree")]
        merged, conflicts = _merged(here + elsewhere)
        collected.conflicts += conflicts
        if here and (conflicts or merged is here[0]):
            collected.present.append(name)
        elif not conflicts:
            writable.append(merged.measurement)
    for measurement in writable:
        write_measurement(directory, measurement)
        collected.written.append(measurement.entry.name)
    if directory.is_dir():
        write_index(directory)  # or `dvc repro tables` would see no change
    return collected


def _merged(versions: list[Found]) -> tuple[Found, list[Conflict]]:
    """The versions of an entry as one, and every value on which two of them differ.

    Of the same tasks the lengths and the numbers have to agree; where one has further tasks, both
    must also be of the same weights and precision.
    """
    kept, *others = versions
    conflicts = []
    for other in others:
        ours, theirs = kept.measurement, other.measurement
        our_tasks, their_tasks = ours.entry.tasks.keys(), theirs.entry.tasks.keys()
        origins = origin_differences(ours.entry, theirs.entry)
        differing = [d for d in origins if d.what == "lengths"] or numeric_differences(ours, theirs)
        if not differing and our_tasks != their_tasks:
            differing = origins
        revisions = (kept.revision, other.revision)
        conflicts += [Conflict(ours.entry.name, d.what, d.values, revisions) for d in differing]
        if not differing and their_tasks - our_tasks:
            kept = Found(united(ours, theirs), " and ".join(revisions))
    return kept, conflicts


def experiments(repository: Path) -> list[str]:
    """Full names of the references to DVC experiments."""
    listed = _git(repository, "for-each-ref", "--format=%(refname)", "refs/exps")
    return [name for name in listed.split() if not name.startswith(INTERNAL)]


def _read_revisions(repository: Path, revisions: list[str], ledger: str) -> Iterator[Found]:
    """The entries of all revisions; files that several have in common are read once."""
    seen = set()
    for revision in revisions:
        commit, name = _commit(repository, revision), _short(revision)
        with tempfile.TemporaryDirectory() as scratch:
            copy = Path(scratch) / ledger
            if _git(repository, "ls-tree", commit, ledger):
                archive = Path(scratch) / "ledger.zip"
                _git(repository, "archive", f"--output={archive}", commit, f"{ledger}/")
                shutil.unpack_archive(archive, scratch)  # not a tar: Python 3.11.3 has no filter
            try:
                migrate(copy)
                for path in entry_files(copy):
                    files = (path, path.with_suffix(".queries.parquet"))
                    digest = tuple(sha256_file(file) for file in files if file.is_file())
                    if digest not in seen:
                        yield Found(read_measurement(copy, f"{path.parent.name}/{path.stem}"), name)
                    seen.add(digest)
            except InputError as error:
                raise InputError(str(error).replace(f"{scratch}/", f"{name}:")) from None


def _commit(repository: Path, revision: str) -> str:
    """The commit that the name of an experiment, or any name git knows, stands for."""
    named = [ref for ref in experiments(repository) if ref.endswith(f"/{revision}")]
    if len(named) > 1:
        raise InputError(f"{revision}: several experiments; name one of {', '.join(named)}")
    commit = f"{named[0] if named else revision}^{{commit}}"
    try:
        answer = _git(repository, "rev-parse", "--verify", "--quiet", "--end-of-options", commit)
    except InputError:
        raise InputError(
            f"{revision}: no experiment, branch, tag or commit; see `dvc exp list` and "
            "`git branch --all`"
        ) from None
    return answer.strip()


def _short(reference: str) -> str:
    """A reference as its user writes it: the name of an experiment or branch.

    >>> _short("refs/exps/ab/cdef01/tidy-newt"), _short("refs/heads/feature/x"), _short("v1")
    ('tidy-newt', 'feature/x', 'v1')
    """
    if reference.startswith("refs/exps/"):
        return reference.rpartition("/")[2]
    return reference.removeprefix("refs/heads/").removeprefix("refs/remotes/")


def _git(repository: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=repository, capture_output=True, text=True, check=False
    )
    if done.returncode:
        reason = done.stderr.strip() or f"exit {done.returncode}"
        raise InputError(f"git {arguments[0]} in {repository}: {reason}")
    return done.stdout
