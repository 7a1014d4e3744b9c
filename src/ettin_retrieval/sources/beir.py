"""A directory in BEIR layout: corpus.jsonl, queries.jsonl, qrels/{train,dev,test}.tsv.

And where a teacher has scored passages, teacher/SPLIT.tsv in the form of the judgments.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ettin_retrieval.errors import InputError
from ettin_retrieval.records import (
    CORPUS,
    QRELS,
    QUERIES,
    TEACHER,
    Origin,
    RetrievalDataset,
    frame,
    sha256_file,
)

HEADER = ("query-id", "corpus-id", "score")


@dataclass(frozen=True)
class _Table:
    """Rows of a file with the line that each came from."""

    path: Path
    rows: list[tuple[Any, ...]]
    lines: list[int]

    def locate(self, row: int) -> str:
        return f"{self.path}:{self.lines[row]}" if row < len(self.lines) else str(self.path)


def is_collection(directory: Path) -> bool:
    """Whether a directory has BEIR's corpus file."""
    return (directory / "corpus.jsonl").is_file()


def collections(directory: Path, key: str) -> list[Path]:
    """The directory, if it is a collection, or those in it; BEIR keeps twelve in `cqadupstack`.

    Parameters
    ----------
    key
        The setting that names the directory, for messages.

    Raises
    ------
    InputError
        There is none.
    """
    if is_collection(directory):
        return [directory]
    inside = [p for p in directory.iterdir() if p.is_dir()] if directory.is_dir() else []
    forums = [p for path in inside if path.name == "cqadupstack" for p in path.iterdir()]
    found = sorted(path for path in [*inside, *forums] if is_collection(path))
    if not found:
        raise InputError(
            f"{key}: {directory}: no corpus.jsonl in it or in a directory in it; name a BEIR "
            "directory"
        )
    return found


def check_files(directory: Path, split: str, key: str) -> None:
    """See that a collection has the files that `load` reads.

    Raises
    ------
    InputError
        One of them is missing.
    """
    for name in ("corpus.jsonl", "queries.jsonl", f"qrels/{split}.tsv"):
        if not (directory / name).is_file():
            raise InputError(f"{key}: {_missing(directory / name, directory)}")


def splits(directory: Path) -> list[str]:
    """Names of the judgment files of a collection."""
    return sorted(path.stem for path in (directory / "qrels").glob("*.tsv"))


def load(directory: Path, split: str) -> RetrievalDataset:
    """One split of a BEIR directory: the whole corpus, and the queries judged in the split.

    Raises
    ------
    InputError
        A missing or malformed file: names the file and line, and what is wrong.
    """
    corpus = _passages(directory / "corpus.jsonl")
    queries = _queries(directory / "queries.jsonl")
    qrels = _qrels(directory / "qrels" / f"{split}.tsv", directory)
    teacher = _teacher(directory / "teacher" / f"{split}.tsv")
    origin = Origin("beir", _revision(directory, split), "unknown", split)
    dataset = RetrievalDataset(
        corpus=frame(corpus.rows, CORPUS),
        queries=frame(queries.rows, QUERIES),
        qrels=frame(qrels.rows, QRELS),
        origin=origin,
        teacher=frame(teacher.rows, TEACHER) if teacher.rows else None,
    ).validate(corpus.locate, queries.locate, qrels.locate, teacher.locate)
    judged = set(dataset.qrels["query_id"])
    return dataset.with_queries([q for q in dataset.queries["id"] if q in judged])


def _passages(path: Path) -> _Table:
    rows, lines = [], []
    for number, record in _json_lines(path):
        where = f"{path}:{number}"
        title = record.get("title") or ""
        rows.append((_text(record, "_id", where), str(title), _text(record, "text", where)))
        lines.append(number)
    return _Table(path, rows, lines)


def _queries(path: Path) -> _Table:
    rows, lines = [], []
    for number, record in _json_lines(path):
        where = f"{path}:{number}"
        rows.append((_text(record, "_id", where), _text(record, "text", where)))
        lines.append(number)
    return _Table(path, rows, lines)


def _qrels(path: Path, directory: Path) -> _Table:
    if not path.is_file():
        raise InputError(_missing(path, directory))
    return _scored_pairs(path, int, "a whole number")


def _missing(path: Path, directory: Path) -> str:
    if not directory.is_dir():
        return f"{directory}: {'a file, and' if directory.exists() else ''} no directory"
    there = ", ".join(splits(directory)) or "none"
    return (
        f"{path}: no such file; a BEIR directory has corpus.jsonl, queries.jsonl and "
        f"qrels/SPLIT.tsv; judgment files here: {there}"
    )


def _teacher(path: Path) -> _Table:
    """The teacher's scores; no rows where there is no such file."""
    return _scored_pairs(path, float, "a number") if path.is_file() else _Table(path, [], [])


def _scored_pairs(path: Path, number_type: Callable[[str], float], wanted: str) -> _Table:
    """Rows of query id, passage id and score; a header line is allowed."""
    rows, lines = [], []
    for number, line in _lines(path):
        cells = line.split("\t")
        if number == 1 and tuple(cells) == HEADER:
            continue
        if len(cells) != 3:
            raise InputError(
                f"{path}:{number}: {len(cells)} cells instead of 3; write query-id, corpus-id "
                "and score with a tab between them"
            )
        try:
            score = number_type(cells[2])
        except ValueError:
            raise InputError(f"{path}:{number}: score {cells[2]!r} is not {wanted}") from None
        rows.append((cells[0], cells[1], score))
        lines.append(number)
    return _Table(path, rows, lines)


def _json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in _lines(path):
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(
                f"{path}:{number}: not valid JSON ({error.msg} at column {error.colno}); each "
                "line is one JSON object"
            ) from None
        if not isinstance(record, dict):
            raise InputError(f"{path}:{number}: not a JSON object; each line is one")
        yield number, record


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines that are not blank, numbered from 1.

    Split on newline alone: passages hold U+2028, U+0085 and others that `splitlines` splits on.
    """
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            for number, line in enumerate(file, start=1):
                stripped = line.rstrip("\r\n")
                if stripped:
                    yield number, stripped
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such file; a BEIR directory has corpus.jsonl, queries.jsonl and "
            "qrels/SPLIT.tsv"
        ) from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 (byte {error.start}); convert the file") from None


def _text(record: dict[str, Any], key: str, where: str) -> str:
    value = record.get(key)
    if isinstance(value, int) and key == "_id":
        value = str(value)
    if not isinstance(value, str):
        raise InputError(f"{where}: no text {key!r}; an object has _id and text (and title)")
    return value


def _revision(directory: Path, split: str) -> str:
    """sha256 over the files' own hashes: the same files anywhere have the same revision."""
    digest = hashlib.sha256()
    names = ["corpus.jsonl", "queries.jsonl", f"qrels/{split}.tsv"]
    teacher = f"teacher/{split}.tsv"
    names += [teacher] if (directory / teacher).is_file() else []
    for name in names:
        digest.update(f"{name}\0{sha256_file(directory / name)}\n".encode())
    return digest.hexdigest()
