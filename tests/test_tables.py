"""Tables: their cells by hand, their bytes, and what a check finds."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from ettin_retrieval.ledger.entry import Entry
from ettin_retrieval.ledger.store import main as ledger_main
from ettin_retrieval.ledger.store import write_entry, write_index
from ettin_retrieval.reports import documents
from ettin_retrieval.reports.references import read_references
from ettin_retrieval.reports.tables import guide as tables
from ettin_retrieval.reports.tables import guide_notes as reference_notes
from ettin_retrieval.reports.verify import record
from ettin_retrieval.tasks import AVERAGE, GUIDE_TASKS, split_of

COMMITTED = Path(__file__).parents[1] / "expected"
V1 = "MTEB(eng, v1)"


def test_fed_with_the_guide_s_values_the_tables_are_the_guide_s(tmp_path: Path) -> None:
    for checkpoint in ("base", "finetuned"):
        for model in ("150m", "400m", "1b"):
            _write_guide_entry(tmp_path / "results", model, checkpoint)
    rows = _rows(tables.render(tmp_path / "results", COMMITTED)["guide.md"])
    assert rows["150m", "measured", 0][:4] == ["43.9", "18.7", "29.2", "62.1"]
    after = {model: rows[model, "measured", 1][:4] for model in ("150m", "400m", "1b")}
    assert after == {  # as the guide prints them
        "150m": ["51.3 (+7.4)", "33.2 (+14.5)", "32.1 (+2.9)", "65.8 (+3.7)"],
        "400m": ["55.7 (+7.3)", "36.8 (+14.5)", "36.9 (+3.1)", "71.2 (+3.8)"],
        "1b": ["59.4 (+7.3)", "40.1 (+14.2)", "41.2 (+3.7)", "76.8 (+4.6)"],
    }
    for model, cells in after.items():
        assert rows[model, "expected", 1][:4] == cells
        assert rows[model, "verdict", 1][:4] == ["+0.0 reproduced"] * 4


def test_a_verdict_stands_beside_its_difference(tmp_path: Path) -> None:
    _write_guide_entry(tmp_path / "results", "1b", "base", SciFact=0.112, NFCorpus=0.386)
    files = tables.render(tmp_path / "results", COMMITTED)
    rows = _rows(files["guide.md"])
    # The guide's 37.5 and 72.2, each within 1 point.
    assert rows["1b", "verdict", 0][2:] == ["+1.1 above", "-61.0 below"]
    found = [row for row in _csv(files["guide.csv"]) if row["measured"] == "0.112"]
    assert [(row["expected"], row["verdict"]) for row in found] == [("0.722", "below")]


def test_a_partial_average_is_shown_as_not_run(tmp_path: Path) -> None:
    tasks = ("MSMARCO", "NFCorpus", "SciFact")
    _write(tmp_path / "results", "1b", "base", {task: 0.5 for task in tasks}, average=None)
    rows = _rows(tables.render(tmp_path / "results", COMMITTED)["guide.md"])
    assert rows["1b", "measured", 0] == ["not run (3 of 15 tasks)", "50.0", "50.0", "50.0"]
    assert rows["1b", "verdict", 0][0] == "not run"
    assert rows["150m", "measured", 0] == ["not run"] * 4


def test_the_paper_s_average_is_not_compared_with_the_guide_s(tmp_path: Path) -> None:
    _write_guide_entry(tmp_path / "results", "150m", "finetuned", recipe="paper")
    rows = _rows(tables.render(tmp_path / "results", COMMITTED)["guide.md"])
    assert rows["150m", "expected", 1][4] == "45.7"
    assert rows["150m", "measured", 1][4] == "not run (4 of 10 tasks)"
    assert rows["150m", "verdict", 1][4] == "not run"


def test_models_are_in_order_of_size(tmp_path: Path) -> None:
    for model in ("other", "1b", "17m"):
        _write(tmp_path / "results", model, "base", {"SciFact": 0.5}, average=None)
    text = tables.render(tmp_path / "results", COMMITTED)["guide.md"]
    first = text.split("## Post")[0]
    assert re.findall(r"^\| (\w+) \| measured", first, re.M) == [
        "17m", "150m", "400m", "1b", "other",
    ]  # fmt: skip


def test_the_embedded_table_shows_verdicts_against_recorded_scores(tmp_path: Path) -> None:
    results, expected = _tiny(tmp_path)
    record(results, expected)
    entry = results / "tiny/finetuned-guide-seed42.json"
    entry.write_text(entry.read_text().replace("0.625", "0.62501"))
    lines = tables.render(results, expected)["embedded.md"].splitlines()
    assert "| TinyMSMARCO | MRR@10 | 25.0 | 50.0 (+25.0) | 25.0 | 50.0 " in "\n".join(lines)
    [scifact] = [line for line in lines if line.startswith("| TinySciFact")]
    assert scifact == (
        "| TinySciFact | nDCG@10 | 25.0 | 62.5 (+37.5) | 25.0 | 62.5 | reproduced | above | -- |"
    )


def test_scores_of_several_seeds_have_a_mean_and_a_deviation(tmp_path: Path) -> None:
    for seed, score in ((1, 0.6), (2, 0.8)):
        _write(tmp_path / "results", "17m", "base", {"SciFact": score}, None, seed)
    files = tables.render(tmp_path / "results", COMMITTED)
    assert "| SciFact | test | 70.0 ± 14.1 | not run | -- |" in files["tasks.md"]
    assert "## Model 17m, 2 seeds" in files["tasks.md"]
    assert r"70.0 $\pm$ 14.1" in files["tasks.tex"]


def test_each_recipe_is_judged_by_its_own_columns(tmp_path: Path) -> None:
    results = tmp_path / "results"
    _write(results, "1b", "base", {"MSMARCO": 0.25}, None)
    _write(results, "1b", "finetuned", {"MSMARCO": 0.375}, None, recipe="guide")
    _write(results, "1b", "finetuned", {"MSMARCO": 0.5}, None, recipe="paper")
    files = tables.render(results, COMMITTED)
    row = _rows(files["guide.md"])["1b", "measured", 1]
    assert (row[1], row[5]) == ("37.5 (+12.5)", "50.0 (+25.0)")
    found = {(r["recipe"], r["metric"]): r for r in _csv(files["guide.csv"]) if r["measured"]}
    assert found["guide", "mrr_at_10"]["measured"] == "0.375"
    assert found["paper", "ndcg_at_10"]["measured"] == "0.5"
    assert "Guide" in found["guide", "mrr_at_10"]["source"]
    assert "Ettin paper" in found["paper", "ndcg_at_10"]["source"]
    assert "| MSMARCO | dev | 25.0 | 37.5 | +12.5 |" in files["tasks.md"]
    assert "| MSMARCO | dev | 25.0 | 50.0 | +25.0 |" in files["tasks.md"]
    means = [(r["checkpoint"], r["recipe"], r["metric"]) for r in _csv(files["tasks.csv"])]
    assert len(means) == len(set(means)) == 6
    recipes = {(r["recipe"], r["model"]) for r in _csv(files["significance.csv"])}
    assert recipes == {("guide", "1b"), ("paper", "1b")}


def test_several_seeds_show_their_number_and_deviation(tmp_path: Path) -> None:
    results = tmp_path / "results"
    for seed, score in ((1, 0.4), (2, 0.5)):
        _write(results, "1b", "base", {"MSMARCO": 0.25}, None, seed)
        _write(results, "1b", "finetuned", {"MSMARCO": score}, None, seed)
    _write(results, "1b", "finetuned", {"NFCorpus": 0.5}, None, 3)
    row = _rows(tables.render(results, COMMITTED)["guide.md"])["1b", "measured", 1]
    assert row[1:3] == ["45.0 ± 7.1 (+20.0), 2 of 3 seeds", "50.0, 1 of 3 seeds"]


def test_bm25_stands_in_both_of_the_guide_s_tables_and_beside_tiny(tmp_path: Path) -> None:
    results, expected = _tiny(tmp_path)
    scores = dict.fromkeys((*GUIDE_TASKS, "TinySciFact"), 0.4) | {"MSMARCO": 0.1}
    _write(results, "bm25", "base", scores, None, seed=0)
    files = tables.render(results, expected)
    rows = _rows(files["guide.md"])
    assert rows["bm25", "measured", 0] == ["38.0", "10.0", "40.0", "40.0"]
    assert rows["bm25", "measured", 1][:4] == ["38.0", "10.0", "40.0", "40.0"]
    [scifact] = [x for x in files["embedded.md"].splitlines() if x.startswith("| TinySciFact")]
    assert scifact.endswith("| 40.0 |")


def test_significance_is_paired_by_query(tmp_path: Path) -> None:
    results, expected = _tiny(tmp_path)
    rows = {row["task"]: row for row in _csv(tables.render(results, expected)["significance.csv"])}
    # Four queries: 0, 0, 0, 1 against 0, 0.5, 1, 1; two differ, so every sign has p >= 1/2.
    scifact = rows["TinySciFact"]
    assert (scifact["wins"], scifact["losses"], scifact["ties"]) == ("2", "0", "2")
    assert (scifact["difference"], scifact["p_value"]) == ("0.375", "0.5")


def test_the_guide_s_arithmetic_is_checked_from_the_data(tmp_path: Path) -> None:
    references = read_references(COMMITTED)
    notes = "\n".join(reference_notes.guide_notes(references))
    assert "All 12 improvements that the guide prints equal the difference" in notes
    assert "150m before fine-tuning, 43.9, is what the paper reports for modernbert-base" in notes
    assert "400m before fine-tuning, 48.4, is what the paper reports for 400m after" in notes
    assert "150m 51.3 and 45.7" in notes
    for name in ("guide", "paper", "published", "recorded"):
        text = (COMMITTED / f"{name}.yaml").read_text()
        (tmp_path / f"{name}.yaml").write_text(text.replace("improvement: 2.9", "improvement: 3.9"))
    notes = "\n".join(reference_notes.guide_notes(read_references(tmp_path)))
    assert "150m NFCorpus: printed +3.9, tables give +2.9" in notes


def test_another_process_gives_the_same_bytes_and_needs_no_model_library(tmp_path: Path) -> None:
    results, expected = _tiny(tmp_path)
    # This process has another hash seed.
    code = (
        "import sys, ettin_retrieval.stages.tables, ettin_retrieval.plots\n"
        "from ettin_retrieval.tables import main\n"
        "assert not {'torch', 'mteb', 'sentence_transformers'} & set(sys.modules)\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "--results", str(results), "--expected", str(expected),
         "--tables", str(tmp_path / "tables")],
        env={**os.environ, "PYTHONHASHSEED": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    files = tables.render(results, expected)
    assert len(files) == 20
    assert sorted(path.name for path in (tmp_path / "tables").iterdir()) == sorted(files)
    for name, text in files.items():
        assert (tmp_path / "tables" / name).read_bytes() == text.encode()
        assert "\r" not in text


def test_a_check_finds_an_edited_digit_a_missing_file_and_a_foreign_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results, expected = _tiny(tmp_path)
    directory = tmp_path / "tables"
    options = ["--results", str(results), "--expected", str(expected), "--tables", str(directory)]
    write_index(results)
    assert tables.main(options) == 0
    assert tables.main([*options, "--check"]) == 0
    capsys.readouterr()
    path = directory / "embedded.md"
    honest = path.read_text()
    line = 1 + honest.splitlines().index(
        next(line for line in honest.splitlines() if line.startswith("| TinySciFact"))
    )
    path.write_text(honest.replace("62.5 (+37.5)", "63.5 (+37.5)"))
    assert tables.main([*options, "--check"]) == 1
    assert capsys.readouterr().out.startswith(f"{path}:{line}: not what the ledger gives")
    path.unlink()
    assert tables.main([*options, "--check"]) == 1
    assert capsys.readouterr().out.startswith(f"{path}: missing")
    path.write_text(honest)
    (directory / "old.md").touch()
    assert tables.main([*options, "--check"]) == 1
    assert "old.md: no table of the ledger" in capsys.readouterr().out


def test_a_check_names_the_row_that_the_index_has_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results, expected = _tiny(tmp_path)
    options = ["--results", str(results), "--expected", str(expected)]
    options += ["--tables", str(tmp_path / "tables")]
    write_index(results)
    assert tables.main(options) == 0
    _write(results, "17m", "base", {"SciFact": 0.5}, None)
    capsys.readouterr()
    assert tables.main([*options, "--check"]) == 1
    told = capsys.readouterr().out
    assert told.startswith(f"{results}/17m/base-seed42.json: not in the index")
    assert "run `python -m ettin_retrieval.results` and `dvc repro tables`" in told
    assert ledger_main(["--results", str(results)]) == 0
    assert tables.main(options) == tables.main([*options, "--check"]) == 0


def test_an_empty_ledger_gives_tables_that_say_not_run(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    files = tables.render(tmp_path / "results", COMMITTED)
    assert _rows(files["guide.md"])["1b", "measured", 1] == ["not run"] * 6
    assert "holds nothing for this table yet" in files["tasks.md"]
    assert json.loads(files["tasks.json"])["rows"] == []


def test_json_and_csv_hold_the_same_numbers_at_full_precision(tmp_path: Path) -> None:
    results, expected = _tiny(tmp_path)
    files = tables.render(results, expected)
    for name in ("guide", "embedded", "tasks", "significance", "published"):
        rows = json.loads(files[f"{name}.json"])["rows"]
        lines = _csv(files[f"{name}.csv"])
        assert len(rows) == len(lines) > 0
        for row, line in zip(rows, lines, strict=True):
            assert {k: "" if v is None else str(v) for k, v in row.items()} == line


def test_latex_has_no_command_that_the_text_did_not_mean(tmp_path: Path) -> None:
    files = tables.render(*_tiny(tmp_path))
    for name in ("guide", "embedded", "tasks", "significance", "published"):
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


def test_every_latex_table_has_a_name_of_its_own_to_refer_to(tmp_path: Path) -> None:
    files = tables.render(*_tiny(tmp_path))
    labels = [
        label
        for name, text in files.items()
        if name.endswith(".tex")
        for label in re.findall(r"\\caption\{.*\}\n\\label\{(tab:[a-z0-9:-]+)\}", text)
    ]
    assert len(labels) == len(set(labels))
    assert len(labels) == sum(text.count(r"\begin{table}") for text in files.values())
    assert "tab:tasks:model-tiny-recipe-guide-1-seed" in labels


def test_published_scores_name_the_data_that_they_are_of(tmp_path: Path) -> None:
    rows = _csv(tables.render(*_tiny(tmp_path))["published.csv"])
    [scifact] = [r for r in rows if (r["model"], r["task"]) == ("mteb/baseline-bm25s", "SciFact")]
    assert scifact["dataset_revision"] == "0228b52cf27578f30900b9e5271d331663a030d7"


def test_latex_escapes_each_special_character() -> None:
    assert documents.escaped(r"a_b % & # $ { } ~ ^ \ `x_y`") == (
        r"a\_b \% \& \# \$ \{ \} \textasciitilde{} \textasciicircum{} \textbackslash{} x\_y"
    )
    assert documents.escaped("-3.2 below, all-MiniLM-L6-v2") == "$-$3.2 below, all-MiniLM-L6-v2"


def test_markdown_keeps_a_bar_inside_its_cell() -> None:
    table = documents.Table("c", ("A",), (("x|y",),))
    document = documents.Document("n", "T", (table,), (), ())
    assert "| x\\|y |" in documents.markdown(document)


def _write(
    results: Path,
    model: str,
    checkpoint: str,
    scores: dict[str, float],
    average: float | None,
    seed: int = 42,
    recipe: str | None = None,
) -> None:
    """An entry whose nDCG@10 and MRR@10 are the same; fine-tuned by the guide's recipe."""
    recipe = recipe or ("guide" if checkpoint == "finetuned" else None)
    flat = {f"{t}.{m}": s for t, s in scores.items() for m in ("ndcg_at_10", "mrr_at_10")}
    if average is not None:
        flat[AVERAGE] = average
    parts = [f"CQADupstack{number}Retrieval" for number in range(12)]
    names = [n for t in scores for n in (parts if t == "CQADupstackRetrieval" else [t])]
    queries = pd.DataFrame(
        {"task": names, "query_id": "q", "ndcg_at_10": 0.5, "mrr_at_10": 0.5},
    )
    tasks = {name: {"split": split_of(name), "queries": 1} for name in names}
    entry = Entry(model, checkpoint, seed, recipe=recipe, scores=flat, tasks=tasks)
    write_entry(results, entry, queries)


def _write_guide_entry(
    results: Path, model: str, checkpoint: str, recipe: str | None = None, **changed: float
) -> None:
    """What the guide says of a checkpoint, as if it had been measured."""
    guide = {
        value.task: value.value
        for value in read_references(COMMITTED).guide
        if (value.model, value.checkpoint) == (model, checkpoint)
    }
    named = [value for task, value in guide.items() if task != V1]
    # Of the other tasks, so that the average is the guide's.
    others = (15 * guide[V1] - sum(named)) / (15 - len(named))
    scores = {task: guide.get(task, others) for task in GUIDE_TASKS} | changed
    _write(results, model, checkpoint, scores, average=guide[V1], recipe=recipe)


def _tiny(tmp_path: Path) -> tuple[Path, Path]:
    """Model tiny on two tasks of four queries, and references with nothing recorded."""
    results, expected = tmp_path / "results", tmp_path / "expected"
    expected.mkdir()
    for name in ("guide", "paper", "published", "recorded"):
        text = (COMMITTED / f"{name}.yaml").read_text()
        if name == "recorded":
            text = re.sub(
                r"^benchmarks:.*", "benchmarks: {}\nvalues: []\n", text, flags=re.M | re.S
            )
        (expected / f"{name}.yaml").write_text(text)
    queries = {
        "base": {"TinyMSMARCO": [0, 0, 0, 1], "TinySciFact": [0, 0, 0, 1]},
        "finetuned": {"TinyMSMARCO": [0, 0, 1, 1], "TinySciFact": [0, 0.5, 1, 1]},
    }
    for checkpoint, tasks in queries.items():
        scores = {
            f"{t}.{m}": sum(v) / 4 for t, v in tasks.items() for m in ("ndcg_at_10", "mrr_at_10")
        }
        average = sum(sum(v) / 4 for v in tasks.values()) / 2
        frame = pd.DataFrame(
            [(t, f"q{i}", s, s) for t, v in tasks.items() for i, s in enumerate(v)],
            columns=["task", "query_id", "ndcg_at_10", "mrr_at_10"],
        )
        splits = {"TinyMSMARCO": "dev", "TinySciFact": "test"}
        listed = {t: {"split": splits[t], "queries": 4} for t in tasks}
        recipe = "guide" if checkpoint == "finetuned" else None
        entry = Entry(
            "tiny", checkpoint, 42, recipe=recipe, scores={AVERAGE: average, **scores},
            tasks=listed,
        )  # fmt: skip
        write_entry(results, entry, frame.astype({"ndcg_at_10": float, "mrr_at_10": float}))
    return results, expected


def _rows(markdown: str) -> dict[tuple[str, str, int], list[str]]:
    """Model, kind of row and number of the table to the row's cells."""
    rows, model = {}, ""
    for number, part in enumerate(markdown.split("## ")[1:3]):
        for line in part.splitlines():
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if len(cells) > 2 and cells[1] in ("measured", "expected", "verdict"):
                model = cells[0] or model
                rows[model, cells[1], number] = cells[2:]
    return rows


def _csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(text.splitlines()))
