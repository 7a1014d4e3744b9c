"""Numbers and lengths of texts: mteb's statistics, local collections, training sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ettin_retrieval.planning.sizes import SPREAD, Texts, tasks_of, training_set
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.settings.load import load_settings
from ettin_retrieval.settings.schema import Settings


def settings(**changes: Any) -> Settings:
    return load_settings().with_changes({"data.benchmark": "mteb"} | changes)


def test_task_sizes_are_mtebs() -> None:
    (marco,) = tasks_of(settings(), ["MSMARCO"])
    assert (marco.passages.number, marco.queries.number) == (8_841_823, 6_980)
    assert marco.passages.characters == pytest.approx(335.797, abs=1e-3)
    assert marco.queries.characters == pytest.approx(33.262, abs=1e-3)


def test_the_guides_tasks_are_26_parts_and_the_papers_are_10() -> None:
    names = [task.name for task in tasks_of(settings(), "guide")]
    assert len(names) == 14 + 12
    assert sum(name.startswith("CQADupstack") for name in names) == 12
    assert len(tasks_of(settings(), "eng-v2")) == 10
    assert [task.name for task in tasks_of(settings(), ["SciFact", "NFCorpus"])] == [
        "SciFact",
        "NFCorpus",
    ]


def test_a_cut_corpus_is_planned_as_cut() -> None:
    cut = settings(**{"data.max_corpus_size": 99})
    assert {task.passages.number for task in tasks_of(cut, "guide")} == {99}
    assert max(task.passages.number for task in tasks_of(settings(), "guide")) > 5_000_000


@pytest.mark.parametrize(
    ("benchmark", "name", "message"),
    [
        ("mteb", "SciFcat", "unknown task 'SciFcat'; did you mean SciFact"),
        ("tiny", "SciFact", "no SciFact; there are Tiny"),
    ],
)
def test_an_unknown_task_is_reported_in_one_line(benchmark: str, name: str, message: str) -> None:
    with pytest.raises(InputError, match=f"^.*evaluation.tasks: {message}.*$"):
        tasks_of(settings(**{"data.benchmark": benchmark}), [name])


def test_a_task_without_statistics_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    import mteb

    task = mteb.get_task("SciFact")
    monkeypatch.setattr(type(task.metadata), "descriptive_stats", None)
    with pytest.raises(InputError, match="mteb carries no statistics of 'SciFact'"):
        tasks_of(settings(), ["SciFact"])


def test_beirs_own_directories_are_planned_as_the_tasks_they_are_scored_as(tmp_path: Path) -> None:
    for name, passages in (("scifact", 3), ("cqadupstack/gis", 2), ("our-documents", 1)):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "corpus.jsonl").write_text('{"_id": "p", "text": "a"}\n' * passages)
        (tmp_path / name / "queries.jsonl").write_text('{"_id": "q", "text": "a"}\n')
    local = settings(**{"data.benchmark": "beir", "local.benchmark": str(tmp_path)})
    found = {task.name: task for task in tasks_of(local, "auto")}
    numbers = {name: task.passages.number for name, task in found.items()}
    assert numbers == {"SciFact": 3, "CQADupstackGisRetrieval": 2, "our-documents": 1}
    assert found["SciFact"].passages.characters == len('{"_id": "p", "text": "a"}\n')
    assert [task.name for task in tasks_of(local, ["SciFact"])] == ["SciFact"]


@pytest.mark.parametrize(
    ("changes", "queries", "passages"),
    [
        ({"data.train": "msmarco"}, 82_326, 8 * 82_326),
        ({"data.train": "msmarco", "data.msmarco_config": "v2.1"}, 808_731, 8_087_310),
        ({"data.train": "msmarco", "data.max_train_queries": 82_326 // 2}, 41_163, 4 * 82_326),
        ({"data.train": "triplets", "data.max_train_queries": 10**9}, 1_250_000, 2_500_000),
    ],
)
def test_sizes_of_training_sets(changes: dict[str, Any], queries: int, passages: int) -> None:
    train = training_set(settings(**changes))
    assert (train.queries.number, train.passages.number) == (queries, passages)


def test_the_training_set_of_a_directory_and_of_the_tiny_world(tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").write_text("12345\n" * 4)
    (tmp_path / "queries.jsonl").write_text("123\n" * 2)
    local = settings(**{"data.train": "beir", "local.train": str(tmp_path)})
    assert training_set(local)[1:] == (Texts(4, 6.0), Texts(2, 4.0))
    from ettin_retrieval.sources import tiny

    rows = tiny.training_rows()["train"]
    assert training_set(settings()).queries.number == len(rows)


def test_padded_length_is_that_of_the_longest_text_of_a_batch() -> None:
    mean = 420 / 4.5
    random = np.random.default_rng(42).lognormal(-(SPREAD**2) / 2, SPREAD, (2000, 256)) * mean + 2
    assert random.mean() == pytest.approx(mean + 2, rel=0.01)
    padded = Texts(10, 420.0).padded(256, 512)
    assert padded == pytest.approx(np.median(random.max(axis=1)), rel=0.05)
    assert padded > 2.5 * mean
