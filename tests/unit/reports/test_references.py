"""Expected scores: how files are read, and what a verdict is."""

from __future__ import annotations

from pathlib import Path

import pytest

from ettin_retrieval.reports.references import (
    Key,
    Reference,
    judge,
    read_references,
)
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.settings.load import read_as
from ettin_retrieval.tasks import ENG_V2_TASKS, GUIDE_TASKS, split_of
from tests.ledgers import EXPECTED, V1, V2, references

HEADER = """\
source: somewhere
unit: points
tolerance: 0.5
seeds: null
benchmarks: {}
"""


def test_the_committed_files_are_the_references() -> None:
    committed = read_references(EXPECTED)
    keys = {v.key[:2] + v.key[3:6]: v.value for v in committed.guide}
    assert len(committed.guide) == 24
    assert keys["1b", "finetuned", "MSMARCO", "dev", "mrr_at_10"] == pytest.approx(0.401)
    assert keys["150m", "base", V1, None, "ndcg_at_10"] == pytest.approx(0.439)
    paper = {(v.model, v.task): v.value for v in committed.paper}
    assert paper["1b", V2] == pytest.approx(0.501)
    published = {(v.model, v.task): v.value for v in committed.published}
    assert published["mteb/baseline-bm25s", V1] == 0.3984
    trained = [v.key for v in (*committed.guide, *committed.paper) if v.checkpoint != "base"]
    assert {key.recipe for key in trained} == {"guide", "paper"}


def test_the_guide_s_benchmark_is_the_one_that_is_evaluated() -> None:
    benchmarks = read_references(EXPECTED).benchmarks
    assert benchmarks[V1] == {task: split_of(task) for task in GUIDE_TASKS}
    assert benchmarks[V2] == {task: split_of(task) for task in ENG_V2_TASKS}
    assert not {"MSMARCO", "NFCorpus", "SciFact"} & set(benchmarks[V2])


@pytest.mark.parametrize(
    ("measured", "verdict"),
    [
        (0.507999, "below"),
        (0.508, "reproduced"),  # 51.3 - 0.5
        (0.513, "reproduced"),
        (0.518, "reproduced"),  # 51.3 + 0.5, which in binary is more than 0.005 away
        (0.518001, "above"),
        (None, "not run"),
    ],
)
def test_verdicts_are_two_sided_and_their_bounds_are_reproduced(
    measured: float | None, verdict: str
) -> None:
    assert judge(measured, 0.513, 0.005) == verdict


def test_a_key_is_named_in_words() -> None:
    average = Key("150m", "base", None, V1, None, "ndcg_at_10")
    task = Key("tiny", "finetuned", "guide", "TinySciFact", "test", "mrr_at_10", 42)
    assert [str(key) for key in (average, task)] == [
        "150m base MTEB(eng, v1) ndcg_at_10",
        "tiny finetuned-guide seed 42 TinySciFact (test) mrr_at_10",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEADER + "values: []\ntolerence: 1\n", "tolerence: unknown key"),
        (HEADER.replace("seeds: null\n", "") + "values: []\n", "seeds: missing"),
        (HEADER.replace("points", "percent") + "values: []\n", "unit: 'percent' is not allowed"),
        (HEADER + "values:\n  - {model: a, checkpoint: base, task: T, metric: f1, value: 1}\n",
         "values.0.metric: 'f1' is not allowed"),
        (HEADER + "values: [\n", ":7: not valid YAML"),
        ("", "file.yaml: "),
        (None, "no such file"),
    ],
)  # fmt: skip
def test_a_malformed_file_is_reported_in_one_line(
    tmp_path: Path, text: str | None, message: str
) -> None:
    path = tmp_path / "file.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError) as error:
        read_as(Reference, path)
    assert message in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("{task: T, split: test, value: 1}, {task: T, split: test, value: 2}", "is given twice"),
        ("{task: T, split: test, value: 101}", r"101.* is above the maximum \(points\)"),
        ("{task: T, value: 1}", "a task needs a split"),
        ("{task: T, split: test, value: 1, checkpoint: finetuned}", "name the recipe"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(
    tmp_path: Path, values: str, message: str
) -> None:
    directory = references(tmp_path / "expected")
    rows = values.replace("{", "{model: a, metric: ndcg_at_10, ")
    if "checkpoint" not in values:
        rows = rows.replace("{", "{checkpoint: base, ")
    (directory / "guide.yaml").write_text(HEADER + f"values: [{rows}]\n")
    with pytest.raises(InputError, match=message) as error:
        read_references(directory)
    assert str(error.value).startswith(f"{directory / 'guide.yaml'}: values.")


def test_two_files_must_list_the_same_tasks_for_a_benchmark(tmp_path: Path) -> None:
    directory = references(tmp_path / "expected")
    text = HEADER.replace("{}", "{'MTEB(eng, v1)': {NQ: test}}") + "values: []\n"
    (directory / "recorded.yaml").write_text(text)
    with pytest.raises(InputError, match=r"recorded\.yaml: benchmarks\..*different tasks"):
        read_references(directory)
