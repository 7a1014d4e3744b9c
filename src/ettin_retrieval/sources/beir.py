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
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from ettin_retrieval.data.dataset import QRELS, ROW_GROUP, SCHEMAS, Origin, RetrievalDataset, table
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.runtime.files import sha256_file

LAYOUT = "a BEIR directory has corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv"

HEADER = ["query-id", "corpus-id", "score"]

LABELS = {"score", "relevance", "rel", "label", "judgment", "judgement", "grade", "rating"}
"""What the third cell of a header says."""

# Stricter than `int` and `float`, which also read 1_0, infinity and digits of other scripts.
WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,18}")
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")

LONE_SURROGATE = re.compile("[\ud800-\udfff]")
"""JSON can escape one; UTF-8 and Parquet cannot hold it."""

HALF_A_PAIR = "contains half of a surrogate pair, which is not a character"

Row = tuple[Any, ...]


def collections(directory: Path, key: str) -> list[Path]:
    """The directory itself if it is a collection, otherwise the collections in it.

    BEIR keeps twelve of them one level deeper, in `cqadupstack`. `key` is the setting that names
    the directory, for messages.

    Raises InputError if there are no collections.
    """
    for patterns in (("corpus.jsonl",), ("*/corpus.jsonl", "cqadupstack/*/corpus.jsonl")):
        files = [path for pattern in patterns for path in directory.glob(pattern)]
        if found := sorted(path.parent for path in files if path.is_file()):
            return found
    raise InputError(
        f"{key}: {directory}: no corpus.jsonl in it or in a directory in it; name a BEIR directory"
    )


def splits(directory: Path) -> list[str]:
    """Splits of a collection: the names of its judgment files."""
    return sorted(path.stem for path in (directory / "qrels").glob("*.tsv"))


def files_of(directory: Path, split: str, key: str = "") -> dict[str, Path]:
    """The files of a collection: table to path. `key` is the setting that names the directory.

    Raises InputError if a file is missing.
    """
    files = {
        "corpus": directory / "corpus.jsonl",
        "queries": directory / "queries.jsonl",
        "qrels": directory / "qrels" / f"{split}.tsv",
    }
    where = f"{key}: " if key else ""
    if not directory.is_dir():
        problem = "a file, not a" if directory.exists() else "no such"
        raise InputError(f"{where}{directory}: {problem} directory; {LAYOUT}")
    for path in files.values():
        if not path.is_file():
            problem = "a directory, not a file" if path.is_dir() else "no such file"
            found = ", ".join(splits(directory)) or "none"
            raise InputError(f"{where}{path}: {problem}; {LAYOUT}; judgment files here: {found}")
    teacher = directory / "teacher" / f"{split}.tsv"
    return files | {"teacher": teacher} if teacher.is_file() else files


def load(directory: Path, split: str, *, strict: bool = False) -> RetrievalDataset:
    """One split of a BEIR directory: the whole corpus, and the queries judged in the split.

    With `strict`, a relevant passage must have a text and be in the corpus
    (`RetrievalDataset.validate`).

    Raises
    ------
    InputError
        A file is missing or malformed; the message names file and line.
    """
    files = files_of(directory, split)
    tables, lines = {}, {}
    for name, path in files.items():
        read = _read_json if path.suffix == ".jsonl" else _read_scores
        tables[name], lines[name] = _collect(read(path, SCHEMAS[name]), SCHEMAS[name])
    if not lines.get("teacher"):  # no file, or nothing in it
        tables.pop("teacher", None)

    def locate(name: str, row: int) -> str:
        return f"{files[name]}:{lines[name][row]}" if lines[name] else str(files[name])

    origin = Origin("beir", _revision(files, directory), "unknown", split)
    dataset = RetrievalDataset(**tables, origin=origin).validate(locate, as_published=not strict)
    judged = set(dataset.qrels["query_id"])
    return dataset.with_queries([q for q in dataset.queries["id"] if q in judged])


def _revision(files: dict[str, Path], directory: Path) -> str:
    """sha256 over the files' digests: the same files have the same revision anywhere."""
    digest = hashlib.sha256()
    for path in files.values():
        name = path.relative_to(directory).as_posix()
        digest.update(f"{name}\0{sha256_file(path)}\n".encode())
    return digest.hexdigest()


def _collect(rows: Iterator[tuple[int, Row]], schema: pa.Schema) -> tuple[pd.DataFrame, array[int]]:
    """Numbered rows as a data frame and the line of each.

    Rows go into Arrow block by block: as Python objects they take several times the memory.
    """
    lines, blocks = array("q"), [schema.empty_table()]
    while block := list(islice(rows, ROW_GROUP)):
        lines.extend(line for line, _ in block)
        blocks.append(table([row for _, row in block], schema))
    whole = pa.concat_tables(blocks)
    del blocks  # so that the conversion frees columns as it goes
    return whole.to_pandas(split_blocks=True, self_destruct=True), lines


def _read_json(path: Path, schema: pa.Schema) -> Iterator[tuple[int, Row]]:
    """Rows of a file with one JSON object per line, and the line of each."""
    columns = schema.names
    for line, content in _lines(path):
        where = f"{path}:{line}"
        try:
            record = json.loads(content)
        except (RecursionError, ValueError) as error:  # the latter for a number of 4,301 digits too
            reason = str(error)
            if isinstance(error, json.JSONDecodeError):
                reason = f"{error.msg} at column {error.colno}"
            raise InputError(
                f"{where}: not valid JSON ({reason}); each line is one JSON object"
            ) from None
        if not isinstance(record, dict):
            raise InputError(f"{where}: not a JSON object; each line is one")
        yield line, tuple([_text(record, column, where) for column in columns])


def _text(record: dict[str, Any], column: str, where: str) -> str:
    key = "_id" if column == "id" else column
    value = record.get(key)
    if isinstance(value, str):
        if value.isascii() or not LONE_SURROGATE.search(value):
            return value
        raise InputError(f"{where}: {key!r} {HALF_A_PAIR}")
    if column == "title" and value is None:
        return ""
    if column == "id" and isinstance(value, int) and not isinstance(value, bool):
        return str(value)  # as some collections have them
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise InputError(
            f"{where}: {key!r} is a number ({str(value)[:20]}), not text; write it in quotes"
        )
    kind = f" (it is {_kind(value)})" if key in record else ""
    raise InputError(
        f"{where}: {key!r} is missing or not text{kind}; an object has _id and text (and title)"
    )


def _kind(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return "a list" if isinstance(value, list) else "an object"


def _read_scores(path: Path, schema: pa.Schema) -> Iterator[tuple[int, Row]]:
    """Query id, passage id and score of each row, and its line; a header line is optional."""
    whole = schema is QRELS
    number = WHOLE_NUMBER if whole else NUMBER
    expected = "a whole number of at most 18 digits" if whole else "a number"
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
        if _plain(score) in LABELS:
            raise InputError(f"{path}:{line}: {_header_problem(line, cells)}")
        if not number.fullmatch(score):
            raise InputError(f"{path}:{line}: score {score!r} is not {expected}")
        yield line, (query_id, corpus_id, int(score) if whole else float(score))


def _plain(cell: str) -> str:
    return cell.strip().strip("\"'").strip().lower()


def _header_problem(line: int, cells: list[str]) -> str:
    """Why a header was not skipped."""
    header = " <tab> ".join(HEADER)
    if line > 1:
        return "a header; it must be the first line of the file, or left out"
    if [_plain(cell) for cell in cells] == HEADER:
        return f"a header with quotes, spaces or capitals; write {header}, or none"
    return f"unknown header; write {header}, or none"


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
