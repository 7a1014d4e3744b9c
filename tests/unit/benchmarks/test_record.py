"""Records, their table, and the check against them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from benchmarks.harness import ROOT
from benchmarks.record import (
    Figure,
    Section,
    commit_and_machine,
    markdown,
    memory_ratio,
    ratios,
    read,
    regressions,
    write,
)

RUNS = {"ours": [{"seconds": 1.0, "work_mib": 100.0}, {"seconds": 2.0, "work_mib": 90.0}]}
RUNS |= {"peer": [{"seconds": 3.0, "work_mib": 20.0}, {"seconds": 4.0, "work_mib": 150.0}]}


def section(*figures: Figure, documents: int = 10, **more: Any) -> Section:
    return Section("Search", {"documents": documents}, list(figures), **more)


def test_a_ratio_is_taken_pair_by_pair() -> None:
    assert ratios(RUNS, "ours", "peer") == [3.0, 2.0]
    assert ratios(RUNS, "peer", "ours") == [pytest.approx(1 / 3), 0.5]
    assert ratios(RUNS, "ours", "peer", "work_mib") == [0.2, pytest.approx(150 / 90)]
    assert ratios(RUNS, "ours", "not run") == []


def test_memory_is_compared_at_its_peak() -> None:
    assert memory_ratio(RUNS, "ours", "peer") == [1.5]
    tiny = {"ours": [{"work_mib": 0.0}], "peer": [{"work_mib": 4.0}]}
    assert memory_ratio(tiny, "ours", "peer") == [4.0]


def test_a_ratio_may_lose_a_tenth_and_no_more() -> None:
    recorded = section(Figure("speed", [5.0]), Figure("memory", [2.0]))
    good = section(Figure("speed", [4.51]), Figure("memory", [9.0]))
    assert regressions(recorded, good) == []
    bad = section(Figure("speed", [4.4]), Figure("memory", [1.7]))
    assert regressions(recorded, bad) == [
        "speed: 4.40, 12% below the recorded 5.00",
        "memory: 1.70, 15% below the recorded 2.00",
    ]


def test_one_disturbed_repetition_is_no_regression() -> None:
    recorded = section(Figure("speed", [5.0, 5.1, 4.9]))
    assert regressions(recorded, section(Figure("speed", [5.0, 0.5, 5.2]))) == []


def test_a_ratio_that_is_gone_fails_the_check() -> None:
    lines = regressions(section(Figure("speed", [5.0])), section())
    assert lines == ["speed: recorded, but not measured now"]


def test_a_ratio_that_this_machine_cannot_measure_is_not_compared() -> None:
    assert regressions(section(Figure("bf16", [5.0])), section(Figure("bf16", []))) == []


def test_other_sizes_are_not_compared() -> None:
    (line,) = regressions(section(), section(Figure("speed", [5.0]), documents=20))
    assert line == "measured on {'documents': 20}, recorded on {'documents': 10}"


def test_what_was_never_recorded_fails_the_check() -> None:
    (line,) = regressions(None, section(Figure("speed", [5.0])))
    assert "nothing is recorded" in line


def test_a_new_ratio_is_no_regression() -> None:
    assert regressions(section(), section(Figure("speed", [5.0]))) == []


@pytest.mark.parametrize("recorded", [[Figure("--help", [0.2], 0.5, "s")], []])
def test_a_figure_above_its_bound_fails_the_check(recorded: list[Figure]) -> None:
    slow = section(Figure("--help", [0.7], 0.5, "s"))
    assert regressions(section(*recorded), slow) == ["--help: 0.7 s, more than 0.5"]


def test_records_survive_the_file(tmp_path: Path) -> None:
    made = section(
        Figure("speed", [5.0, 4.0], 5.0),
        Figure("start", [0.25], 0.5, "s"),
        Figure("bf16", [], 2.0),
        runs={"ours": [{"seconds": 1.5}]},
        notes=["A note."],
    )
    assert read(tmp_path) == {}
    write({"search": made}, tmp_path)
    assert read(tmp_path) == {"search": made}
    assert markdown(made) in (tmp_path / "table.md").read_text(encoding="utf-8")


def test_the_table_sets_goals_beside_figures() -> None:
    text = markdown(
        section(
            Figure("speed", [6.0, 5.5, 7.0], 5.0),
            Figure("memory", [0.5], 1.0),
            Figure("start", [0.25], 0.5, "s"),
            Figure("bf16", [], 2.0),
            runs=RUNS,
            notes=["No bf16 arithmetic.", ""],
            measured="Commit abc.",
        )
    )
    assert "| speed | 6 (5.5 to 7) | at least 5 | met |" in text
    assert "| memory | 0.5 | at least 1 | missed |" in text
    assert "| start | 0.25 s | at most 0.5 | met |" in text
    assert "| bf16 | not run | at least 2 |  |" in text
    assert "| contender | seconds | work MiB |" in text
    assert "| peer | 3.5 (3 to 4) | 85 (20 to 150) |" in text
    assert text.endswith("- No bf16 arithmetic.\n- Commit abc.\n")


def test_a_median_on_the_goal_is_met() -> None:
    assert not Figure("speed", [5.0], 5.0).is_missed
    assert not Figure("start", [0.5], 0.5, "s").is_missed
    assert Figure("start", [0.4, 0.6, 0.7], 0.5, "s").is_missed


def test_the_committed_table_is_made_from_the_committed_record(tmp_path: Path) -> None:
    write(read(ROOT / "benchmarks"), tmp_path)
    for name in ("results.json", "table.md"):
        assert (tmp_path / name).read_bytes() == (ROOT / "benchmarks" / name).read_bytes()


def test_every_recorded_figure_names_its_commit_and_machine() -> None:
    for made in read(ROOT / "benchmarks").values():
        assert made.measured.startswith("Commit ") and "cores" in made.measured
    assert commit_and_machine().startswith("Commit ")
