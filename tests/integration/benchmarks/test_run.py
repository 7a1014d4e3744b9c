"""The command that measures, records and checks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from benchmarks import run
from benchmarks.record import Figure, Section, read, write


def section(*values: float) -> Section:
    return Section("Search", {}, [Figure("speed", list(values))])


def test_results_are_recorded_and_checked_against(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write({"search": section(5.0)}, tmp_path)
    assert run.check(["startup"], tmp_path) == 1
    assert "startup: nothing is recorded to compare with" in capsys.readouterr().out
    assert run.record(["startup"], tmp_path) == 0
    recorded = read(tmp_path)
    assert list(recorded) == ["search", "startup"], "the others stay, in the order of the table"
    assert set(recorded["startup"].runs) == {"ettin-retrieval --help", "python alone"}
    assert recorded["startup"].measured.startswith("Commit ")
    table = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert "python alone" in table and capsys.readouterr().out.strip() == table.strip()


def test_a_regression_counts_if_a_second_measurement_shows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write({"search": section(5.0)}, tmp_path)
    measured: list[float] = []
    monkeypatch.setattr(run, "measure", lambda _: section(measured.pop(0)))
    for values, failed in ([5.0], 0), ([3.0, 4.9], 0), ([3.0, 4.0], 1):
        measured[:] = values
        assert run.check(["search"], tmp_path) == failed
        assert not measured
    said = capsys.readouterr()
    assert said.err.count("search: measuring again") == 2
    assert said.out.splitlines()[-1] == "search: speed: 4.00, 20% below the recorded 5.00"
    assert read(tmp_path) == {"search": section(5.0)}, "a check records nothing"


def test_a_benchmark_that_does_not_exist_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run.main(["--only", "serach"])
    assert "no benchmark 'serach'; choose from encoding, search" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "called", "names"),
    [
        ([], "record", list(run.BENCHMARKS)),
        (["--check"], "check", list(run.QUICK)),
        (["--check", "--only", "pipeline"], "check", ["pipeline"]),
        (["--only", "search,encoding"], "record", ["search", "encoding"]),
    ],
)
def test_options_choose_the_benchmarks(
    options: list[str], called: str, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: dict[str, Any] = {}
    monkeypatch.setattr(run, "record", lambda given: calls.update(record=given))
    monkeypatch.setattr(run, "check", lambda given: calls.update(check=given))
    run.main(options)
    assert calls == {called: names}
