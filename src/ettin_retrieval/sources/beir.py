"""A directory in BEIR layout: corpus.jsonl, queries.jsonl, qrels/{train,dev,test}.tsv.

And where a teacher has scored passages, teacher/SPLIT.tsv in the form of the judgments.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import re
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from ettin_retrieval.data.dataset import (
    CORPUS,
    QRELS,
    QUERIES,
    ROW_GROUP,
    TEACHER,
    Origin,
    RetrievalDataset,
    table,
)
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.runtime.files import sha256_file

HEADER = ("query-id", "corpus-id", "score")

# What `int` and `float` read besides is no score: 1_0, infinity, digits of other scripts.
WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,18}")

NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")

LONE_SURROGATE = re.compile("[\ud800-\udfff]")
"""JSON can write one, UTF-8 and Parquet cannot."""


class _Table:
    """Rows of a file with the line that each came from.

    Rows go into Arrow block by block: as Python's objects they take several times the space.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path = path
        self.schema = schema
        self.lines = array("q")
        self._block: list[tuple[Any, ...]] = []
        self._blocks: list[pa.Table] = []

    def add(self, line: int, row: tuple[Any, ...]) -> None:
        """Append a row."""
        self.lines.append(line)
        self._block.append(row)
        if len(self._block) == ROW_GROUP:
            self._close_block()

    def frame(self) -> pd.DataFrame:
        """All rows, with the columns of the schema; they are no longer here then."""
        self._close_block()
        found = pa.concat_tables(self._blocks)
        self._blocks.clear()
        # Each column is given up as it is converted.
        made: pd.DataFrame = found.to_pandas(split_blocks=True, self_destruct=True)
        return made

    def locate(self, row: int) -> str:
        """Path and line of a row; the path alone where there is no such row."""
        return f"{self.path}:{self.lines[row]}" if row < len(self.lines) else str(self.path)

    def _close_block(self) -> None:
        self._blocks.append(table(self._block, self.schema))
        self._block = []


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
        corpus=corpus.frame(),
        queries=queries.frame(),
        qrels=qrels.frame(),
        origin=origin,
        teacher=teacher.frame() if teacher.lines else None,
    ).validate(corpus.locate, queries.locate, qrels.locate, teacher.locate)
    judged = set(dataset.qrels["query_id"])
    return dataset.with_queries([q for q in dataset.queries["id"] if q in judged])


def _passages(path: Path) -> _Table:
    return _json_table(
        path,
        CORPUS,
        lambda record, where: (
            _id(record, where),
            _text(record, "title", where, ""),
            _text(record, "text", where),
        ),
    )


def _queries(path: Path) -> _Table:
    return _json_table(
        path, QUERIES, lambda record, where: (_id(record, where), _text(record, "text", where))
    )


def _qrels(path: Path, directory: Path) -> _Table:
    if not path.is_file():
        raise InputError(_missing(path, directory))
    return _scored_pairs(path, QRELS, WHOLE_NUMBER, "a whole number of at most 18 digits")


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
    if not path.is_file():
        return _Table(path, TEACHER)
    return _scored_pairs(path, TEACHER, NUMBER, "a number")


def _scored_pairs(path: Path, schema: pa.Schema, number: re.Pattern[str], wanted: str) -> _Table:
    """Rows of query id, passage id and score; a header line is allowed."""
    of_score: Callable[[str], float] = int if schema is QRELS else float
    read = _Table(path, schema)
    for line, content in _lines(path):
        cells = content.split("\t")
        if line == 1 and tuple(cells) == HEADER:
            continue
        if len(cells) != 3:
            raise InputError(
                f"{path}:{line}: {len(cells)} cells instead of 3; write query-id, corpus-id "
                "and score with a tab between them"
            )
        if line == 1 and cells[2].strip().lower() == "score":
            raise InputError(f"{path}:1: unknown header; write {' <tab> '.join(HEADER)}, or none")
        if not number.fullmatch(cells[2]):
            raise InputError(f"{path}:{line}: score {cells[2]!r} is not {wanted}")
        read.add(line, (cells[0], cells[1], of_score(cells[2])))
    return read


def _json_table(
    path: Path, schema: pa.Schema, row: Callable[[dict[str, Any], str], tuple[str, ...]]
) -> _Table:
    """A row of each line, which is a JSON object."""
    read = _Table(path, schema)
    for line, content in _lines(path):
        where = f"{path}:{line}"
        try:
            record = json.loads(content)
        except json.JSONDecodeError as error:
            raise InputError(
                f"{where}: not valid JSON ({error.msg} at column {error.colno}); each line is one "
                "JSON object"
            ) from None
        except (RecursionError, ValueError) as error:  # ValueError: a number of 4,301 digits
            raise InputError(f"{where}: not JSON that can be read ({error})") from None
        if not isinstance(record, dict):
            raise InputError(f"{where}: not a JSON object; each line is one")
        read.add(line, row(record, where))
    return read


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines that are not blank, numbered from 1; a byte order mark is no part of the first.

    Split on newline alone: passages hold U+2028, U+0085 and others that `splitlines` splits on.
    """
    if not path.is_file():
        kind = "a directory, and no file" if path.is_dir() else "no such file"
        raise InputError(
            f"{path}: {kind}; a BEIR directory has corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv"
        )
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            content = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
            try:
                text = content.decode("utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{path}:{number}: not UTF-8 (byte {error.start + 1} of the line); convert "
                    "the file"
                ) from None
            if text:
                yield number, text


def _id(record: dict[str, Any], where: str) -> str:
    """The `_id`, which some collections have as a number."""
    value = record.get("_id")
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return _text(record, "_id", where)


def _text(record: dict[str, Any], key: str, where: str, without: str | None = None) -> str:
    """The text under a key; `without`, where there is one, stands for a missing one and null."""
    value = record.get(key)
    if value is None:
        value = without
    if not isinstance(value, str):
        raise InputError(f"{where}: no text {key!r}; an object has _id and text (and title)")
    if not value.isascii() and LONE_SURROGATE.search(value):
        raise InputError(f"{where}: {key!r} holds half of a surrogate pair, which is no character")
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
