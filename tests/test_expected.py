"""Expected scores: how files are read, what a verdict is, when there is no average."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ettin_retrieval.ledger.entry import Entry
from ettin_retrieval.ledger.store import write_entry
from ettin_retrieval.reports.measure import Measured, judge, measure, task_score
from ettin_retrieval.reports.references import Expected, read_reference, read_references
from ettin_retrieval.reports.verify import record, verify
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.sources.mteb import expand
from ettin_retrieval.tasks import (
    AVERAGE,
    AVERAGE_ENG_V2,
    GUIDE_TASKS,
    METRICS,
    flat_metrics,
    split_of,
)

COMMITTED = Path(__file__).parents[1] / "expected"
V1, V2 = "MTEB(eng, v1)", "MTEB(eng, v2)"
PARTS = (
    "Android English Gaming Gis Mathematica Physics Programmers Stats Tex Unix Webmasters Wordpress"
)

HARDER = (
    "ClimateFEVERHardNegatives", "FEVERHardNegatives", "HotpotQAHardNegatives",
    "Touche2020Retrieval.v3",
)  # fmt: skip
"""Tasks of the second benchmark alone, besides two forums of CQADupstack."""

HEADER = """\
source: somewhere
unit: points
tolerance: 0.5
seeds: null
benchmarks: {}
"""


def test_the_committed_files_are_the_references() -> None:
    references = read_references(COMMITTED)
    guide = {(v.model, v.checkpoint, v.task, v.metric): v.value for v in references.guide}
    assert len(references.guide) == 24
    assert guide["1b", "finetuned", "MSMARCO", "mrr_at_10"] == pytest.approx(0.401)
    assert guide["150m", "base", V1, "ndcg_at_10"] == pytest.approx(0.439)
    paper = {(v.model, v.task): v.value for v in references.paper}
    assert paper["1b", V2] == pytest.approx(0.501)
    published = {(v.model, v.task): v.value for v in references.published}
    assert published["mteb/baseline-bm25s", V1] == 0.3984


def test_the_guide_s_benchmark_is_the_one_that_is_evaluated() -> None:
    benchmarks = read_references(COMMITTED).benchmarks
    assert benchmarks[V1] == {task: split_of(task) for task in GUIDE_TASKS}
    assert len(benchmarks[V2]) == 10
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
def test_verdicts_are_two_sided_and_their_bounds_belong_to_reproduced(
    measured: float | None, verdict: str
) -> None:
    expected = Expected("150m", "finetuned", V1, None, "ndcg_at_10", 0.513, 0.005, "guide", None)
    assert judge(measured, expected) == verdict


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
    ],
)  # fmt: skip
def test_a_malformed_file_is_told_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "file.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        read_reference(path)
    assert message in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{task: T, split: test, value: 1}, {task: T, split: test, value: 2}", "is given twice"),
        ("{task: T, split: test, value: 101}", "is more than all"),
        ("{task: T, value: 1}", "a task has a split"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(
    tmp_path: Path, value: str, message: str
) -> None:
    directory = _copy(tmp_path)
    rows = value.replace("{", "{model: a, checkpoint: base, metric: ndcg_at_10, ")
    (directory / "guide.yaml").write_text(HEADER + f"values: [{rows}]\n")
    with pytest.raises(InputError, match=message):
        read_references(directory)


def test_the_average_of_all_tasks_is_the_ledger_s() -> None:
    assert _average(_entry(GUIDE_TASKS), V1) == Measured(0.5, seeds=1)


def test_a_partial_average_is_refused() -> None:
    entry = _entry(("SciFact", "NFCorpus", "MSMARCO"))
    assert _average(entry, V1) == Measured(None, reason="3 of 15 tasks")
    # Even where someone wrote an average of them down.
    entry.scores[AVERAGE] = 0.5
    assert _average(entry, V1) == Measured(None, reason="3 of 15 tasks")


def test_an_average_is_over_the_benchmark_s_tasks_and_no_others() -> None:
    entry = _entry((*GUIDE_TASKS, *HARDER))
    for task in HARDER:
        entry.scores[f"{task}.ndcg_at_10"] = 1.0
    del entry.scores[AVERAGE]
    assert _average(entry, V1).value == pytest.approx(0.5)
    for part in ("CQADupstackGamingRetrieval", "CQADupstackUnixRetrieval"):
        entry.scores[f"{part}.ndcg_at_10"] = 0.5
    # The ten of the other benchmark: four of the guide's, four harder ones and two forums.
    assert _average(entry, V2).value == pytest.approx((6 * 0.5 + 4 * 1.0) / 10)


def test_an_average_is_the_one_that_the_evaluation_stored() -> None:
    names = [*expand(GUIDE_TASKS), *HARDER]
    numbers = np.random.default_rng(1).uniform(size=len(names))
    scores = {n: dict.fromkeys(METRICS, float(x)) for n, x in zip(names, numbers, strict=True)}
    flat = flat_metrics(scores, whole=True)
    entry = Entry("1b", "base", 42, flat, {n: {"split": split_of(n)} for n in names})
    for benchmark, key in ((V1, AVERAGE), (V2, AVERAGE_ENG_V2)):
        assert _average(entry, benchmark).value == pytest.approx(flat[key], abs=1e-9)


def test_forums_that_were_added_one_by_one_make_the_task_too() -> None:
    names = expand(GUIDE_TASKS)
    scores = {f"{name}.ndcg_at_10": 0.5 for name in names}
    scores["CQADupstackTexRetrieval.ndcg_at_10"] = 0.1
    entry = Entry("1b", "base", 42, scores, {n: {"split": split_of(n)} for n in names})
    cqadupstack = (11 * 0.5 + 0.1) / 12
    assert task_score(entry, "CQADupstackRetrieval", "ndcg_at_10") == pytest.approx(cqadupstack)
    assert _average(entry, V1).value == pytest.approx((14 * 0.5 + cqadupstack) / 15)
    del entry.scores["CQADupstackTexRetrieval.ndcg_at_10"]
    assert _average(entry, V1) == Measured(None, reason="14 of 15 tasks")


def test_a_column_is_of_one_recipe() -> None:
    guide = _entry(("SciFact",), checkpoint="finetuned", score=0.6)
    paper = replace(guide, recipe="paper", scores={"SciFact.ndcg_at_10": 0.8})
    assert (guide.name, paper.name) == ("1b/finetuned-guide-seed42", "1b/finetuned-paper-seed42")
    wanted = Expected("1b", "finetuned", "SciFact", "test", "ndcg_at_10", 0.7, 0.01, "g", None)
    for recipe, score in (("guide", 0.6), ("paper", 0.8), (None, None)):
        assert measure([guide, paper], replace(wanted, recipe=recipe), {}).value == score


def test_seeds_that_lack_a_task_are_counted() -> None:
    entries = [_entry(GUIDE_TASKS, seed=1), _entry(GUIDE_TASKS, seed=2), _entry(("NQ",), seed=3)]
    wanted = Expected("1b", "base", V1, None, "ndcg_at_10", 0.5, 0.01, "guide", None)
    measured = measure(entries, wanted, read_references(COMMITTED).benchmarks)
    assert (measured.value, measured.seeds, measured.partial) == (0.5, 2, 1)


def test_one_benchmark_s_average_is_never_taken_for_the_other_s() -> None:
    assert _average(_entry(GUIDE_TASKS), V2) == Measured(None, reason="4 of 10 tasks")


def test_a_score_on_another_split_is_not_compared() -> None:
    entry = _entry(GUIDE_TASKS)
    entry.tasks["MSMARCO"]["split"] = "test"
    wanted = Expected("1b", "base", "MSMARCO", "dev", "mrr_at_10", 0.2, 0.01, "guide", None)
    assert measure([entry], wanted, {}) == Measured(None, reason="scored on test, not dev")
    assert _average(entry, V1) == Measured(None, reason="14 of 15 tasks")


def test_cqadupstack_needs_all_of_its_parts() -> None:
    entry = _entry(GUIDE_TASKS)
    del entry.tasks["CQADupstackUnixRetrieval"]
    assert _average(entry, V1) == Measured(None, reason="14 of 15 tasks")


def test_several_seeds_are_averaged_and_one_can_be_asked_for() -> None:
    entries = [_entry(("SciFact",), seed=seed, score=score) for seed, score in ((1, 0.6), (2, 0.8))]
    wanted = Expected("1b", "base", "SciFact", "test", "ndcg_at_10", 0.7, 0.01, "guide", None)
    mean = measure(entries, wanted, {})
    assert mean.value == pytest.approx(0.7)
    assert (mean.seeds, mean.deviation) == (2, pytest.approx(0.2 / 2**0.5))
    first = Expected("1b", "base", "SciFact", "test", "ndcg_at_10", 0.7, 0.01, "own", None, seed=1)
    assert measure(entries, first, {}).value == 0.6


def test_what_is_recorded_verifies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results, expected = _ledger(tmp_path), _copy(tmp_path)
    assert record(results, expected) == 6
    once = (expected / "recorded.yaml").read_bytes()
    assert record(results, expected) == 6
    assert (expected / "recorded.yaml").read_bytes() == once
    assert verify(results, expected) == 0
    assert capsys.readouterr().out == "6 of 6 recorded scores reproduced\n"


def test_verify_fails_on_either_side_and_says_by_how_much(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results, expected = _ledger(tmp_path), _copy(tmp_path)
    record(results, expected)
    for name, score, verdict in (("base", 0.35, "below"), ("finetuned-guide", 0.75, "above")):
        path = results / f"tiny/{name}-seed42.json"
        path.write_text(path.read_text().replace("0.4" if name == "base" else "0.7", str(score)))
        assert verify(results, expected) == 1
        out = capsys.readouterr().out
        assert f"is {verdict} the recorded" in out
        assert "by 0.050000" in out
    # Average, nDCG@10 and MRR@10 of both checkpoints hold the same number here.
    assert out.splitlines()[-1] == "0 of 6 recorded scores reproduced"


def test_verify_takes_no_change_in_one_rank_of_one_query(tmp_path: Path) -> None:
    results, expected = _ledger(tmp_path), _copy(tmp_path)
    record(results, expected)
    path = results / "tiny/base-seed42.json"
    honest = path.read_text()
    # Of MS MARCO's 6,980 queries: the tenth rank in place of the ninth.
    path.write_text(honest.replace("0.4", str(0.4 - (1 / 9 - 1 / 10) / 6980)))
    assert verify(results, expected) == 1
    # The last bits of a sum, in another order.
    path.write_text(honest.replace("0.4", str(0.4 + 1e-15)))
    assert verify(results, expected) == 0


def test_verify_fails_where_a_value_or_all_values_are_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results, expected = _ledger(tmp_path), _copy(tmp_path)
    (expected / "recorded.yaml").write_text(HEADER + "values: []\n")
    assert verify(results, expected) == 1
    assert "nothing is recorded" in capsys.readouterr().out
    record(results, expected)
    (results / "tiny/finetuned-guide-seed42.json").unlink()
    assert verify(results, expected) == 1
    out = capsys.readouterr().out
    assert (
        "tiny finetuned-guide seed 42 TinySciFact (test) ndcg_at_10: not run, recorded 0.7" in out
    )
    assert "3 of 6 recorded scores reproduced" in out


def test_recording_a_model_keeps_the_others_and_names_one_that_was_not_run(tmp_path: Path) -> None:
    results, expected = _ledger(tmp_path), _copy(tmp_path)
    record(results, expected)
    entry = _entry(GUIDE_TASKS)
    write_entry(results, entry, _queries(entry))
    assert record(results, expected, ("1b",)) == 6 + 1 + 2 * 15
    assert verify(results, expected) == 0
    with pytest.raises(InputError, match="17m: no entry in the ledger"):
        record(results, expected, ("17m",))


def _entry(
    tasks: tuple[str, ...],
    model: str = "1b",
    checkpoint: str = "base",
    seed: int = 42,
    score: float = 0.5,
) -> Entry:
    """An entry with one score everywhere, and an average if the tasks are the guide's."""
    scores = {f"{t}.{m}": score for t in tasks for m in ("ndcg_at_10", "mrr_at_10")}
    if len(tasks) >= 15 or all(task.startswith("Tiny") for task in tasks):
        scores[AVERAGE] = score
    named = [
        name
        for task in tasks
        for name in (
            [f"CQADupstack{part}Retrieval" for part in PARTS.split()]
            if task == "CQADupstackRetrieval"
            else [task]
        )
    ]
    tasks = {n: {"split": split_of(n)} for n in named}
    recipe = "guide" if checkpoint == "finetuned" else None
    return Entry(model, checkpoint, seed, recipe=recipe, scores=scores, tasks=tasks)


def _average(entry: Entry, benchmark: str) -> Measured:
    wanted = Expected("1b", "base", benchmark, None, "ndcg_at_10", 0.5, 0.01, "guide", None)
    return measure([entry], wanted, read_references(COMMITTED).benchmarks)


def _queries(entry: Entry) -> pd.DataFrame:
    rows = {"task": list(entry.tasks), "query_id": "q", "ndcg_at_10": 0.5, "mrr_at_10": 0.5}
    return pd.DataFrame(rows)


def _ledger(tmp_path: Path) -> Path:
    """Model tiny on one task: base 0.4, fine-tuned 0.7."""
    for checkpoint, score in (("base", 0.4), ("finetuned", 0.7)):
        entry = _entry(("TinySciFact",), "tiny", checkpoint, score=score)
        write_entry(tmp_path / "results", entry, _queries(entry))
    return tmp_path / "results"


def _copy(tmp_path: Path) -> Path:
    """The committed references, with nothing recorded."""
    directory = tmp_path / "expected"
    directory.mkdir()
    for name in ("guide", "paper", "published"):
        (directory / f"{name}.yaml").write_bytes((COMMITTED / f"{name}.yaml").read_bytes())
    (directory / "recorded.yaml").write_text(HEADER + "values: []\n")
    return directory
