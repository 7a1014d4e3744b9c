"""Rows of scores, means over domains, and the document in its formats."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from ettin_retrieval.reports.documents import Table
from ettin_retrieval.studies.domains import domain_of
from ettin_retrieval.studies.report import Report, domain_means, ndcg_rows, tasks_of
from ettin_retrieval.tasks import AVERAGE_ENG_V2, ENG_V2_TASKS
from tests.unit.studies.inputs import SCIENTIFIC_TASKS, WEB_TASKS, arm, outcome, scores


def test_a_task_with_a_smaller_corpus_keeps_its_domain() -> None:
    assert domain_of("SciFact-subsampled-1000") == domain_of("SciFact") == "scientific"


def test_rows_are_in_order_of_domain_and_task() -> None:
    flat = dict(reversed(scores(0.2, 0.6).items())) | {"ArguAna.ndcg_at_10": 0.4}
    one = {1: outcome({}, flat)}
    rows = ndcg_rows({"one": one, "other": one})
    assert [row.task for row in rows] == [*WEB_TASKS, *SCIENTIFIC_TASKS, "ArguAna"]
    assert [row.domain for row in rows] == ["web"] * 2 + ["scientific"] * 2 + ["other"]
    assert rows[0].scores == {"one": [0.2], "other": [0.2]}, "no metric but nDCG@10"


def test_two_forums_beside_cqadupstack_do_not_count_twice() -> None:
    names = ["CQADupstackRetrieval", "CQADupstackGamingRetrieval", "SciFact"]
    flat = {f"{name}.ndcg_at_10": 0.5 for name in names}
    rows = ndcg_rows({"one": {1: outcome({}, flat)}})
    assert tasks_of(rows, "average") == ["SciFact", "CQADupstackRetrieval"]


def test_domain_means_are_over_the_tasks_of_a_domain() -> None:
    arms = {"one": arm((0.2, 0.6), (0.4, 0.6)), "other": arm((0.1, 0.3), (0.1, 0.3))}
    means = domain_means(ndcg_rows(arms))
    assert list(means) == ["web", "scientific", "average"]
    assert means["web"]["one"] == pytest.approx([0.2, 0.4])
    assert means["average"]["one"] == pytest.approx([0.4, 0.5])
    assert means["average"]["other"] == pytest.approx([0.2, 0.2])


def test_the_tasks_of_eng_v2_have_means_of_both_domains() -> None:
    flat = {f"{name}.ndcg_at_10": 0.5 for name in ENG_V2_TASKS}
    rows = ndcg_rows({"one": {1: outcome({}, flat)}})
    assert list(domain_means(rows)) == ["web", "scientific", "other", "average"]


def test_a_report_is_written_in_every_format(tmp_path: Path) -> None:
    scored = scores(0.25, 0.5) | {AVERAGE_ENG_V2: 0.125}
    table = Table("caption", ("Task", "Score"), (("TinySciFact", "50.0"),))
    report = Report("Title", [table], ["A note."], {"base": {7: outcome({}, scored)}}, "a summary")
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "of an earlier run").touch()
    report.write(tmp_path / "study", "study", "tiny")
    written = {path.name: path.read_text() for path in (tmp_path / "study").iterdir()}
    assert set(written) == {f"study.{suffix}" for suffix in ("md", "tex", "csv", "json")}
    assert "| TinySciFact | 50.0 |" in written["study.md"]
    assert "Made by `dvc repro study` in studies/" in written["study.md"]
    rows = list(csv.DictReader(written["study.csv"].splitlines()))
    assert {(row["model"], row["checkpoint"], row["seed"]) for row in rows} == {
        ("tiny", "base", "7")
    }
    assert {row["metric"]: float(row["score"]) for row in rows} == scored
    averages = [AVERAGE_ENG_V2, "mteb_avg_ndcg_at_10"]
    assert sorted(row["metric"] for row in rows[:2]) == sorted(averages), "averages come first"
    assert [row["metric"] for row in rows] == [
        row["metric"] for row in json.loads(written["study.json"])["rows"]
    ]


def test_a_picture_has_the_same_bytes_whatever_the_user_s_style(tmp_path: Path) -> None:
    from matplotlib import pyplot as plt
    from matplotlib.figure import Figure

    def draw() -> Figure:
        figure, axes = plt.subplots()
        axes.plot([0, 1], [0, 1])
        return figure

    report = Report("Title", [], [], {}, "", draw)
    report.write(tmp_path, "study", "tiny")
    picture = (tmp_path / "study.png").read_bytes()
    with plt.rc_context({"lines.linewidth": 7, "font.size": 20}):
        report.write(tmp_path, "study", "tiny")
    assert (tmp_path / "study.png").read_bytes() == picture
    assert b"Software" not in picture, "no version of matplotlib"
