"""Calibration against published figures."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML

from ettin_retrieval.cli import main
from ettin_retrieval.interop import BM25_MODEL
from ettin_retrieval.interop.calibration import (
    Figures,
    Verdict,
    cases_for,
    read_figures,
    reference_name,
)
from ettin_retrieval.runtime.errors import InputError
from tests.collections import minilm

ROOT = Path(__file__).resolve().parents[3]
MINILM = "sentence-transformers/all-MiniLM-L6-v2"


@pytest.fixture(scope="module")
def figures() -> Figures:
    return read_figures(ROOT / "expected" / "calibration.yaml")


def write_figures(path: Path, values: dict[str, float]) -> Path:
    """Write a file of published figures: model to its nDCG@10 on SciFact."""
    common = {
        "task": "SciFact", "split": "test", "metric": "ndcg_at_10", "tolerance": 0.0001,
        "dataset_revision": "r1", "source": "worked out by hand", "stemmer": None,
        "measured_again": None,
    }  # fmt: skip
    content = {
        "models": {model: {"prompts": {}} for model in values},
        "cases": [{"model": m, "value": value, **common} for m, value in values.items()],
    }
    path.write_text(json.dumps(content))
    return path


def test_the_recorded_figures(figures: Figures) -> None:
    minilm = cases_for(figures, MINILM, "SciFact", "2.2.0.3")
    assert [(c.metric, c.value, c.tolerance) for c in minilm] == [
        ("ndcg_at_10", 0.64508, 0.0005),
        ("mrr_at_10", 0.6047248677, 0.0005),
    ]
    [second] = cases_for(figures, BM25_MODEL, "SciFact", "2.2.0.3")
    [third] = cases_for(figures, BM25_MODEL, "SciFact", "3.1.0")
    assert (second.value, third.value) == (0.68736, 0.68630)
    assert second.tolerance + third.tolerance < second.value - third.value
    with pytest.raises(
        InputError, match=r"PyStemmer 9; there are figures with 2\.2\.0\.3, 3\.1\.0"
    ):
        cases_for(figures, BM25_MODEL, "SciFact", "9")
    with pytest.raises(InputError, match="on Quora; there are figures on SciFact"):
        cases_for(figures, BM25_MODEL, "Quora", "2.2.0.3")


def test_the_installed_stemmer_is_the_one_of_the_published_figure(figures: Figures) -> None:
    [case] = cases_for(figures, BM25_MODEL, "SciFact", version("PyStemmer"))
    assert case.value == 0.68736


def test_every_figure_has_a_source_and_a_data_revision(figures: Figures) -> None:
    assert len(figures.cases) >= 16
    for case in figures.cases:
        assert case.source and len(case.dataset_revision) == 40
        assert 0 < case.tolerance <= 0.002


def test_figures_agree_with_those_of_published_yaml(figures: Figures) -> None:
    """Two files state some of the same figures for two purposes."""
    path = ROOT / "expected" / "published.yaml"
    content = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    published = {(v["model"], v["task"], v["metric"]): v["value"] for v in content["values"]}
    common = [c for c in figures.cases if (c.model, c.task, c.metric) in published]
    assert len(common) >= 15
    for case in common:
        if case.stemmer != "3.1.0":  # measured here, not published
            assert case.value == pytest.approx(published[case.model, case.task, case.metric])


@pytest.mark.parametrize(
    ("measured", "reproduces"),
    [(0.64508, True), (0.64558, True), (0.64458, True), (0.6456, False), (0.6445, False),
     (None, False)],
)  # fmt: skip
def test_the_tolerance_is_two_sided_and_a_missing_metric_fails(
    figures: Figures, measured: float | None, reproduces: bool
) -> None:
    [ndcg, _] = cases_for(figures, MINILM, "SciFact", "2.2.0.3")
    assert Verdict(ndcg, measured).reproduces is reproduces


def test_a_directory_needs_a_published_name(figures: Figures, tmp_path: Path) -> None:
    assert reference_name(str(tmp_path), MINILM, figures) == MINILM
    assert reference_name(MINILM, None, figures) == MINILM
    assert reference_name("bm25", None, figures) == BM25_MODEL
    with pytest.raises(InputError, match="name the published model that it holds with --as"):
        reference_name(str(tmp_path), None, figures)
    with pytest.raises(InputError, match="neither a directory nor a model with figures"):
        reference_name("models/nowhere", None, figures)


def test_an_unknown_key_is_refused(tmp_path: Path) -> None:
    path = write_figures(tmp_path / "figures.yaml", {BM25_MODEL: 0.5})
    path.write_text(path.read_text().replace('"source"', '"sauce"', 1))
    with pytest.raises(InputError, match=r"figures\.yaml: cases\.0\.sauce: unknown key"):
        read_figures(path)


def test_bm25_by_hand_from_the_command_line(
    beir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ranks 1 and 2: nDCG (1 + 1/log2(3)) / 2."""
    value = float((1 + 1 / np.log2(3)) / 2)
    path = write_figures(tmp_path / "figures.yaml", {BM25_MODEL: round(value, 5)})
    command = ["calibrate", "--model", "bm25", "--task", "SciFact", "--beir", str(beir)]
    command += ["--expected", str(path)]
    assert main(command) == 0
    output = capsys.readouterr().out
    assert "2 queries over 3 passages" in output
    assert "ndcg_at_10     0.81546    0.81546    +0.00000     0.0001  reproduces" in output
    assert "source: worked out by hand" in output and "revision r1" in output

    write_figures(path, {BM25_MODEL: 0.9})
    assert main(command) == 1
    assert "-0.08454     0.0001  DOES NOT REPRODUCE" in capsys.readouterr().out

    path.write_text(path.read_text().replace("ndcg_at_10", "unknown"))
    assert main(command) == 1
    assert "-     0.0001  DOES NOT REPRODUCE" in capsys.readouterr().out


def test_an_encoder_in_a_directory_from_the_command_line(
    beir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """MiniLM ranks as BM25 does."""
    path = write_figures(tmp_path / "figures.yaml", {MINILM: 0.81546, BM25_MODEL: 0.5})
    command = ["calibrate", "--model", minilm(), "--task", "SciFact", "--beir", str(beir)]
    command += ["--expected", str(path)]
    assert main(command) == 1
    assert "name the published model" in capsys.readouterr().err
    assert main([*command, "--as", MINILM]) == 0
    output = capsys.readouterr().out
    assert output.startswith(f"{MINILM} on SciFact (test): 2 queries over 3 passages")
