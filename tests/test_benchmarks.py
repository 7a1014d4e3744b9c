"""The benchmarks' own logic on hand-made records, and each of them once at toy size."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from benchmarks import (
    encoding,
    evaluation_memory,
    finetuning,
    gpu,
    growth,
    mining,
    pipeline,
    run,
    search,
)
from benchmarks.check import regressions
from benchmarks.contest import Contest, Runs, disturbance
from benchmarks.record import Figure, NotRun, Ratio, Section, read_sections, write_sections
from benchmarks.table import page

from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.settings.load import load_settings

ROOT = Path(__file__).resolve().parents[1]


def section(
    *ratios: Ratio, inputs: dict[str, Any] | None = None, **more: Any
) -> dict[str, Section]:
    made = Section("search", "Search", inputs or {"documents": 10}, ratios=list(ratios), **more)
    return {"search": made}


# ---------------------------------------------------------------------------------------------
# The check


def test_a_ratio_may_lose_a_tenth_and_no_more() -> None:
    recorded = section(Ratio("speed", [5.0]), Ratio("memory", [2.0]))
    assert regressions(recorded, section(Ratio("speed", [4.51]), Ratio("memory", [9.0]))) == []
    assert regressions(recorded, section(Ratio("speed", [4.4]), Ratio("memory", [1.7]))) == [
        "search: speed: 4.40, 12% below the recorded 5.00",
        "search: memory: 1.70, 15% below the recorded 2.00",
    ]


def test_one_disturbed_repetition_is_no_regression() -> None:
    recorded = section(Ratio("speed", [5.0, 5.1, 4.9]))
    assert regressions(recorded, section(Ratio("speed", [5.0, 0.5, 5.2]))) == []


def test_a_ratio_that_is_gone_fails_the_check() -> None:
    lines = regressions(section(Ratio("speed", [5.0])), section())
    assert lines == ["search: speed: recorded, but not measured now"]


def test_other_sizes_are_not_compared() -> None:
    measured = section(Ratio("speed", [5.0]), inputs={"documents": 20})
    (line,) = regressions(section(Ratio("speed", [5.0])), measured)
    assert line == "search: measured at other sizes than recorded: documents 20 instead of 10"


def test_what_was_never_recorded_fails_the_check() -> None:
    (line,) = regressions({}, section(Ratio("speed", [5.0])))
    assert "nothing is recorded" in line


def test_a_new_ratio_and_unmeasured_benchmarks_are_no_regression() -> None:
    assert regressions(section(), section(Ratio("speed", [5.0]))) == []
    assert regressions(section(Ratio("speed", [5.0])), {}) == []


def test_a_figure_above_its_bound_fails_the_check() -> None:
    slow = section(figures=[Figure("--help", 0.7, "s", at_most=0.5)])
    assert regressions(section(), slow) == ["search: --help: 0.70 s, more than 0.5 s"]


# ---------------------------------------------------------------------------------------------
# Records and the table


def test_records_survive_the_file(tmp_path: Path) -> None:
    sections = section(
        Ratio("speed", [5.0, 4.0], 5.0),
        runs={"ours": [{"seconds": 1.5}]},
        figures=[Figure("start", 0.25, "s", 0.5)],
        not_run=[NotRun("bf16", "no such arithmetic", 2.0)],
    )
    write_sections(sections, tmp_path / "results.json")
    assert read_sections(tmp_path / "results.json") == sections
    assert read_sections(tmp_path / "none.json") == {}


def test_the_table_sets_goals_beside_figures() -> None:
    told = page(
        section(
            Ratio("speed", [6.0], 5.0),
            Ratio("memory", [0.5], 1.0),
            not_run=[NotRun("bf16", "no such arithmetic", 2.0)],
        )
    )
    assert "| speed | 6.00 | 5.00 | met |" in told
    assert "| memory | 0.50 | 1.00 | missed |" in told
    assert "| bf16 | not run | 2.00 | no such arithmetic |" in told


# ---------------------------------------------------------------------------------------------
# The command


def test_results_are_kept_and_checked_against(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--only", "startup", "--repetitions", "1", "--output", str(tmp_path)]
    assert run.main(["--check", *options]) == 1
    assert "nothing is recorded to compare with" in capsys.readouterr().err
    assert run.main(options) == 0
    assert "python alone" in (tmp_path / "table.md").read_text(encoding="utf-8")
    assert read_sections(tmp_path / "results.json")["startup"].machine["cores"]


def test_a_regression_counts_if_a_second_measurement_shows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_sections(section(Ratio("speed", [5.0])), tmp_path / "results.json")
    options = ["--check", "--only", "search", "--output", str(tmp_path)]
    measured: list[float] = []
    monkeypatch.setattr(
        run, "measure", lambda *_: section(Ratio("speed", [measured.pop(0)]))["search"]
    )
    for values, failed in ([5.0], 0), ([3.0, 4.9], 0), ([3.0, 4.0], 1):
        measured[:] = values
        assert run.main(options) == failed
        assert not measured
    said = capsys.readouterr()
    assert said.err.count("search: measuring again") == 2
    assert said.out.splitlines()[-1] == "search: speed: 4.00, 20% below the recorded 5.00"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--only", "serach"], "no benchmark 'serach'"),
        (["--only", "search", "--size", "search.docs=5"], "search has no 'docs'"),
        (["--only", "search", "--size", "search.documents=many"], "'many' is no whole number"),
    ],
)
def test_a_mistake_is_one_line(
    options: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run.main(options) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line


# ---------------------------------------------------------------------------------------------
# The contest


LOOP = "benchmarks.mining:guides_loop"
TOY = {"documents": 50, "queries": 4, "dimensions": 8, "top_k": 10, "negatives": 2}


def test_contenders_run_in_processes_of_their_own() -> None:
    with Contest({"a": LOOP, "b": LOOP}) as contest:
        contest.prepare(TOY)
        runs = contest.run(3)
    assert [len(runs[name]) for name in ("a", "b")] == [3, 3]
    for found in runs["a"] + runs["b"]:
        assert found["seconds"] > 0
        assert found["peak_mib"] > 20 and found["above_mib"] >= 0
        assert found["pairs"] == 4


def test_a_contender_that_fails_says_why() -> None:
    with (
        pytest.raises(RuntimeError, match="a ended without an answer"),
        Contest({"a": LOOP}) as one,
    ):
        one.prepare(TOY | {"documents": "x"})


def test_a_repetition_on_an_unsteady_machine_is_run_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    speeds = iter([[90, 91], [60, 90], [90, 88], [91, 90], *[[50, 90]] * 6])
    asked: list[str] = []

    class Bare(Contest):
        def __init__(self) -> None:
            self.workers = dict.fromkeys(["a", "b"])  # type: ignore[assignment]
            self.resting = {"a": 5.0, "b": 5.0}

        def _send(self, name: str, message: dict[str, Any]) -> None:
            asked.append(name)

        def _answer(self, name: str) -> dict[str, Any]:
            return {
                "seconds": len(asked),
                "peak_mib": 7.0,
                "machine_gflops_per_second": next(speeds),
            }

    contest = Bare()
    assert disturbance(contest.run(0)) == []
    # Disturbed while b ran, then steady: the second attempt counts.
    runs = contest.run(1)
    assert [runs[name][0]["seconds"] for name in "ab"] == [3, 4]
    assert runs["a"][0]["attempts"] == 2 and runs["a"][0]["steady"]
    # Disturbed all three times: no more attempts, and the note says so.
    runs = contest.run(1)
    assert len(asked) == 10
    (note,) = disturbance(runs)
    assert "over 15%" in note and "2 of 2 runs; 2 were no steadier" in note


def test_memory_that_grows_with_the_corpus_misses_its_goal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        evaluation_memory,
        "in_process",
        lambda passages, _: {"before": 1.0, "peak_mib": 100 + passages / 1e4, "seconds": 1.0},
    )
    grown = evaluation_memory.measure(evaluation_memory.SIZES, 1)
    (figure,) = grown.figures
    assert figure.value == pytest.approx(200 / 110)
    assert "at most 1.2 times | missed" in page({"evaluation_memory": grown})
    assert regressions({"evaluation_memory": grown}, {"evaluation_memory": grown})


def test_an_evaluation_s_memory_is_measured_by_scoring_a_collection(tmp_path: Path) -> None:
    evaluation_memory.write_collection(tmp_path / "RandomPassages", 40, 3)
    found = evaluation_memory.score(tmp_path / "RandomPassages")
    assert found["peak_mib"] >= found["before"] > 0


def test_bf16_s_effect_is_a_row_where_bf16_runs(
    monkeypatch: pytest.MonkeyPatch, rehearsal: None
) -> None:
    monkeypatch.setattr(encoding, "bf16_is_emulated", lambda: None)
    # Here bf16 may be emulated, which takes minutes: the row is what is asked for.
    monkeypatch.setattr(encoding, "ours_bf16", encoding.ours_fp32)
    monkeypatch.setattr(encoding, "theirs_bf16", encoding.theirs_fp32)
    found = encoding.measure({"documents": 4, "queries": 2}, 1)
    effect = found.ratio(encoding.BF16_EFFECT)
    assert effect is not None and effect.median == pytest.approx(1.0)
    assert found.not_run == []


class Rehearsal:
    """A contest without processes: the same calls, in this one."""

    def __init__(self, contenders: dict[str, str]) -> None:
        self.contenders = contenders
        self.jobs: dict[str, Any] = {}

    def __enter__(self) -> Rehearsal:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def warm_up(self, inputs: dict[str, Any]) -> None:
        pass

    def prepare(self, inputs: dict[str, Any]) -> None:
        for name, where in self.contenders.items():
            module, function = where.split(":")
            self.jobs[name] = getattr(sys.modules[module], function)(inputs)

    def run(self, repetitions: int) -> Runs:
        return {
            name: [job() | {"peak_mib": 2.0, "above_mib": 1.0} for _ in range(repetitions)]
            for name, job in self.jobs.items()
        }


@pytest.fixture
def rehearsal(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    from ettin_retrieval.mining import candidates as negatives

    # Contenders replace this for their process; here it is put back.
    monkeypatch.setattr(negatives, "encode", negatives.encode)
    monkeypatch.delenv(encoding.SCIFACT, raising=False)
    for module in (encoding, search, mining, finetuning, growth, gpu):
        monkeypatch.setattr(module, "Contest", Rehearsal)
    yield


@pytest.mark.parametrize(
    ("module", "sizes"),
    [
        (search, {"documents": 60, "queries": 5, "dimensions": 8}),
        (mining, TOY),
        (encoding, {"documents": 8, "queries": 2}),
    ],
    ids=["search", "mining", "encoding"],
)
def test_every_contender_works(module: ModuleType, sizes: dict[str, Any], rehearsal: None) -> None:
    found = module.measure(sizes, 1)
    assert all(len(done) == 1 and done[0]["seconds"] > 0 for done in found.runs.values())
    assert all(ratio.median > 0 for ratio in found.ratios)
    page({found.benchmark: found})


def test_ours_and_mtebs_search_score_alike(rehearsal: None) -> None:
    found = search.measure({"documents": 300, "queries": 20, "dimensions": 16}, 1)
    scores = [found.runs[name][0]["ndcg_at_10"] for name in ("ours", "mteb")]
    assert scores[0] == pytest.approx(scores[1], abs=1e-6)
    assert 0 < scores[0] < 1


def test_all_mine_negatives_for_every_query(rehearsal: None) -> None:
    found = mining.measure(TOY, 1)
    assert {name: done[0]["pairs"] for name, done in found.runs.items()} == dict.fromkeys(
        mining.CONTENDERS, TOY["queries"]
    )


def test_all_train_from_the_same_start(rehearsal: None) -> None:
    sizes = {"pairs": 32, "epochs": 1, "batch_size": 16, "dev_queries": 5, "dev_passages": 20}
    found = finetuning.measure(sizes, 1)
    for done in found.runs.values():
        assert done[0]["pairs_per_second"] > 0
        assert 0 <= done[0]["dev_ndcg_at_10"] <= 1


def test_unpadded_attention_gives_what_padded_gives(rehearsal: None) -> None:
    # Longer than the window of 128 tokens, so that local and global layers differ.
    found = gpu.measure({"shapes": "tiny", "texts": 4, "longest": 300}, 1)
    full, bare, _ = (found.runs[f"tiny, {name}"][0]["mean_square"] for name in gpu.CONTENDERS)
    assert bare == pytest.approx(full, rel=1e-5)
    # Our encode reads texts of the same numbers of tokens, from strings.
    tokens = {
        run["tokens_per_second"] * run["seconds"] for done in found.runs.values() for run in done
    }
    assert max(tokens) == pytest.approx(min(tokens), abs=8)
    assert found.ratio("tiny, our encode against a padded forward pass")


def test_without_a_gpu_the_table_says_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    found = gpu.measure(gpu.SIZES, 1)
    assert [missing.reason for missing in found.not_run] == ["no GPU here"] * 3


def test_growth_is_drawn_the_same_each_time(rehearsal: None, tmp_path: Path) -> None:
    found = growth.measure({"documents": 40, "queries": 4, "dimensions": 8}, 1)
    assert len(found.runs) == 3 * 3 * len(growth.FACTORS)
    for name in ("one.png", "two.png"):
        growth.draw(found, tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_the_pipeline_is_measured_in_a_clone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rates = []

    def repro(clone: Path) -> float:
        rates.append(load_settings(clone / "params.yaml").learning_rate)
        return {0: 100.0, 1: 2.0, 2: 50.0}[len(rates) - 1]

    monkeypatch.setattr(pipeline, "repro", repro)
    monkeypatch.setattr(pipeline, "costs", lambda _: {"models/base": {"peak_memory_mib": 300}})
    before = (ROOT / "params.yaml").read_bytes()
    found = pipeline.measure(pipeline.SIZES, 1)
    assert [ratio.median for ratio in found.ratios] == [50.0, 2.0]
    assert [figure.value for figure in found.figures] == [300.0]
    assert rates[0] == rates[1] != rates[2]
    assert (ROOT / "params.yaml").read_bytes() == before


def test_bf16_is_left_out_where_it_is_emulated(
    monkeypatch: pytest.MonkeyPatch, rehearsal: None
) -> None:
    monkeypatch.setattr(encoding, "bf16_is_emulated", lambda: "too slow")
    found = encoding.measure({"documents": 4, "queries": 1}, 1)
    assert all("fp32" in name for name in found.runs)
    assert {missing.reason for missing in found.not_run} == {"too slow"}


def test_sizes_are_checked_by_benchmark() -> None:
    assert run.sizes_of("search", ["search.documents=7"])["documents"] == 7
    with pytest.raises(InputError):
        run.sizes_of("search", ["search.documents=-7"])
