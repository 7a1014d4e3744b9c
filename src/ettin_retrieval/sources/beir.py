"""BEIR directories: corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv (train, dev or test).

Scores of a teacher, for distillation, are in teacher/SPLIT.tsv, in the format of the judgments.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import re
from array import array
from collections.abc import Iterator
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

LAYOUT = "a BEIR directory has corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv"

HEADER = ["query-id", "corpus-id", "score"]

# Stricter than `int` and `float`, which also read 1_0, infinity and digits of other scripts.
WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,18}")
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")

LONE_SURROGATE = re.compile("[\ud800-\udfff]")
"""JSON can escape one; UTF-8 and Parquet cannot hold it."""


def collections(directory: Path, key: str) -> list[Path]:
    """The directory itself if it is a collection, otherwise the collections in it.

    BEIR keeps twelve of them one level deeper, in `cqadupstack`.

    Parameters
    ----------
    key
        The setting that names the directory, for messages.

    Raises
    ------
    InputError
        There are no collections.
    """
    for patterns in (("corpus.jsonl",), ("*/corpus.jsonl", "cqadupstack/*/corpus.jsonl")):
        files = [path for pattern in patterns for path in directory.glob(pattern)]
        found = sorted(path.parent for path in files if path.is_file())
        if found:
            return found
    raise InputError(
        f"{key}: {directory}: no corpus.jsonl in it or in a directory in it; name a BEIR directory"
    )


def splits(directory: Path) -> list[str]:
    """Splits of a collection: the names of its judgment files."""
    return sorted(path.stem for path in (directory / "qrels").glob("*.tsv"))


def check_files(directory: Path, split: str, key: str | None = None) -> None:
    """Check that a collection has the files that `load` reads.

    Parameters
    ----------
    key
        The setting that names the directory, for messages.

    Raises
    ------
    InputError
        A file is missing.
    """
    for path in _files(directory, split):
        if not path.is_file():
            message = _missing(path, directory)
            raise InputError(f"{key}: {message}" if key else message)


def load(directory: Path, split: str) -> RetrievalDataset:
    """One split of a BEIR directory: the whole corpus, and the queries judged in the split.

    Raises
    ------
    InputError
        A file is missing or malformed; the message names file and line.
    """
    check_files(directory, split)
    files = _files(directory, split)
    corpus = _read_json(files[0], CORPUS)
    queries = _read_json(files[1], QUERIES)
    qrels = _read_scores(files[2], QRELS)
    teacher = _Rows(directory / "teacher" / f"{split}.tsv", TEACHER)
    if teacher.path.is_file():
        files.append(teacher.path)
        teacher = _read_scores(teacher.path, TEACHER)
    dataset = RetrievalDataset(
        corpus=corpus.frame(),
        queries=queries.frame(),
        qrels=qrels.frame(),
        origin=Origin("beir", _revision(files, directory), "unknown", split),
        teacher=teacher.frame() if teacher.lines else None,
    ).validate(corpus.locate, queries.locate, qrels.locate, teacher.locate)
    judged = set(dataset.qrels["query_id"])
    return dataset.with_queries([q for q in dataset.queries["id"] if q in judged])


def _files(directory: Path, split: str) -> list[Path]:
    names = ("corpus.jsonl", "queries.jsonl", f"qrels/{split}.tsv")
    return [directory / name for name in names]


def _missing(path: Path, directory: Path) -> str:
    if not directory.is_dir():
        return f"{directory}: {'a file, not a' if directory.exists() else 'no such'} directory"
    if path.is_dir():
        return f"{path}: a directory, not a file; {LAYOUT}"
    found = ", ".join(splits(directory)) or "none"
    return f"{path}: no such file; {LAYOUT}; judgment files here: {found}"


def _revision(files: list[Path], directory: Path) -> str:
    """sha256 over the files' digests: the same files have the same revision anywhere."""
    digest = hashlib.sha256()
    for path in files:
        name = path.relative_to(directory).as_posix()
        digest.update(f"{name}\0{sha256_file(path)}\n".encode())
    return digest.hexdigest()


class _Rows:
    """Rows of a file and the line of each.

    Rows go into Arrow block by block: as Python objects they take several times the memory.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path = path
        self.schema = schema
        self.lines = array("q")
        self._block: list[tuple[Any, ...]] = []
        self._tables: list[pa.Table] = []

    def add(self, line: int, row: tuple[Any, ...]) -> None:
        self.lines.append(line)
        self._block.append(row)
        if len(self._block) == ROW_GROUP:
            self._close_block()

    def frame(self) -> pd.DataFrame:
        """The rows as a data frame; call it once, because it frees them as it converts."""
        self._close_block()
        whole = pa.concat_tables(self._tables)
        self._tables.clear()
        rows: pd.DataFrame = whole.to_pandas(split_blocks=True, self_destruct=True)
        return rows

    def locate(self, row: int) -> str:
        """Path and line of a row; the path alone if there is no such row."""
        return f"{self.path}:{self.lines[row]}" if row < len(self.lines) else str(self.path)

    def _close_block(self) -> None:
        self._tables.append(table(self._block, self.schema))
        self._block = []


def _read_json(path: Path, schema: pa.Schema) -> _Rows:
    """Rows of a file with one JSON object per line."""
    rows, columns = _Rows(path, schema), schema.names
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
            raise InputError(f"{where}: cannot be read as JSON ({error})") from None
        if not isinstance(record, dict):
            raise InputError(f"{where}: not a JSON object; each line is one")
        rows.add(line, tuple([_text(record, column, where) for column in columns]))
    return rows


def _text(record: dict[str, Any], column: str, where: str) -> str:
    key = "_id" if column == "id" else column
    value = record.get(key)
    if isinstance(value, str):
        if value.isascii() or not LONE_SURROGATE.search(value):
            return value
        raise InputError(
            f"{where}: {key!r} contains half of a surrogate pair, which is not a character"
        )
    if column == "title" and value is None:
        return ""
    if column == "id" and isinstance(value, int) and not isinstance(value, bool):
        return str(value)  # as some collections have them
    raise InputError(
        f"{where}: {key!r} is missing or not text; an object has _id and text (and title)"
    )


def _read_scores(path: Path, schema: pa.Schema) -> _Rows:
    """Rows of query id, passage id and score; a header line is optional."""
    whole = schema is QRELS
    number, expected = (
        (WHOLE_NUMBER, "a whole number of at most 18 digits") if whole else (NUMBER, "a number")
    )
    rows = _Rows(path, schema)
    for line, content in _lines(path):
        cells = content.split("\t")
        if line == 1 and cells == HEADER:
            continue
        if len(cells) != 3:
            raise InputError(
                f"{path}:{line}: {len(cells)} cells instead of 3; write query-id, corpus-id "
                "and score with a tab between them"
            )
        query_id, corpus_id, score = cells
        if line == 1 and score.strip().lower() == "score":
            raise InputError(f"{path}:1: unknown header; write {' <tab> '.join(HEADER)}, or none")
        if not number.fullmatch(score):
            raise InputError(f"{path}:{line}: score {score!r} is not {expected}")
        rows.add(line, (query_id, corpus_id, int(score) if whole else float(score)))
    return rows


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines that are not blank, numbered from 1, without a byte order mark.

    Split on newline only: passages contain U+2028, U+0085 and others that `splitlines` splits on.
    """
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
