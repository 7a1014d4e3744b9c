"""Like with like: every kind of difference, wherever two scores meet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from matplotlib import pyplot as plt

from ettin_retrieval.cli import main
from ettin_retrieval.ledger.entry import Entry, Measurement
from ettin_retrieval.ledger.store import write_measurement
from ettin_retrieval.reports import plots
from ettin_retrieval.reports.likeness import Conditions
from ettin_retrieval.reports.measured import Measured
from ettin_retrieval.reports.seeds import arm_of, contrasts
from ettin_retrieval.reports.tables.write import render
from ettin_retrieval.reports.view import View
from tests.ledgers import EXPECTED, measurement
from tests.unit.reports.tables.cells import csv_rows, row_of

Change = Callable[[Entry], Entry]

DATA = {"source": "hub", "revision": "a1", "passages": 9, "subsampled_from": 10}
WEIGHTS = {"pooling": "mean", "normalize": True, "embedding_dimension": 64, "prompts": {}}


def weights(**changed: Any) -> Change:
    return lambda entry: replace(entry, weights=entry.weights | changed)


def data(**changed: Any) -> Change:
    return lambda e: replace(e, tasks=e.tasks | {"NQ": e.tasks["NQ"] | changed})


WHOLE: dict[str, Change] = {
    "precision": lambda entry: replace(entry, precision="bf16"),
    "lengths": weights(max_passage_length=256),
    "prompts": weights(prompts={"query": "query: "}),
    "pooling": weights(pooling="cls"),
    "similarity": weights(normalize=False),
    "dimension": weights(embedding_dimension=32),
}
STARTED = {"starting encoder": weights(source="finetuned", revision="of another")}
TASK: dict[str, Change] = {
    "revision of NQ": data(revision="b2"),
    "source of NQ": data(source="beir"),
    "number of passages of NQ": data(passages=8),
    "number of queries of NQ": data(queries=3),
    "subsampling of NQ": data(subsampled_from=None),
    "hits on the own id of NQ": data(hit_on_own_id="ignored"),
}
KEPT_FROM = {
    "decontamination": {"decontaminate": True, "heldout": "0123456789ab"},
    "decontamination of another list": {"decontaminate": True, "heldout": "fe9876543210"},
}


def made(checkpoint: str, change: Change = lambda entry: entry, **given: Any) -> Measurement:
    """NQ and SciFact, every condition known."""
    scores = {"NQ": [0.25, 0.5], "SciFact": [0.25, 0.5]}
    if checkpoint == "finetuned":
        scores = {task: [0.5, 0.75] for task in scores}
    one = measurement("1b", checkpoint, scores, weights="w1", **given)
    entry = replace(one.entry, weights=one.entry.weights | WEIGHTS)
    entry = replace(entry, tasks={task: record | DATA for task, record in entry.tasks.items()})
    return replace(one, entry=change(entry))


def notes(**kept_from: Any) -> dict[str, Any]:
    return {"training_data": {"notes": {"decontaminate": False, "heldout": None} | kept_from}}


@pytest.mark.parametrize("kind", WHOLE | STARTED | TASK)
def test_base_and_fine_tuned(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for one in (made("base"), made("finetuned", (WHOLE | STARTED | TASK)[kind])):
        write_measurement(tmp_path, one)
    files, view = render(tmp_path, EXPECTED), View.read(tmp_path, EXPECTED)
    # An improvement is not shown, and the cell says why.
    assert row_of(files["tasks.md"], "NQ")[4] == f"other {kind}"
    # The paired test is not made, and the notes say why; other data concerns its task alone.
    others = ["SciFact"] if kind in TASK else []
    assert [row["task"] for row in csv_rows(files["significance.csv"])] == others
    assert f"other {kind} (" in files["significance.md"]
    assert [base.name for base, _ in view.pairs()] == ["1b/base-seed42"] * len(others)
    assert row_of(files["tasks.md"], "SciFact")[4] == ("+25.0" if others else f"other {kind}")
    # Pictures leave it out, or mark it.
    for base, tuned in view.pairs():
        assert list(plots.query_differences(*view.like_queries(base, tuned))) == others
    scores = plots.ndcg_scores(view)
    bars = plots.draw_tasks("1b", "finetuned-guide", scores)
    assert [t.get_text() for t in bars.axes[0].get_yticklabels()] == others
    assert f"other {kind}" in bars.axes[0].get_title(loc="left")
    heat = plots.draw_heat_map(scores)
    assert [text.get_text() for text in heat.axes[1].texts][:1] == ["62.5*"]
    assert f"* {kind.partition(' of NQ')[0]}: not as in" in heat.get_supxlabel()
    plt.close("all")
    # The command names it and goes on, with the tasks that are the same.
    names = ["1b/base-seed42", "1b/finetuned-guide-seed42"]
    assert main(["compare", *names, "--results", str(tmp_path), "--expected", str(EXPECTED)]) == 0
    out = capsys.readouterr().out
    assert f"{'left out, other data' if others else 'not like with like'}: {kind} (A " in out
    tasks = [line.split()[0] for line in out.splitlines() if line.startswith(("NQ ", "SciFact "))]
    assert tasks == (others or ["NQ", "SciFact"])


@pytest.mark.parametrize("kind", [*WHOLE, *TASK, *KEPT_FROM])
def test_seeds_of_one_arm(kind: str, tmp_path: Path) -> None:
    change = (WHOLE | TASK).get(kind, lambda entry: entry)
    before = KEPT_FROM["decontamination"] if kind in KEPT_FROM and "list" in kind else {}
    write_measurement(tmp_path, made("base"))
    write_measurement(tmp_path, made("finetuned", **notes(**before)))
    other = made("finetuned", change, seed=43, **notes(**KEPT_FROM.get(kind, before)))
    write_measurement(tmp_path, other)
    view, files = View.read(tmp_path, EXPECTED), render(tmp_path, EXPECTED)
    name = kind.replace(" of another list", "")
    # They are not averaged, and the cell says why.
    assert row_of(files["tasks.md"], "NQ")[3].startswith(f"not run (seeds of other {name} (")
    # The paired test is of the first, and the notes say why.
    arm = arm_of(view, [e for e in view.entries if e.checkpoint == "finetuned"])
    assert [entry.seed for entry in arm.entries] == [42]
    assert arm.left_out[0].startswith(f"seed 43, other {name} (")
    rows = csv_rows(files["significance.csv"])
    assert [(row["task"], row["seeds"]) for row in rows] == [("NQ", "42"), ("SciFact", "42")]
    assert f"other {name} (" in files["significance.md"]


def test_two_recipes_kept_from_other_lists_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_measurement(tmp_path, made("finetuned", **notes(**KEPT_FROM["decontamination"])))
    write_measurement(tmp_path, made("finetuned", recipe="paper", **notes()))
    names = ["1b/finetuned-guide", "1b/finetuned-paper"]
    assert main(["compare", *names, "--results", str(tmp_path), "--expected", str(EXPECTED)]) == 0
    expected = (
        "decontamination (A true, list 0123456789ab, B false); the differences below are also"
    )
    assert expected in capsys.readouterr().out


def test_a_map_marks_what_differs_from_the_first_score_that_is_shown() -> None:
    """Sizes are shown in their order, whatever that of the ledger."""
    kinds = {"150m": "bf16", "17m": "fp32", "1b": "fp32"}
    scores = {
        (model, "base", "NQ"): Measured(
            0.5, 1, conditions=Conditions(values={("precision", ""): p})
        )
        for model, p in kinds.items()
    }
    heat = plots.draw_heat_map(scores)
    assert [text.get_text() for text in heat.axes[0].texts] == ["50.0", "50.0*", "50.0"]
    plt.close("all")


def test_pooling_is_a_difference_within_a_model_and_part_of_the_system_between_models(
    tmp_path: Path,
) -> None:
    write_measurement(tmp_path, made("base"))
    one = made("base", WHOLE["pooling"])
    write_measurement(tmp_path, replace(one, entry=replace(one.entry, model="17m")))
    lexical = made("base", WHOLE["precision"])
    bm25 = replace(lexical.entry, model="bm25", precision=None, weights={"source": "mteb"})
    write_measurement(tmp_path, replace(lexical, entry=bm25))
    small, big, lexical_entry = View.read(tmp_path, EXPECTED).entries
    view = View.read(tmp_path, EXPECTED)
    assert view.unlike(small, big) == view.unlike(lexical_entry, big) == []


def test_what_training_started_from_is_the_base_that_it_is_compared_with(tmp_path: Path) -> None:
    start = weights(source="finetuned", revision="w1")
    for one in (made("base"), made("finetuned", start), made("finetuned", start, seed=43)):
        write_measurement(tmp_path, one)
    [contrast], left_out = contrasts(View.read(tmp_path, EXPECTED))
    assert (contrast.base.seeds, contrast.tuned.seeds, left_out) == ("seed 42", "seeds 42, 43", [])
