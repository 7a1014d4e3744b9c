"""The view of the ledger that tables, plots and verdicts share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ettin_retrieval.ledger.entry import Entry
from ettin_retrieval.reports.measured import Check, Measured
from ettin_retrieval.reports.references import Key, read_references
from ettin_retrieval.reports.view import View, scored_tasks, with_cqadupstack
from ettin_retrieval.tasks import (
    AVERAGE,
    AVERAGE_ENG_V2,
    CQADUPSTACK,
    CQADUPSTACK_PARTS,
    ENG_V2_TASKS,
    GUIDE_TASKS,
    METRICS,
    SUBSAMPLED,
    TINY_TASKS,
    flat_metrics,
    split_of,
)
from tests.ledgers import EXPECTED, V1, V2, measured, measurement, write

PARTS = sorted(CQADUPSTACK_PARTS)

HARDER = tuple(task for task in ENG_V2_TASKS if task not in (*GUIDE_TASKS, *PARTS))
"""Tasks of the second benchmark alone, besides two forums of CQADupstack."""

SCIFACT = Key("1b", "base", None, "SciFact", "test", "ndcg_at_10")


def entry(
    tasks: Iterable[str], checkpoint: str = "base", seed: int = 42, score: float = 0.5
) -> Entry:
    """An entry of 1b with one score everywhere, and an average of all the guide's tasks."""
    flat = {AVERAGE: score} if set(tasks) >= set(GUIDE_TASKS) else {}
    return measurement("1b", checkpoint, dict.fromkeys(tasks, score), seed=seed, flat=flat).entry


def average(of: Entry, benchmark: str) -> Measured:
    return measured([of], Key("1b", "base", None, benchmark, None, "ndcg_at_10"))


def test_every_score_of_an_entry_is_found_under_its_key() -> None:
    rng = np.random.default_rng(1)
    pool = [*GUIDE_TASKS, *ENG_V2_TASKS, *TINY_TASKS, *PARTS, "own", f"FEVER{SUBSAMPLED}1000"]
    entries = []
    for number in range(40):
        chosen = rng.choice(pool, size=int(rng.integers(1, len(pool))), replace=False)
        checkpoint = ("base", "finetuned")[number % 2]
        recipe = ("guide", "paper")[number // 2 % 2]
        scores = {str(task): float(rng.uniform()) for task in chosen}
        model, seed = f"model{number // 8}", number
        entries.append(measurement(model, checkpoint, scores, seed=seed, recipe=recipe).entry)
    view = View(Path(), entries, read_references(EXPECTED))
    averages = []
    for each in entries:
        arm = (each.model, each.checkpoint, each.recipe)
        splits = scored_tasks(with_cqadupstack(each))
        found = {
            f"{task}.{metric}": view.measured(Key(*arm, task, split, metric, each.seed)).value
            for task, split in splits.items()
            for metric in METRICS
        }
        # Every score that the entry holds, with the same value, and a task that its parts make up.
        assert each.scores.items() <= found.items()
        assert {task for task in splits if f"{task}.ndcg_at_10" not in each.scores} <= {CQADUPSTACK}
        averages += [
            view.measured(Key(*arm, name, None, metric, each.seed))
            for name in view.references.benchmarks
            for metric in METRICS
        ]
    assert any(mean.value is not None for mean in averages)
    assert all((mean.value is None) or (mean.reason == "") for mean in averages)


def test_the_average_of_all_tasks_is_the_one_that_the_entry_holds() -> None:
    assert average(entry(GUIDE_TASKS), V1) == Measured(0.5, seeds=1, lengths=(64, 512))


def test_a_partial_average_is_refused() -> None:
    some = entry(("SciFact", "NFCorpus", "MSMARCO"))
    assert average(some, V1) == Measured(None, reason="3 of 15 tasks")
    # Even if an average of them was written down.
    some.scores[AVERAGE] = 0.5
    assert average(some, V1) == Measured(None, reason="3 of 15 tasks")


def test_an_average_is_over_the_tasks_of_its_benchmark_alone() -> None:
    both = entry((*GUIDE_TASKS, *HARDER))
    for task in HARDER:
        both.scores[f"{task}.ndcg_at_10"] = 1.0
    assert average(both, V1).value == pytest.approx(0.5)
    for part in ("CQADupstackGamingRetrieval", "CQADupstackUnixRetrieval"):
        both.scores[f"{part}.ndcg_at_10"] = 0.5
    # The ten of the other benchmark: four of the guide's, four harder ones and two forums.
    assert average(both, V2).value == pytest.approx((6 * 0.5 + 4 * 1.0) / 10)
    assert average(entry(GUIDE_TASKS), V2) == Measured(None, reason="4 of 10 tasks")


def test_an_average_is_the_one_that_the_evaluation_stored() -> None:
    names = [*(task for task in GUIDE_TASKS if task != CQADUPSTACK), *PARTS, *HARDER]
    numbers = np.random.default_rng(1).uniform(size=len(names))
    scores = {n: dict.fromkeys(METRICS, float(x)) for n, x in zip(names, numbers, strict=True)}
    flat = flat_metrics(scores)
    stored = Entry("1b", "base", 42, flat, {n: {"split": split_of(n)} for n in names})
    for benchmark, key in ((V1, AVERAGE), (V2, AVERAGE_ENG_V2)):
        assert average(stored, benchmark).value == pytest.approx(flat[key], abs=1e-9)


def test_forums_that_were_added_one_by_one_make_up_the_task() -> None:
    forums = entry([*(task for task in GUIDE_TASKS if task != CQADUPSTACK), *PARTS])
    forums.scores["CQADupstackTexRetrieval.ndcg_at_10"] = 0.1
    cqadupstack = (11 * 0.5 + 0.1) / 12
    whole = with_cqadupstack(forums)
    assert whole.scores[f"{CQADUPSTACK}.ndcg_at_10"] == pytest.approx(cqadupstack)
    assert average(forums, V1).value == pytest.approx((14 * 0.5 + cqadupstack) / 15)
    for metric in ("ndcg_at_10", "mrr_at_10"):
        del forums.scores[f"CQADupstackTexRetrieval.{metric}"]
    assert average(forums, V1) == Measured(None, reason="14 of 15 tasks")


def test_cqadupstack_needs_all_of_its_parts_on_one_split() -> None:
    missing, other_split = entry(GUIDE_TASKS), entry(GUIDE_TASKS)
    del missing.tasks["CQADupstackUnixRetrieval"]
    other_split.tasks["CQADupstackUnixRetrieval"]["split"] = "dev"
    for some in (missing, other_split):
        assert CQADUPSTACK not in scored_tasks(some)
        assert average(some, V1) == Measured(None, reason="14 of 15 tasks")
        key = SCIFACT._replace(task=CQADUPSTACK)
        assert measured([some], key) == Measured(None, reason="parts of the task are missing")


def test_a_score_on_another_split_is_not_compared() -> None:
    other = entry(GUIDE_TASKS)
    other.tasks["MSMARCO"]["split"] = "test"
    key = Key("1b", "base", None, "MSMARCO", "dev", "mrr_at_10")
    assert measured([other], key) == Measured(None, reason="scored on test, not dev")
    assert average(other, V1) == Measured(None, reason="14 of 15 tasks")


def test_a_subsampled_task_is_never_compared_with_the_whole_one() -> None:
    cut = f"SciFact{SUBSAMPLED}100"
    some = entry([*(task for task in GUIDE_TASKS if task != "SciFact"), cut])
    assert scored_tasks(some)[cut] == "test"  # the table of tasks shows it under this name
    assert average(some, V1) == Measured(None, reason="subsampled")
    for metric in METRICS:  # whether or not the smaller task has it
        key = SCIFACT._replace(metric=metric)
        assert measured([some], key) == Measured(None, reason="subsampled")


def test_the_paper_s_average_is_measured_by_its_ten_tasks() -> None:
    scores = flat_metrics({name: dict.fromkeys(METRICS, 0.48) for name in ENG_V2_TASKS})
    tasks = {name: {"split": "test"} for name in ENG_V2_TASKS}
    paper = Entry("1b", "finetuned", 42, recipe="paper", scores=scores, tasks=tasks)
    assert len(scored_tasks(paper)) == 10
    key = Key("1b", "finetuned", "paper", V2, None, "ndcg_at_10")
    assert measured([paper], key).value == pytest.approx(0.48)
    for other in (key._replace(task=V1), key._replace(recipe="guide")):
        assert measured([paper], other).value is None


def test_an_average_names_the_metric_that_a_task_lacks() -> None:
    some = entry(GUIDE_TASKS)
    del some.scores["NQ.ndcg_at_10"]
    assert average(some, V1) == Measured(None, reason="a task has no ndcg_at_10")
    assert measured([some], SCIFACT._replace(task="NQ")) == Measured(None)


def test_a_key_is_of_one_recipe() -> None:
    guide = entry(("SciFact",), checkpoint="finetuned", score=0.6)
    paper = replace(guide, recipe="paper", scores={"SciFact.ndcg_at_10": 0.8})
    for recipe, score in (("guide", 0.6), ("paper", 0.8), (None, None)):
        key = SCIFACT._replace(checkpoint="finetuned", recipe=recipe)
        assert measured([guide, paper], key).value == score


def test_several_seeds_are_averaged_and_one_can_be_chosen() -> None:
    entries = [entry(("SciFact",), seed=seed, score=score) for seed, score in ((1, 0.6), (2, 0.8))]
    mean = measured(entries, SCIFACT)
    assert mean.value == pytest.approx(0.7)
    assert mean.seeds == 2
    assert mean.deviation == pytest.approx(0.2 / 2**0.5)
    assert measured(entries, SCIFACT._replace(seed=1)) == Measured(0.6, seeds=1, lengths=(64, 512))


def test_base_weights_that_several_runs_scored_are_one_seed() -> None:
    """Of a run with other tasks too, and by their fingerprint: tiny's differ from seed to seed."""
    same = [
        replace(entry(("SciFact",), seed=seed), weights={"fingerprint": "a"}) for seed in (1, 2)
    ]
    assert measured(same, SCIFACT) == Measured(0.5, seeds=1)
    more = [replace(entry(("NQ",), seed=0), weights={"fingerprint": "a"}), *same]
    assert measured(more, SCIFACT) == Measured(0.5, seeds=1)
    other = [*same, replace(entry(("SciFact",), seed=3), weights={"fingerprint": "b"})]
    assert measured(other, SCIFACT).seeds == 2
    trained = [replace(each, checkpoint="finetuned", recipe="guide") for each in same]
    key = SCIFACT._replace(checkpoint="finetuned", recipe="guide")
    assert measured(trained, key).seeds == 2


def test_seeds_that_lack_a_task_are_counted() -> None:
    entries = [entry(GUIDE_TASKS, seed=1), entry(GUIDE_TASKS, seed=2), entry(("NQ",), seed=3)]
    found = measured(entries, SCIFACT._replace(task=V1, split=None))
    assert (found.value, found.seeds, found.partial) == (0.5, 2, 1)


def test_the_forums_have_their_queries_together() -> None:
    forums = entry([CQADUPSTACK])
    assert with_cqadupstack(forums).tasks[CQADUPSTACK] == {"split": "test", "queries": 24}
    del forums.tasks[PARTS[0]]["queries"]
    assert with_cqadupstack(forums).tasks[CQADUPSTACK] == {"split": "test"}


def test_an_empty_ledger_has_no_score() -> None:
    assert measured([], SCIFACT) == Measured(None)


def test_a_pair_is_of_one_model_and_seed(tmp_path: Path) -> None:
    for model, checkpoint, recipe, seed in (
        ("1b", "base", "guide", 2), ("1b", "base", "guide", 10), ("17m", "base", "guide", 1),
        ("1b", "finetuned", "paper", 2), ("1b", "finetuned", "guide", 10),
        ("1b", "finetuned", "guide", 2), ("17m", "finetuned", "guide", 1),
        ("17m", "finetuned", "guide", 3), ("400m", "finetuned", "guide", 2),
    ):  # fmt: skip
        write(tmp_path, model, checkpoint, {"NQ": 0.5}, recipe=recipe, seed=seed)
    assert [(base.name, tuned.name) for base, tuned in View.read(tmp_path, EXPECTED).pairs()] == [
        ("17m/base-seed1", "17m/finetuned-guide-seed1"),
        ("1b/base-seed2", "1b/finetuned-guide-seed2"),
        ("1b/base-seed10", "1b/finetuned-guide-seed10"),
        ("1b/base-seed2", "1b/finetuned-paper-seed2"),
    ]


def test_scores_and_queries_are_those_of_the_ledger(tmp_path: Path) -> None:
    write(tmp_path, "1b", "base", {"NQ": [0.25, 0.75]})
    view = View.read(tmp_path, EXPECTED)
    found = view.measured(Key("1b", "base", None, "NQ", "test", "mrr_at_10"))
    assert found == Measured(0.5, 1, lengths=(64, 512))
    assert view.queries(view.entries[0])["ndcg_at_10"].tolist() == [0.25, 0.75]


def test_seeds_of_different_lengths_are_not_averaged() -> None:
    entries = [
        measurement("1b", "base", {"SciFact": score}, seed=seed, lengths=lengths).entry
        for seed, score, lengths in ((1, 0.6, (64, 512)), (2, 0.8, (512, 512)), (3, 0.7, (64, 512)))
    ]
    found = measured(entries, SCIFACT)
    assert found == Measured(
        None, reason="seeds of other lengths (64 and 512 tokens or 512 and 512 tokens)"
    )
    assert measured(entries, SCIFACT._replace(seed=2)).value == 0.8
    assert measured(entries[::2], SCIFACT).value == pytest.approx(0.65)


def test_a_pair_cuts_texts_alike(tmp_path: Path) -> None:
    write(tmp_path, "1b", "base", {"NQ": 0.5})
    write(tmp_path, "1b", "finetuned", {"NQ": 0.5}, lengths=(512, 512))
    write(tmp_path, "1b", "finetuned", {"NQ": 0.5}, recipe="paper")
    view = View.read(tmp_path, EXPECTED)
    assert [tuned.name for _, tuned in view.pairs()] == ["1b/finetuned-paper-seed42"]


def test_an_average_has_the_highest_shares_of_its_tasks() -> None:
    cut = {"ArguAna": (0.996, 0.001), "Touche2020": (0.0, 0.15), "SciFact": (0.5, 0.5)}
    v2 = [task for task in ENG_V2_TASKS if task != "SciFact"]
    whole = measurement("1b", "base", dict.fromkeys(v2, 0.5), cut=cut).entry
    key = SCIFACT._replace(task=V2, split=None)
    assert measured([whole], key).cut == (0.996, measured([whole], key).cut.passages)
    assert measured([whole], SCIFACT._replace(task="ArguAna")).cut == (0.996, 0.001)
    assert str(measured([whole], SCIFACT._replace(task="ArguAna"))) == "50.0 [cut: 99.6% q]"


def test_the_forums_count_their_cut_texts_together() -> None:
    cut = {PARTS[0]: (0.5, 0.012), PARTS[1]: (0.1, 0.0)} | dict.fromkeys(PARTS[2:], (0.0, 0.0))
    forums = with_cqadupstack(measurement("1b", "base", {CQADUPSTACK: 0.5}, cut=cut).entry)
    assert forums.tasks[CQADUPSTACK]["cut"] == {"queries": [600, 12000], "passages": [12, 12000]}
    assert str(measured([forums], SCIFACT._replace(task=CQADUPSTACK))) == "50.0 [cut: 5.0% q]"


def test_a_trained_checkpoint_of_several_seeds_is_judged_by_its_interval() -> None:
    [expected] = [
        value
        for value in read_references(EXPECTED).guide
        if (value.model, value.checkpoint, value.task) == ("1b", "finetuned", "SciFact")
    ]
    measured = Measured(0.768, seeds=2, deviation=0.001)  # 76.8 expected, 12.7 x 0.1 / sqrt(2)
    tuned = Check(expected.key, measured, expected)
    base = Check(expected.key._replace(checkpoint="base", recipe=None), measured, expected)
    assert (tuned.verdict, base.verdict) == ("reproduced", "reproduced")
    record = tuned.record()
    assert (record["interval_low"], record["interval_high"]) == pytest.approx((0.759, 0.777), 1e-4)
    assert (record["band_low"], record["band_high"]) == (0.758, 0.778)
    # What is not trained has one score, whatever the seed of its run.
    assert (base.record()["interval_low"], base.record()["interval_high"]) == (None, None)
    wide = replace(measured, deviation=0.002)
    assert replace(tuned, measured=wide).verdict == "inconclusive"
    assert replace(base, measured=wide).verdict == "reproduced"


def test_the_mean_length_of_the_forums_is_over_all_their_texts() -> None:
    entry = measurement("1b", "base", {CQADUPSTACK: 0.5}, cut=dict.fromkeys(PARTS, (0, 0))).entry
    for number, part in enumerate(PARTS):
        entry.tasks[part]["cut"] |= {
            "passages": [0, 3000 if number == 0 else 1000],
            "mean_tokens": {"queries": 10.0, "passages": 200.0 if number == 0 else 60.0},
        }
    found = measured([with_cqadupstack(entry)], SCIFACT._replace(task=CQADUPSTACK)).tokens
    assert found == (10.0, (3 * 200 + 11 * 60) / 14)
