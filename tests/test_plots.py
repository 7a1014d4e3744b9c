"""Pictures: the numbers they show and their bytes. How they look was looked at."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib import font_manager
from matplotlib import pyplot as plt
from matplotlib.container import ErrorbarContainer

from ettin_retrieval.ledger.entry import Entry
from ettin_retrieval.ledger.store import read_ledger, write_entry
from ettin_retrieval.reports import plots
from ettin_retrieval.reports.measure import Measured

PARTS = ["CQADupstackUnixRetrieval", "CQADupstackTexRetrieval"]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Models tiny and 1b, with one task each; 1b has two parts of CQADupstack besides."""
    for model, task in (("tiny", "TinySciFact"), ("1b", "SciFact")):
        for checkpoint, scores in (("base", [0.0, 0.5, 1.0]), ("finetuned", [1.0, 0.5, 0.75])):
            names = [task, *(PARTS if model == "1b" else [])]
            frame = pd.DataFrame(
                [(name, f"q{i}", s, s) for name in names for i, s in enumerate(scores)],
                columns=["task", "query_id", "ndcg_at_10", "mrr_at_10"],
            )
            mean = sum(scores) / 3
            flat = {f"{task}.ndcg_at_10": mean, f"{task}.mrr_at_10": mean}
            recipe = "guide" if checkpoint == "finetuned" else None
            tasks = {n: {"split": "test"} for n in names}
            entry = Entry(model, checkpoint, 42, recipe=recipe, scores=flat, tasks=tasks)
            write_entry(tmp_path / "results", entry, frame)
    return tmp_path / "results"


def test_two_runs_give_the_same_bytes_whatever_the_user_s_style(
    results: Path, tmp_path: Path
) -> None:
    plots.write_plots(results, tmp_path / "one")
    with matplotlib.rc_context({"font.size": 20, "lines.linewidth": 9, "figure.dpi": 50}):
        plots.write_plots(results, tmp_path / "two")
    names = _files(tmp_path / "one")
    assert names == [
        "heatmaps/embedded.png", "heatmaps/mteb.png", "queries-1b-guide.png",
        "queries-tiny-guide.png", "queries.json", "tasks-1b-guide.png", "tasks-tiny-guide.png",
        "tasks.json",
    ]  # fmt: skip
    for name in names:
        content = (tmp_path / "one" / name).read_bytes()
        assert content == (tmp_path / "two" / name).read_bytes()
        assert b"tEXtSoftware" not in content
    assert plt.get_fignums() == []


def test_the_font_is_the_one_that_comes_with_matplotlib() -> None:
    assert font_manager.findfont("DejaVu Sans").startswith(matplotlib.get_data_path())


def test_differences_are_of_the_same_query_and_sorted(results: Path) -> None:
    base, tuned = read_ledger(results)[:2]
    assert (base.name, tuned.name) == ("1b/base-seed42", "1b/finetuned-guide-seed42")
    differences = plots.query_differences(results, base, tuned)
    assert {task: list(values) for task, values in differences.items()} == {
        "CQADupstackRetrieval": [-25.0, -25.0, 0.0, 0.0, 100.0, 100.0],
        "SciFact": [-25.0, 0.0, 100.0],
    }


def test_bars_are_the_scores(results: Path) -> None:
    figure = plots.draw_tasks("tiny", "finetuned-guide", plots.ndcg_scores(read_ledger(results)))
    widths = [bar.get_width() for bar in figure.axes[0].patches]
    assert widths == pytest.approx([50, 75])
    plt.close(figure)


def test_the_heat_map_marks_what_was_not_measured() -> None:
    scores = {
        ("17m", "base", "A"): Measured(0.1, 1),
        ("1b", "base", "A"): Measured(0.3, 1),
        ("1b", "base", "B"): Measured(0.4, 1),
    }
    figure = plots.draw_heat_map(scores)
    assert [text.get_text() for text in figure.axes[0].texts] == ["10.0", "30.0", "–", "40.0"]
    values = figure.axes[0].images[0].get_array()
    assert values is not None
    assert np.ma.count_masked(values) == 1
    plt.close(figure)


def test_data_for_dvc_has_every_score_and_a_share_of_the_queries(
    results: Path, tmp_path: Path
) -> None:
    plots.write_plots(results, tmp_path / "plots")
    tasks = json.loads((tmp_path / "plots/tasks.json").read_text())
    assert [(r["model"], r["checkpoint"], r["task"], r["ndcg_at_10"]) for r in tasks] == [
        ("tiny", "base", "TinySciFact", 0.5),
        ("tiny", "fine-tuned (guide)", "TinySciFact", 0.75),
        ("1b", "base", "SciFact", 0.5),
        ("1b", "fine-tuned (guide)", "SciFact", 0.75),
    ]
    queries = json.loads((tmp_path / "plots/queries.json").read_text())
    assert len(queries) == 3 * len(plots.SHARES)
    assert {row["difference"] for row in queries} == {-0.25, 0.0, 1.0}


def test_a_ledger_with_one_checkpoint_has_a_heat_map_only(results: Path, tmp_path: Path) -> None:
    for path in results.glob("*/finetuned*"):
        path.unlink()
    plots.write_plots(results, tmp_path / "plots")
    names = [name for name in _files(tmp_path / "plots") if name.endswith(".png")]
    assert names == ["heatmaps/embedded.png", "heatmaps/mteb.png"]


def test_a_panel_of_the_heat_map_has_only_models_of_its_checkpoint() -> None:
    scores = {
        ("1b", "base", "A"): Measured(0.1, 1),
        ("bm25", "base", "A"): Measured(0.2, 1),
        ("1b", "finetuned-paper", "A"): Measured(0.3, 1),
    }
    figure = plots.draw_heat_map(scores)
    panels = [[t.get_text() for t in axes.get_xticklabels()] for axes in figure.axes[:2]]
    assert panels == [["1b", "BM25"], ["1b"]]
    assert [text.get_text() for text in figure.axes[1].texts] == ["30.0"]
    plt.close(figure)


def test_bars_over_several_seeds_say_so_and_show_the_spread() -> None:
    scores = {
        ("1b", "base", "A"): Measured(0.2, 1),
        ("1b", "finetuned-guide", "A"): Measured(0.5, seeds=3, deviation=0.04),
    }
    [axes] = plots.draw_tasks("1b", "finetuned-guide", scores).axes
    legend = axes.get_legend()
    assert legend is not None
    assert [t.get_text() for t in legend.get_texts()] == ["base", "fine-tuned (guide), 3 seeds"]
    assert "standard deviation over seeds" in axes.get_xlabel()
    [spread] = [c for c in axes.containers if isinstance(c, ErrorbarContainer)]
    [line] = spread.lines[2][0].get_paths()
    assert line.vertices[:, 0] == pytest.approx([46, 54])
    plt.close("all")


def test_the_picture_of_queries_names_its_seed(results: Path) -> None:
    tuned = read_ledger(results)[1]
    title = plots.draw_queries(tuned, {"SciFact": np.array([-1.0, 2.0])}).get_suptitle()
    assert title.startswith("Model 1b, recipe guide, seed 42: ")
    plt.close("all")


def _files(directory: Path) -> list[str]:
    found = [path for path in directory.rglob("*") if path.is_file()]
    return sorted(path.relative_to(directory).as_posix() for path in found)
