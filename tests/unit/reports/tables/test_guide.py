"""The guide's tables: their cells by hand, and their notes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from ettin_retrieval.reports.references import read_references
from ettin_retrieval.reports.tables.guide import guide_notes
from ettin_retrieval.reports.tables.write import render
from ettin_retrieval.reports.verdicts import by_chance
from ettin_retrieval.tasks import GUIDE_TASKS
from tests.ledgers import EXPECTED, V1, write
from tests.unit.reports.tables.cells import csv_rows, guide_rows

MODELS = ("150m", "400m", "1b")


def write_guide_entry(
    results: Path, model: str, checkpoint: str, recipe: str = "guide", **changed: float
) -> None:
    """Write what the guide says of a checkpoint, as if it had been measured."""
    guide = {
        value.task: value.value
        for value in read_references(EXPECTED).guide
        if (value.model, value.checkpoint) == (model, checkpoint)
    }
    named = [value for task, value in guide.items() if task != V1]
    # Of the other tasks, so that the average is the guide's.
    others = (15 * guide[V1] - sum(named)) / (15 - len(named))
    scores = {task: guide.get(task, others) for task in GUIDE_TASKS} | changed
    write(results, model, checkpoint, scores, recipe=recipe)


def rendered(results: Path) -> dict[str, str]:
    return render(results, EXPECTED)


def test_with_the_guide_s_values_the_tables_are_the_guide_s(tmp_path: Path) -> None:
    for checkpoint in ("base", "finetuned"):
        for model in MODELS:
            write_guide_entry(tmp_path, model, checkpoint)
    rows = guide_rows(rendered(tmp_path)["guide.md"])
    assert rows["150m", "measured", 0] == ["43.9", "18.7", "29.2", "62.1"]
    after = {model: rows[model, "measured", 1][:4] for model in MODELS}
    assert after == {  # as the guide prints them
        "150m": ["51.3 (+7.4)", "33.2 (+14.5)", "32.1 (+2.9)", "65.8 (+3.7)"],
        "400m": ["55.7 (+7.3)", "36.8 (+14.5)", "36.9 (+3.1)", "71.2 (+3.8)"],
        "1b": ["59.4 (+7.3)", "40.1 (+14.2)", "41.2 (+3.7)", "76.8 (+4.6)"],
    }
    for model, cells in after.items():
        assert rows[model, "expected", 1][:4] == cells
        assert (
            rows[model, "verdict", 1][:4]
            == ["+0.0 reproduced; improvement reproduced (1 seed)"] * 4
        )


def test_a_verdict_is_shown_with_its_difference(tmp_path: Path) -> None:
    write_guide_entry(tmp_path, "1b", "base", SciFact=0.112, NFCorpus=0.377)
    files = rendered(tmp_path)
    # The guide's 37.5 and 72.2, each within 0.1 points.
    assert guide_rows(files["guide.md"])["1b", "verdict", 0][2:] == ["+0.2 above", "-61.0 below"]
    found = [row for row in csv_rows(files["guide.csv"]) if row["measured"] == "0.112"]
    assert [(row["expected"], row["verdict"]) for row in found] == [("0.722", "below")]


def test_a_partial_average_is_shown_as_not_run(tmp_path: Path) -> None:
    write(tmp_path, "1b", "base", dict.fromkeys(("MSMARCO", "NFCorpus", "SciFact"), 0.5))
    rows = guide_rows(rendered(tmp_path)["guide.md"])
    assert rows["1b", "measured", 0] == ["not run (3 of 15 tasks)", "50.0", "50.0", "50.0"]
    assert rows["1b", "verdict", 0][0] == "not run"
    assert rows["150m", "measured", 0] == ["not run"] * 4


def test_the_average_of_the_paper_is_not_compared_with_that_of_the_guide(tmp_path: Path) -> None:
    write_guide_entry(tmp_path, "150m", "finetuned", recipe="paper")
    rows = guide_rows(rendered(tmp_path)["guide.md"])
    assert rows["150m", "expected", 1][4] == "45.7"
    assert rows["150m", "measured", 1][4] == "not run (4 of 10 tasks)"
    assert rows["150m", "verdict", 1][4] == "not run"


def test_models_are_in_order_of_size(tmp_path: Path) -> None:
    for model in ("other", "1b", "17m"):
        write(tmp_path, model, "base", {"SciFact": 0.5})
    first = rendered(tmp_path)["guide.md"].split("## Post")[0]
    models = re.findall(r"^\| (\w+) \| measured", first, re.M)
    assert models == ["17m", "150m", "400m", "1b", "other"]


def test_each_recipe_is_judged_by_its_own_columns(tmp_path: Path) -> None:
    write(tmp_path, "1b", "base", {"MSMARCO": 0.25})
    write(tmp_path, "1b", "finetuned", {"MSMARCO": 0.375}, recipe="guide")
    write(tmp_path, "1b", "finetuned", {"MSMARCO": 0.5}, recipe="paper")
    files = rendered(tmp_path)
    row = guide_rows(files["guide.md"])["1b", "measured", 1]
    assert (row[1], row[5]) == ("37.5 (+12.5)", "50.0 (+25.0)")
    found = {(r["recipe"], r["metric"]): r for r in csv_rows(files["guide.csv"]) if r["measured"]}
    assert found["guide", "mrr_at_10"]["measured"] == "0.375"
    assert found["paper", "ndcg_at_10"]["measured"] == "0.5"
    assert "Guide" in found["guide", "mrr_at_10"]["source"]
    assert "Ettin paper" in found["paper", "ndcg_at_10"]["source"]


def test_several_seeds_are_shown_with_their_number_and_deviation(tmp_path: Path) -> None:
    for seed, score in ((1, 0.4), (2, 0.5)):
        write(tmp_path, "1b", "base", {"MSMARCO": 0.25}, seed=seed)
        write(tmp_path, "1b", "finetuned", {"MSMARCO": score}, seed=seed)
    write(tmp_path, "1b", "finetuned", {"NFCorpus": 0.5}, seed=3)
    row = guide_rows(rendered(tmp_path)["guide.md"])["1b", "measured", 1]
    assert row[1:3] == ["45.0 ± 7.1 (+20.0), 2 of 3 seeds", "50.0, 1 of 3 seeds"]


def test_bm25_is_in_both_tables_without_an_improvement(tmp_path: Path) -> None:
    scores: dict[str, Any] = dict.fromkeys(GUIDE_TASKS, 0.4) | {"MSMARCO": 0.1}
    write(tmp_path, "bm25", "base", scores, seed=0)
    rows = guide_rows(rendered(tmp_path)["guide.md"])
    for table in (0, 1):
        assert rows["bm25", "measured", table][:4] == ["38.0", "10.0", "40.0", "40.0"]


def test_an_empty_ledger_gives_tables_of_not_run(tmp_path: Path) -> None:
    rows = guide_rows(rendered(tmp_path)["guide.md"])
    assert rows["1b", "measured", 1] == ["not run"] * 6


def test_the_notes_check_the_guide_s_arithmetic(tmp_path: Path) -> None:
    committed = read_references(EXPECTED)
    notes = "\n".join(guide_notes(committed, by_chance([], committed)))
    assert "All 12 improvements that the guide prints equal the difference" in notes
    assert "150m before fine-tuning, 43.9, is what the paper reports for modernbert-base" in notes
    assert "400m before fine-tuning, 48.4, is what the paper reports for 400m after" in notes
    assert "150m 51.3 and 45.7" in notes
    assert "BM25's published scores, and the guide's figures before fine-tuning that are" in notes
    for path in EXPECTED.glob("*.yaml"):
        text = path.read_text().replace("improvement: 2.9", "improvement: 3.9")
        (tmp_path / path.name).write_text(text)
    changed = read_references(tmp_path)
    notes = "\n".join(guide_notes(changed, by_chance([], changed)))
    assert "150m NFCorpus: printed +3.9, tables give +2.9" in notes


@pytest.mark.parametrize("name", ["md", "tex"])
def test_the_notes_are_under_the_tables(tmp_path: Path, name: str) -> None:
    assert (
        "After fine-tuning, guide and paper: 150m 51.3 and 45.7"
        in rendered(tmp_path)[f"guide.{name}"]
    )


def of_seeds(results: Path, *scores: float, recipe: str = "guide", **rates: Any) -> None:
    """Write 150m on MSMARCO: a base score of 18.7, and one seed for each fine-tuned score."""
    for seed, score in enumerate(scores, 1):
        write(results, "150m", "base", {"MSMARCO": 0.187}, seed=seed)
        write(results, "150m", "finetuned", {"MSMARCO": score}, seed=seed, recipe=recipe, **rates)


def cells(results: Path, column: int) -> tuple[list[str], dict[str, str]]:
    """Measured, expected and verdict of 150m in a column after fine-tuning, and its record."""
    files = rendered(results)
    rows = guide_rows(files["guide.md"])
    after = [r for r in csv_rows(files["guide.csv"]) if r["checkpoint"] == "finetuned"]
    record = [row for row in after if row["model"] == "150m"][column]
    return [rows["150m", kind, 1][column] for kind in ("measured", "expected", "verdict")], record


@pytest.mark.parametrize(
    ("base", "tuned", "verdict"),
    [
        (0.100, 0.510, "-0.3 reproduced; improvement above (1 seed)"),
        (0.439, 0.510, "-0.3 reproduced; improvement reproduced (1 seed)"),
        # Both at the edges of their bands: 6.8, which is 0.6 below 7.4.
        (0.440, 0.508, "-0.5 reproduced; improvement reproduced (1 seed)"),
        (0.442, 0.508, "-0.5 reproduced; improvement below (1 seed)"),
        (0.300, 0.374, "-13.9 below; improvement reproduced (1 seed)"),
    ],
)
def test_the_improvement_has_a_verdict_of_its_own(
    tmp_path: Path, base: float, tuned: float, verdict: str
) -> None:
    for checkpoint, score in (("base", base), ("finetuned", tuned)):
        write(tmp_path, "150m", checkpoint, dict.fromkeys(GUIDE_TASKS, score))
    (measured, expected, found), record = cells(tmp_path, 0)
    assert expected == "51.3 (+7.4)"
    assert measured.startswith(f"{tuned * 100:.1f} (+")
    assert found == verdict
    words = verdict.replace(";", "").split()
    assert (record["verdict"], record["improvement_verdict"]) == (words[1], words[3])
    assert (record["tolerance"], record["improvement_tolerance"]) == ("0.005", "0.006")


def test_an_improvement_without_a_like_base_is_not_judged(tmp_path: Path) -> None:
    write(tmp_path, "150m", "finetuned", {"MSMARCO": 0.332})
    assert cells(tmp_path, 1)[0][2] == "+0.0 reproduced; improvement not judged (1 seed)"
    write(tmp_path, "150m", "base", {"MSMARCO": 0.187}, lengths=(512, 512))
    found, record = cells(tmp_path, 1)
    assert found[2] == "+0.0 reproduced; improvement not judged (1 seed)"
    assert record["improvement_verdict"] == ""


@pytest.mark.parametrize(
    ("scores", "verdict"),
    [
        # 33.2 +- 0.5; with three seeds the interval is the mean +- 2.48 standard deviations.
        ((0.331, 0.332, 0.333), "+0.0 reproduced [33.0, 33.4]"),
        ((0.327, 0.332, 0.337), "+0.0 inconclusive [32.0, 34.4]"),
        ((0.335, 0.336, 0.337), "+0.4 inconclusive [33.4, 33.8]"),
        ((0.339, 0.340, 0.341), "+0.8 above [33.8, 34.2]"),
        ((0.319, 0.320, 0.321), "-1.2 below [31.8, 32.2]"),
        # Two seeds: +- 8.98 standard deviations.
        ((0.331, 0.333), "+0.0 inconclusive [31.9, 34.5]"),
    ],
)
def test_several_seeds_are_judged_by_their_interval(
    tmp_path: Path, scores: tuple[float, ...], verdict: str
) -> None:
    of_seeds(tmp_path, *scores)
    found, record = cells(tmp_path, 1)
    assert found[2].split(";")[0] == verdict
    assert "1 seed" not in found[2]
    low, high = (float(record[f"interval_{end}"]) * 100 for end in ("low", "high"))
    assert f"[{low:.1f}, {high:.1f}]" in verdict
    assert (float(record["band_low"]), float(record["band_high"])) == (0.327, 0.337)


def test_a_base_checkpoint_of_several_seeds_is_one_checkpoint(tmp_path: Path) -> None:
    for seed, score in ((1, 0.1869), (2, 0.1878)):
        write(tmp_path, "150m", "base", {"MSMARCO": score}, seed=seed)
    rows = guide_rows(rendered(tmp_path)["guide.md"])
    assert rows["150m", "verdict", 0][1] == "+0.0 reproduced"


def test_a_figure_off_a_plot_is_printed_with_its_error_and_widens_the_band(
    tmp_path: Path,
) -> None:
    of_seeds(tmp_path, 0.4079, recipe="paper", learning_rate={"value": 3e-4, "tuned": True})
    found, record = cells(tmp_path, 5)
    assert found[1:] == ["40.0, read ±0.3", "+0.8 reproduced (1 seed)"]
    assert (record["tolerance"], record["read_error"]) == ("0.005", "0.003")
    assert (float(record["band_low"]), float(record["band_high"])) == (0.392, 0.408)


@pytest.mark.parametrize(
    ("recipe", "rate", "mark", "tuned"),
    [
        ("paper", {"value": 8e-5, "tuned": False}, ", rate not tuned", "False"),
        ("paper", {"value": 3e-4, "tuned": True}, "", "True"),
        ("paper", None, ", tuning not recorded", ""),
        ("guide", {"value": 2e-5, "tuned": False}, "", "False"),
        ("guide", None, "", ""),
        ("guide", {"value": 8e-5, "tuned": True}, ", rate 8e-05, not 2e-05", "True"),
    ],
)
def test_a_verdict_says_if_its_rate_is_not_what_the_reference_asks_for(
    tmp_path: Path, recipe: str, rate: dict[str, Any] | None, mark: str, tuned: str
) -> None:
    of_seeds(tmp_path, 0.3, recipe=recipe, **({"learning_rate": rate} if rate else {}))
    found, record = cells(tmp_path, 1 if recipe == "guide" else 5)
    assert found[2].endswith(f" (1 seed{mark})")
    assert record["tuned"] == tuned
    assert record["learning_rate"] == (str(rate["value"]) if rate else "")


def test_doubtful_figures_are_judged_marked_and_explained(tmp_path: Path) -> None:
    write_guide_entry(tmp_path, "150m", "base", MSMARCO=0.05)
    files = rendered(tmp_path)
    rows = guide_rows(files["guide.md"])
    assert rows["150m", "expected", 0][:2] == ["43.9, doubtful", "18.7, doubtful"]
    assert rows["150m", "verdict", 0][1] == "-13.7 below"
    assert "- doubtful (150m base, 400m base, 1b base): an encoder before any" in files["guide.md"]


def test_the_note_on_chance_is_computed_from_the_cells(tmp_path: Path) -> None:
    assert "By chance" not in rendered(tmp_path)["guide.md"]
    of_seeds(tmp_path, 0.332)
    # MRR@10 of MSMARCO: 17.48 (BM25) to 40.1, so 1.0 of 22.62 points, and for the base 0.2.
    text = rendered(tmp_path)["guide.md"]
    assert "By chance: of 2 judged scores 2 are reproduced." in text
    assert "0.1 would be on average" in text
    assert "Seed noise: no column has several seeds" in text
    of_seeds(tmp_path, 0.331, 0.332, 0.333)
    text = rendered(tmp_path)["guide.md"]
    assert "of the 1 fine-tuned scores in columns with several seeds" in text
    assert "MSMARCO MRR@10 0.10." in text
