"""Expected scores: how files are read, and what a verdict is."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from ettin_retrieval.reports.references import (
    UNTRAINED,
    Key,
    Reference,
    judge,
    read_references,
    seed_half_width,
)
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.settings.load import read_as
from ettin_retrieval.tasks import ENG_V2_TASKS, GUIDE_TASKS, split_of
from tests.ledgers import EXPECTED, V1, V2, references
from tests.workspace import ROOT

HEADER = """\
source: somewhere
unit: points
tolerance: 0.5
base_tolerance: 0.1
seeds: null
benchmarks: {}
"""

PAPER = """\
model,mteb_eng_v2_retrieval_ndcg_at_10,msmarco_dev_ndcg_at_10
17m,35.6,31.0
32m,39.7,35.2
68m,43.1,38.2
150m,45.7,40.0
400m,48.4,42.3
1b,50.1,43.4
modernbert-base,43.9,
modernbert-large,47.0,
minilm-l12,38.4,
distilbert,40.8,
bert-mini,34.7,
"""
"""The paper's figures as they were collected; those of MS MARCO are read off a plot: +-0.3."""

GUIDE = """\
checkpoint,model,mteb_avg_ndcg_at_10,msmarco_mrr_at_10,nfcorpus_ndcg_at_10,scifact_ndcg_at_10
base,150m,43.9,18.7,29.2,62.1
base,400m,48.4,22.3,33.8,67.4
base,1b,52.1,25.9,37.5,72.2
finetuned,150m,51.3,33.2,32.1,65.8
finetuned,400m,55.7,36.8,36.9,71.2
finetuned,1b,59.4,40.1,41.2,76.8
"""
"""The guide's tables as they were collected."""


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


def test_the_files_hold_the_figures_that_were_collected() -> None:
    committed = read_references(EXPECTED)
    paper = {(v.model, v.task): (round(v.value * 100, 9), v.read_error) for v in committed.paper}
    of_the_plot = {
        (row["model"], "MSMARCO"): (float(row["msmarco_dev_ndcg_at_10"]), 0.003)
        for row in csv.DictReader(PAPER.splitlines())
        if row["msmarco_dev_ndcg_at_10"]
    }
    of_the_table = {
        (row["model"], V2): (float(row["mteb_eng_v2_retrieval_ndcg_at_10"]), 0.0)
        for row in csv.DictReader(PAPER.splitlines())
    }
    assert paper == of_the_plot | of_the_table
    columns = {V1: "mteb_avg_ndcg_at_10", "MSMARCO": "msmarco_mrr_at_10",
               "NFCorpus": "nfcorpus_ndcg_at_10", "SciFact": "scifact_ndcg_at_10"}  # fmt: skip
    assert {(v.checkpoint, v.model, v.task): round(v.value * 100, 9) for v in committed.guide} == {
        (row["checkpoint"], row["model"], task): float(row[column])
        for row in csv.DictReader(GUIDE.splitlines())
        for task, column in columns.items()
    }


def test_a_tolerance_is_what_can_vary() -> None:
    committed = read_references(EXPECTED)
    every = [*committed.guide, *committed.paper, *committed.published, *committed.recorded]
    untrained = [value for value in every if value.checkpoint != "finetuned"]
    assert {value.checkpoint for value in untrained} == {"base", "published"}
    assert max(value.allowed for value in untrained) == UNTRAINED == 0.001
    guide = {(v.checkpoint, v.task): v.allowed for v in committed.guide}
    assert guide["base", V1] == guide["base", "SciFact"] == 0.001
    assert (guide["finetuned", V1], guide["finetuned", "SciFact"]) == (0.005, 0.01)
    # Half a point for the seed, and the error of reading the plot.
    assert {v.task: v.allowed for v in committed.paper} == {V2: 0.005, "MSMARCO": 0.008}


@pytest.mark.parametrize(
    ("row", "base_tolerance"),
    [
        ("{model: a, checkpoint: base, task: T, split: test, value: 1, tolerance: 0.5}", "0.1"),
        ("{model: a, checkpoint: base, task: T, split: test, value: 1}", "0.5"),
        ("{model: a, checkpoint: published, task: T, split: test, value: 1}", "0.2"),
    ],
)
def test_the_tolerance_of_seeds_is_refused_for_what_has_none(
    tmp_path: Path, row: str, base_tolerance: str
) -> None:
    directory = references(tmp_path / "expected")
    header = HEADER.replace("base_tolerance: 0.1", f"base_tolerance: {base_tolerance}")
    values = row.replace("{", "{metric: ndcg_at_10, ")
    (directory / "guide.yaml").write_text(f"{header}values: [{values}]\n")
    with pytest.raises(
        InputError, match=r"values\.0: .* at most 0\.1 points, as nothing is trained"
    ):
        read_references(directory)


def test_figures_of_unknown_truth_are_marked() -> None:
    committed = read_references(EXPECTED)
    doubtful = {v.key for v in (*committed.guide, *committed.paper) if v.doubtful}
    assert doubtful == {v.key for v in committed.guide if v.checkpoint == "base"}


def test_no_stage_that_makes_scores_reads_an_expected_one() -> None:
    # What is compared with a figure cannot be tuned to it.
    readers = {
        path.relative_to(ROOT / "src" / "ettin_retrieval").parts[0]
        for path in (ROOT / "src").rglob("*.py")
        if re.search(r"reports\.references|reports\.view|expected/", path.read_text())
    }
    assert readers <= {"reports", "interop", "cli.py"}
    stages = re.split(r"\n  (?=\w+:)", (ROOT / "dvc.yaml").read_text())
    reading = [stage.partition(":")[0] for stage in stages if re.search(r"\bexpected\b", stage)]
    assert reading == ["tables"]


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


@pytest.mark.parametrize(
    ("measured", "half_width", "verdict"),
    [
        (0.513, 0.005, "reproduced"),  # the band itself
        (0.515, 0.003, "reproduced"),
        (0.515, 0.0031, "inconclusive"),  # up to 51.81, beyond 51.8
        (0.513, 0.02, "inconclusive"),  # wider than the band
        (0.520, 0.002, "inconclusive"),  # from the edge
        (0.521, 0.002, "above"),
        (0.505, 0.002, "below"),
        (0.505, 0.003, "inconclusive"),
        (None, 0.0, "not run"),
    ],
)
def test_an_interval_is_judged_by_where_it_lies(
    measured: float | None, half_width: float, verdict: str
) -> None:
    assert judge(measured, 0.513, 0.005, half_width) == verdict


def test_the_interval_over_seeds_is_student_s() -> None:
    # Quantiles from a printed table: 12.706, 4.303 and 2.776 for 1, 2 and 4 degrees of freedom.
    for seeds, quantile in ((2, 12.706), (3, 4.303), (5, 2.776)):
        wanted = pytest.approx(quantile * 0.01 / seeds**0.5, rel=1e-3)
        assert seed_half_width(0.01, seeds) == wanted
    assert seed_half_width(0.0, 3) == 0


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
        (HEADER + "values: [\n", ":8: not valid YAML"),
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
