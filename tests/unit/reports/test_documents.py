"""Tables as text: what each format makes of special characters, alignment and numbers."""

from __future__ import annotations

import csv
import json
import re

import pytest

from ettin_retrieval.reports.documents import (
    FORMATS,
    Document,
    Table,
    escaped,
    latex,
    markdown,
)
from ettin_retrieval.reports.tables.write import render
from tests.ledgers import tiny_ledger

NAMES = ("guide", "tiny", "tasks", "significance", "published")

DOCUMENT = Document(
    name="n",
    title="T",
    tables=(Table("c", ("A", "B"), (("x|y", "[1, 2]"),)),),
    records=({"a": 0.1 + 0.2, "b": None}, {"a": True, "b": "x,y"}),
    fields=("a", "b"),
    notes=("50% of `x_y`",),
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return render(*tiny_ledger(tmp_path_factory.mktemp("ledger")))


def test_markdown_keeps_a_bar_inside_its_cell() -> None:
    assert markdown(DOCUMENT) == (
        "# T\n\n## c\n\n| A | B |\n| :-- | --: |\n| x\\|y | [1, 2] |\n\n## Notes\n\n"
        f"- 50% of `x_y`\n\n<!-- {DOCUMENT.signature} -->\n"
    )


def test_a_document_without_tables_says_so() -> None:
    empty = Document("n", "T", (), (), ())
    assert "The ledger holds nothing for this table yet." in markdown(empty)
    assert latex(empty).startswith("% Made from")


def test_latex_escapes_each_special_character() -> None:
    assert escaped(r"a_b % & # $ { } ~ ^ \ `x_y`") == (
        r"a\_b \% \& \# \$ \{ \} \textasciitilde{} \textasciicircum{} \textbackslash{} x\_y"
    )
    assert escaped("-3.2 below, all-MiniLM-L6-v2") == "$-$3.2 below, all-MiniLM-L6-v2"


def test_a_cell_after_a_row_break_is_not_taken_for_its_argument() -> None:
    assert r"x|y & {[1, 2]} \\" in latex(DOCUMENT)
    assert r"\item 50\% of x\_y" in latex(DOCUMENT)


def test_json_and_csv_hold_the_same_numbers_at_full_precision(files: dict[str, str]) -> None:
    own = {f"n.{suffix}": FORMATS[suffix](DOCUMENT) for suffix in ("csv", "json")}
    assert own["n.csv"] == 'a,b\n0.30000000000000004,\nTrue,"x,y"\n'
    for name, texts in ({"n": own} | dict.fromkeys(NAMES, files)).items():
        rows = json.loads(texts[f"{name}.json"])["rows"]
        lines = list(csv.DictReader(texts[f"{name}.csv"].splitlines()))
        assert len(rows) == len(lines) > 0
        for row, line in zip(rows, lines, strict=True):
            assert {k: "" if v is None else str(v) for k, v in row.items()} == line


@pytest.mark.parametrize("name", NAMES)
def test_latex_has_no_command_that_the_text_did_not_mean(files: dict[str, str], name: str) -> None:
    lines = files[f"{name}.tex"].splitlines()
    assert lines[0].startswith("% Made from")
    body = "\n".join(line for line in lines[1:] if not line.startswith(r"\resizebox"))
    # Less the brace that the line with \resizebox opens.
    opened = len(re.findall(r"(?<!\\){", body)) + body.count(r"\begin{table}")
    assert opened == len(re.findall(r"(?<!\\)}", body))
    for environment in re.findall(r"\\begin\{(\w+)\}", body):
        assert body.count(f"\\begin{{{environment}}}") == body.count(f"\\end{{{environment}}}")
    assert not re.search(r"(?<!\\)[_#%<>±^~]", body)
    for tabular in re.findall(r"\\begin\{tabular\}(.*?)\\end\{tabular\}", body, re.S):
        columns = re.match(r"\{([lr]+)\}", tabular)
        assert columns
        rows = [line for line in tabular.splitlines() if line.endswith(r"\\")]
        assert {len(re.split(r"(?<!\\)&", row)) for row in rows} == {len(columns[1])}


def test_every_latex_table_has_a_label_of_its_own(files: dict[str, str]) -> None:
    labels = [
        label
        for name, text in files.items()
        if name.endswith(".tex")
        for label in re.findall(r"\\caption\{.*\}\n\\label\{(tab:[a-z0-9:-]+)\}", text)
    ]
    assert len(labels) == len(set(labels))
    assert len(labels) == sum(text.count(r"\begin{table}") for text in files.values())
    assert "tab:tasks:model-tiny-recipe-guide-1-seed" in labels
