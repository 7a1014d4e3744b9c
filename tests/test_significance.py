"""Paired comparison: values worked out by hand, and refusals."""

import random
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ettin_retrieval.cli import main
from ettin_retrieval.ledger.entry import Entry
from ettin_retrieval.ledger.store import write_entry
from ettin_retrieval.reports import significance
from ettin_retrieval.reports.significance import (
    bootstrap_interval,
    compare,
    compare_benchmarks,
    holm,
    randomisation_p_value,
    seed_spread,
)
from ettin_retrieval.runtime.errors import InputError

EXPECTED = Path(__file__).parents[1] / "expected"


def frame(task="T", **scores):
    return pd.DataFrame(
        {"task": task, "query_id": list(scores), "ndcg_at_10": [float(s) for s in scores.values()]}
    )


def many(queries, shift, seed=0, task="T"):
    generator = np.random.default_rng(seed)
    base = generator.uniform(0, 0.5, queries)
    other = base + generator.normal(shift, 0.1, queries)
    ids = [f"q{i}" for i in range(queries)]
    left = pd.DataFrame({"task": task, "query_id": ids, "ndcg_at_10": base})
    return left, left.assign(ndcg_at_10=other)


def test_a_small_comparison_by_hand():
    # Differences +0.3, +0.1, -0.2, 0 have the mean 0.05. The 8 sign patterns of the three that
    # moved sum to 0.6, 0.4, 0.2, 0 and their negatives: 3 of 8 reach the observed 0.2, and as
    # many on the other side.
    base = frame(a=0.2, b=0.5, c=0.7, d=0.4)
    other = frame(a=0.5, b=0.6, c=0.5, d=0.4)
    [task] = compare(base, other)
    assert (task.base, task.other, task.difference) == (0.45, 0.5, 0.05)
    assert (task.wins, task.losses, task.ties, task.queries) == (2, 1, 1, 4)
    assert task.exact
    assert task.p_value == 0.75


def test_the_exact_p_value_is_that_of_counting_every_sign_pattern():
    differences = np.array([0.31, 0.12, -0.05, 0.22, 0.4, -0.11, 0.07, 0.02])
    sums = [np.dot(signs, differences) for signs in product([1, -1], repeat=8)]
    as_far = sum(abs(s) >= differences.sum() - 1e-9 for s in sums) / len(sums)
    assert randomisation_p_value(differences, seed=3) == (pytest.approx(as_far, abs=1e-10), True)


def test_drawn_patterns_agree_with_the_exact_value():
    differences = np.random.default_rng(1).normal(0.1, 0.3, 12)
    exact, counted = randomisation_p_value(differences, seed=0)
    drawn, also_counted = randomisation_p_value(differences, seed=0, resamples=4000)
    assert counted and not also_counted
    assert drawn == pytest.approx(exact, abs=0.03)


def test_the_drawn_p_value_is_scipy_s_where_the_draws_are_symmetric():
    """scipy doubles the smaller tail; ours counts both, which on symmetric draws is the same."""
    differences = np.round(np.random.default_rng(4).normal(0.04, 0.3, 80), 10)
    ours, exact = randomisation_p_value(differences, seed=1)
    theirs = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=9_999, vectorized=True,
        rng=np.random.default_rng(9), axis=-1,
    )  # fmt: skip
    assert not exact
    assert 0.05 < ours < 0.95  # both estimates vary, here by about 0.005
    assert ours == pytest.approx(theirs.pvalue, abs=0.02)


def test_ties_with_the_observed_sum_are_counted():
    """20 queries of +0.1 and 2 of -0.1: patterns with 2 or fewer of one sign are as far.

    The sums of 0.1 differ in their last bits by order, and are equal all the same.
    """
    differences = np.array([0.1] * 18 + [-0.1] * 2)
    p_value, exact = randomisation_p_value(differences, seed=2, resamples=200_000)
    as_far = 2 * (1 + 20 + 190) / 2**20
    assert not exact
    assert p_value == pytest.approx(as_far, rel=0.3)


def forums(scores, queries):
    """Frames of the twelve parts: base 0, and one score and number of queries for each."""
    rows = [
        (f"CQADupstack{i:02}Retrieval", f"q{q}", score)
        for i, (score, count) in enumerate(zip(scores, queries, strict=True))
        for q in range(count)
    ]
    other = pd.DataFrame(rows, columns=["task", "query_id", "ndcg_at_10"])
    return other.assign(ndcg_at_10=0.0), other


def test_twelve_forums_are_one_task_whose_mean_is_over_forums():
    base, other = forums([0.6, *[0.0] * 11], [30, *[10] * 11])
    [task] = compare(base, other)
    assert (task.task, task.queries) == ("CQADupstackRetrieval", 140)
    assert (task.other, task.difference) == (0.05, 0.05)  # 0.6 / 12, not 0.6 * 30 / 140
    assert (task.wins, task.losses, task.ties) == (30, 0, 110)
    eleven = [f[f["task"] != "CQADupstack03Retrieval"] for f in (base, other)]
    assert len(compare(*eleven)) == 11


def test_a_family_is_a_benchmark_with_an_average_outside_holm():
    base, other = forums([0.2] * 12, [10] * 12)
    more = [many(40, 0.1, task="SciFact"), many(20, 0.0, seed=1, task="FEVERHardNegatives")]
    more.append(many(10, 0.0, seed=2, task="own"))
    base, other = (pd.concat([f, *(pair[i] for pair in more)]) for i, f in enumerate((base, other)))
    benchmarks = {
        "one": ["CQADupstackRetrieval", "SciFact", "NQ"],
        "two": ["CQADupstack02Retrieval", "FEVERHardNegatives"],
        "three": ["CQADupstack03Retrieval"],  # told with the whole, and nothing beside it
    }
    one, two, rest = compare_benchmarks(base, other, benchmarks)
    assert [f.name for f in (one, two, rest)] == ["one", "two", ""]
    assert [t.task for t in one.tasks] == ["CQADupstackRetrieval", "SciFact"]
    assert [t.task for t in two.tasks] == ["CQADupstack02Retrieval", "FEVERHardNegatives"]
    assert [t.task for t in rest.tasks] == ["own"] and rest.average is None
    for family in (one, two):
        corrected = holm([t.p_value for t in family.tasks])
        assert [t.holm_p_value for t in family.tasks] == corrected
        mean = sum(t.difference for t in family.tasks) / 2
        assert family.average.difference == pytest.approx(mean, abs=1e-9)
        assert family.average.holm_p_value is None
    assert (one.average.queries, one.average.task) == (160, "Average")
    assert one.average.wins == sum(t.wins for t in one.tasks)


def test_equal_systems_differ_by_nothing():
    [task] = compare(frame(a=0.3, b=0.9), frame(a=0.3, b=0.9))
    assert (task.difference, task.interval, task.p_value) == (0.0, (0.0, 0.0), 1.0)
    assert (task.wins, task.losses, task.ties) == (0, 0, 2)


def test_one_query_has_no_interval_and_proves_nothing():
    [task] = compare(frame(a=0.1), frame(a=0.9))
    assert (task.difference, task.interval, task.p_value) == (0.8, None, 1.0)


def test_the_interval_is_about_that_of_the_normal_approximation():
    differences = np.random.default_rng(5).normal(0.02, 0.2, 400)
    low, high = bootstrap_interval(differences, seed=1)
    error = differences.std(ddof=1) / np.sqrt(400)
    assert low == pytest.approx(differences.mean() - 1.96 * error, abs=0.2 * error)
    assert high == pytest.approx(differences.mean() + 1.96 * error, abs=0.2 * error)


def test_pairing_finds_what_unpaired_scores_would_hide():
    """A gain of 0.02 on every query is certain, although queries differ by far more."""
    base, _ = many(200, 0)
    [task] = compare(base, base.assign(ndcg_at_10=base["ndcg_at_10"] + 0.02))
    assert task.interval == (0.02, 0.02)
    # No drawn pattern is as far from 0 as the observed one: the least that 9,999 draws can say.
    assert (task.p_value, task.exact, task.at_floor) == (0.0001, False, True)


def test_holm_by_hand():
    """Sorted 0.005 0.01 0.03 0.04 times 4 3 2 1: 0.02 0.03 0.06 0.04, the last raised to 0.06."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == [0.03, 0.06, 0.06, 0.02]
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]


def test_holm_is_over_the_tasks_compared_together():
    base, other = many(8, 0.5, task="A")
    same = frame("B", x=0.5, y=0.5)
    tasks = compare(pd.concat([base, same]), pd.concat([other, same]))
    assert [t.task for t in tasks] == ["A", "B"]
    assert tasks[0].p_value == 2 / 256
    assert tasks[0].holm_p_value == 4 / 256
    assert tasks[1].holm_p_value == 1.0


def test_repeating_gives_the_same_and_touches_no_global_generator():
    base, other = many(60, 0.02)
    random.seed(7)
    np.random.seed(7)
    states = random.getstate(), np.random.get_state()[1].tolist()
    first = compare(base, other, seed=11)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states
    np.random.seed(8)
    assert compare(base, other, seed=11) == first
    assert compare(base, other, seed=12) != first


def test_neither_row_order_nor_other_tasks_matter():
    base, other = many(60, 0.02)
    [alone] = compare(base, other)
    more, more_too = many(30, 0.0, seed=3, task="A")
    tasks = compare(
        pd.concat([more, base.sample(frac=1, random_state=1)]),
        pd.concat([other.sample(frac=1, random_state=2), more_too]),
    )
    assert (tasks[1].interval, tasks[1].p_value) == (alone.interval, alone.p_value)


def test_batches_bound_memory_and_change_nothing(monkeypatch):
    differences = np.random.default_rng(2).normal(0.02, 0.2, 50)
    whole = bootstrap_interval(differences, 1, 500), randomisation_p_value(differences, 1, 500)
    monkeypatch.setattr(significance, "CELLS", 700)
    parts = bootstrap_interval(differences, 1, 500), randomisation_p_value(differences, 1, 500)
    assert parts == whole


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (frame(a=0.1, b=0.2), "query 'c' was scored by the first alone"),
        (frame(a=0.1, b=0.2, c=0.3, d=0.4), "query 'd' was scored by the second alone"),
        (frame("U", a=0.1, b=0.2, c=0.3), "task 'T' was scored by the first alone"),
        (frame(a=0.1, b=0.2, c=float("nan")), "no ndcg_at_10 for T, query 'c'"),
        (pd.concat([frame(a=0.1, b=0.2, c=0.3), frame(a=0.1)]), "query 'a' of T twice"),
        (frame(a=0.1).rename(columns={"ndcg_at_10": "map"}), "no column 'ndcg_at_10'"),
    ],
)
def test_what_cannot_be_paired_is_refused(other, told):
    with pytest.raises(InputError, match=told):
        compare(frame(a=0.1, b=0.2, c=0.3), other)


def test_seed_variance_is_over_the_seeds_means():
    """Means 0.3 and 0.5: mean 0.4, deviation sqrt(0.02) with one degree of freedom."""
    [task] = seed_spread([frame(a=0.2, b=0.4), frame(a=0.4, b=0.6)])
    assert (task.seeds, task.mean) == (2, 0.4)
    assert task.standard_deviation == pytest.approx(0.02**0.5, abs=1e-9)
    [single] = seed_spread([frame(a=0.2, b=0.4)])
    assert (single.mean, single.standard_deviation) == (0.3, None)
    with pytest.raises(InputError, match="query 'b'"):
        seed_spread([frame(a=0.2, b=0.4), frame(a=0.4)])


def test_the_command_compares_two_entries_of_the_ledger(tmp_path, capsys):
    def enter(checkpoint, seed, **scores):
        ledger_frame = frame(**scores).assign(mrr_at_10=0.5)
        tasks = {"T": {"split": "test"}}
        recipe = "guide" if checkpoint == "finetuned" else None
        write_entry(
            tmp_path,
            Entry("tiny", checkpoint, seed, recipe=recipe, scores={}, tasks=tasks),
            ledger_frame,
        )

    enter("base", 42, a=0.2, b=0.5, c=0.7, d=0.4)
    enter("finetuned", 42, a=0.5, b=0.6, c=0.5, d=0.4)
    enter("finetuned", 43, a=0.7, b=0.6, c=0.7, d=0.4)
    names = ["tiny/base-seed42", "tiny/finetuned-guide-seed42"]
    command = ["compare", *names, "--results", str(tmp_path), "--expected", str(EXPECTED)]
    assert main(command) == 0
    told = capsys.readouterr().out
    [row] = [line.split() for line in told.splitlines() if line.startswith("T ")][:1]
    assert row[:5] == ["T", "4", "45.0", "50.0", "+5.00"]
    assert row[-3:] == ["0.7500", "0.7500", "2/1/1"]
    # Seeds 42 and 43 have the means 0.5 and 0.6.
    assert "tiny/finetuned-guide over the seeds 42, 43" in told
    assert told.splitlines()[-1].split() == ["T", "55.0", "7.07"]
    assert "tiny/base over the seeds" not in told
    assert main([*command, "--metric", "mrr_at_10"]) == 0
    assert "0/0/4" in capsys.readouterr().out
    assert main(["compare", names[0], "tiny/none-seed1", "--results", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("error: ")


def test_the_command_compares_what_both_scored(tmp_path, capsys):
    def enter(model, **tasks):
        rows = pd.concat([frame(task, **scores) for task, scores in tasks.items()])
        named = {task: {"split": "test"} for task in tasks}
        write_entry(tmp_path, Entry(model, "base", 42, {}, named), rows.assign(mrr_at_10=0.5))

    enter("17m", SciFact={"a": 0.5, "b": 0.5}, NQ={"a": 0.5}, FEVER={"a": 0.5})
    enter("1b", SciFact={"a": 0.75, "b": 0.5}, Touche2020={"a": 0.5})
    enter("own", contracts={"a": 0.5})
    command = ["compare", "--results", str(tmp_path), "--expected", str(EXPECTED)]
    assert main([*command, "17m/base-seed42", "1b/base-seed42"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in told if line.startswith(("SciFact", "NQ"))] == ["SciFact"]
    assert "left out, scored by A alone: FEVER, NQ" in told
    assert "left out, scored by B alone: Touche2020" in told
    assert main([*command, "17m/base-seed42", "own/base-seed42"]) == 1
    assert "have no task in common" in capsys.readouterr().err
