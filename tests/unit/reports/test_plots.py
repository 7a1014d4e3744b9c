"""Pictures: the numbers they show and their bytes. How they look was checked by eye."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib import font_manager
from matplotlib import pyplot as plt
from matplotlib.container import ErrorbarContainer
from matplotlib.patches import Rectangle

from ettin_retrieval.reports import plots
from ettin_retrieval.reports.measured import Measured
from ettin_retrieval.reports.view import View
from tests.ledgers import EXPECTED, write

SCORES = {"base": [0.0, 0.5, 1.0], "finetuned": [1.0, 0.5, 0.75]}
PARTS = ("CQADupstackUnixRetrieval", "CQADupstackTexRetrieval")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Models tiny and 1b, with one task each; 1b has two parts of CQADupstack too."""
    for model, tasks in (("tiny", ["TinySciFact"]), ("1b", ["SciFact", *PARTS])):
        for checkpoint, scores in SCORES.items():
            write(tmp_path / "results", model, checkpoint, dict.fromkeys(tasks, scores))
    return tmp_path / "results"


@pytest.fixture
def view(results: Path) -> View:
    return View.read(results, EXPECTED)


@pytest.fixture(autouse=True)
def close_figures() -> Iterator[None]:
    yield
    plt.close("all")


def files(directory: Path) -> list[str]:
    found = [path for path in directory.rglob("*") if path.is_file()]
    return sorted(path.relative_to(directory).as_posix() for path in found)


def test_two_runs_give_the_same_bytes_whatever_the_user_s_style(
    results: Path, tmp_path: Path
) -> None:
    assert plots.write_plots(results, EXPECTED, tmp_path / "one") == 8
    with matplotlib.rc_context({"font.size": 20, "lines.linewidth": 9, "figure.dpi": 50}):
        plots.write_plots(results, EXPECTED, tmp_path / "two")
    names = files(tmp_path / "one")
    assert names == [
        "heatmaps/mteb.png", "heatmaps/tiny.png", "queries-1b-guide.png",
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


def test_differences_are_of_the_same_query_and_sorted(view: View) -> None:
    [_, (base, tuned)] = view.pairs()
    assert (base.name, tuned.name) == ("1b/base-seed42", "1b/finetuned-guide-seed42")
    differences = plots.query_differences(view.queries(base), view.queries(tuned))
    assert {task: list(values) for task, values in differences.items()} == {
        "CQADupstackRetrieval": [-25.0, -25.0, 0.0, 0.0, 100.0, 100.0],
        "SciFact": [-25.0, 0.0, 100.0],
    }


def test_a_score_of_each_recipe_is_the_mean_over_its_seeds(tmp_path: Path) -> None:
    for recipe, seed, score in (("guide", 1, 0.6), ("guide", 2, 0.8), ("paper", 1, 0.5)):
        write(tmp_path, "1b", "finetuned", {"NQ": score}, recipe=recipe, seed=seed)
    found = plots.ndcg_scores(View.read(tmp_path, EXPECTED))
    assert {key: (score.seeds, score.value) for key, score in found.items()} == {
        ("1b", "finetuned-guide", "NQ"): (2, pytest.approx(0.7)),
        ("1b", "finetuned-paper", "NQ"): (1, 0.5),
    }
    assert plots.ndcg_scores(View.read(tmp_path / "nowhere", EXPECTED)) == {}


def test_bars_are_the_scores(view: View) -> None:
    figure = plots.draw_tasks("tiny", "finetuned-guide", plots.ndcg_scores(view))
    bars = [bar for bar in figure.axes[0].patches if isinstance(bar, Rectangle)]
    widths = [bar.get_width() for bar in bars]
    assert widths == pytest.approx([50, 75])


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
    assert np.ma.masked_invalid(values).mask.sum() == 1


def test_a_panel_of_the_heat_map_has_only_models_with_its_checkpoint() -> None:
    scores = {
        ("1b", "base", "A"): Measured(0.1, 1),
        ("bm25", "base", "A"): Measured(0.2, 1),
        ("1b", "finetuned-paper", "A"): Measured(0.3, 1),
    }
    figure = plots.draw_heat_map(scores)
    panels = [[t.get_text() for t in axes.get_xticklabels()] for axes in figure.axes[:2]]
    assert panels == [["1b", "BM25"], ["1b"]]
    assert [text.get_text() for text in figure.axes[1].texts] == ["30.0"]


def test_data_for_dvc_has_every_score_and_a_sample_of_the_queries(
    results: Path, tmp_path: Path
) -> None:
    plots.write_plots(results, EXPECTED, tmp_path / "plots")
    tasks = json.loads((tmp_path / "plots/tasks.json").read_text())
    rows = [(r["model"], r["checkpoint"], r["task"], r["ndcg_at_10"]) for r in tasks]
    assert rows[:2] == [
        ("tiny", "base", "TinySciFact", 0.5), ("tiny", "fine-tuned (guide)", "TinySciFact", 0.75),
    ]  # fmt: skip
    assert rows[2:] == [
        ("1b", checkpoint, task, score)
        for checkpoint, score in (("base", 0.5), ("fine-tuned (guide)", 0.75))
        for task in sorted([*PARTS, "SciFact"])
    ]
    queries = json.loads((tmp_path / "plots/queries.json").read_text())
    assert len(queries) == 3 * len(plots.SHARES)
    assert {row["difference"] for row in queries} == {-0.25, 0.0, 1.0}
    assert list(dict.fromkeys(row["model"] for row in queries)) == [
        "tiny, recipe guide, seed 42", "1b, recipe guide, seed 42",
    ]  # fmt: skip


def test_a_metric_that_was_not_stored_is_null(results: Path) -> None:
    path = results / "tiny/base-seed42.json"
    path.write_text(path.read_text().replace("TinySciFact.mrr_at_10", "TinySciFact.map_at_100"))
    row = plots.task_rows(View.read(results, EXPECTED))[0]
    assert (row["ndcg_at_10"], row["mrr_at_10"]) == (0.5, None)


def test_one_checkpoint_alone_has_only_a_heat_map(results: Path, tmp_path: Path) -> None:
    for path in results.glob("*/finetuned*"):
        path.unlink()
    # And of two checkpoints without a common task there is nothing to compare.
    write(results, "17m", "base", {"NQ": 0.5})
    write(results, "17m", "finetuned", {"FEVER": 0.5})
    plots.write_plots(results, EXPECTED, tmp_path / "plots")
    names = [name for name in files(tmp_path / "plots") if name.endswith(".png")]
    assert names == ["heatmaps/mteb.png", "heatmaps/tiny.png"]


def test_queries_are_those_of_the_first_seed(results: Path, tmp_path: Path) -> None:
    for checkpoint, score in (("base", 0.25), ("finetuned", 0.375)):
        write(results, "tiny", checkpoint, {"TinySciFact": score}, seed=7)
    plots.write_plots(results, EXPECTED, tmp_path / "plots")
    rows = json.loads((tmp_path / "plots/queries.json").read_text())
    tiny = [row for row in rows if row["model"].startswith("tiny")]
    assert {row["model"] for row in tiny} == {"tiny, recipe guide, seed 7"}
    assert {row["difference"] for row in tiny} == {0.125}


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
    assert np.asarray(line.vertices)[:, 0] == pytest.approx([46, 54])


def test_the_picture_of_queries_names_its_seed(view: View) -> None:
    [_, (_, tuned)] = view.pairs()
    title = plots.draw_queries(tuned, {"SciFact": np.array([-1.0, 2.0])}).get_suptitle()
    assert title.startswith("Model 1b, recipe guide, seed 42: ")
