"""Which tasks a benchmark has, which mteb task a BEIR directory is, and cut corpora."""

from __future__ import annotations

from pathlib import Path

import pytest

from ettin_retrieval.data.dataset import RetrievalDataset
from ettin_retrieval.data.storage import read_dataset
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.settings.load import load_settings
from ettin_retrieval.settings.schema import Settings
from ettin_retrieval.sources import tiny
from ettin_retrieval.sources.benchmark_data import load_tasks, subsampled, write_benchmark
from ettin_retrieval.tasks import BEIR_TASKS, GUIDE_TASKS, expand, split_of, task_of_directory
from tests.collections import write_collection
from tests.workspace import ROOT


def settings(benchmark: Path, tasks: str | list[str] = "auto") -> Settings:
    changes = {"model": "local", "local.benchmark": str(benchmark), "evaluation.tasks": tasks}
    return load_settings(ROOT / "params.yaml").with_changes(changes)


def test_directories_named_like_beir_collections_are_mteb_tasks(tmp_path: Path) -> None:
    """Each with the split that mteb scores: `test` of MS MARCO is TREC-DL 2019, another task."""
    import mteb

    for name, task in BEIR_TASKS.items():
        assert [split_of(task)] == mteb.get_task(task).metadata.eval_splits
        assert task_of_directory(tmp_path / name) == (task, split_of(task))
    assert set(BEIR_TASKS.values()) == set(expand(GUIDE_TASKS))
    assert task_of_directory(tmp_path / "TRECCOVID") == ("TRECCOVID", "test")
    assert task_of_directory(tmp_path / "NanoNQRetrieval") == ("NanoNQRetrieval", "train")
    assert task_of_directory(tmp_path / "android") == ("android", "test"), "any other collection"


def test_ms_marco_is_scored_on_its_dev_judgments(tmp_path: Path) -> None:
    for name in ("msmarco", "cqadupstack/android"):
        write_collection(tmp_path / name)
    dev = tmp_path / "msmarco" / "qrels" / "dev.tsv"
    dev.write_text("q2-1\tparking1\t1\n")
    tasks = dict(load_tasks(settings(tmp_path)))
    assert list(tasks) == ["CQADupstackAndroidRetrieval", "MSMARCO"]
    assert tasks["MSMARCO"].origin.split == "dev"
    assert tasks["MSMARCO"].queries["id"].tolist() == ["q2-1"]


def test_two_directories_of_one_task_are_refused(tmp_path: Path) -> None:
    for name in ("msmarco", "MSMARCO"):
        write_collection(tmp_path / name)
    with pytest.raises(InputError, match=r"MSMARCO and \S+msmarco are both the task MSMARCO"):
        list(load_tasks(settings(tmp_path)))


def test_listed_tasks_are_selected_and_unknown_ones_refused(tmp_path: Path) -> None:
    for name in ("leases", "wills"):
        write_collection(tmp_path / name)
    assert [name for name, _ in load_tasks(settings(tmp_path))] == ["leases", "wills"]
    assert [name for name, _ in load_tasks(settings(tmp_path, ["wills"]))] == ["wills"]
    with pytest.raises(InputError, match=r"evaluation.tasks: 'deeds' is not in .*leases, wills"):
        list(load_tasks(settings(tmp_path, ["deeds"])))


@pytest.fixture(scope="module")
def dataset() -> RetrievalDataset:
    return tiny.benchmark()["TinySciFact"]


def test_a_cut_corpus_keeps_judged_passages_and_is_the_same_each_time(
    dataset: RetrievalDataset,
) -> None:
    judged = set(dataset.qrels["corpus_id"])
    size = len(judged) + 10
    name, cut = subsampled("TinySciFact", dataset, size)
    assert name == f"TinySciFact-subsampled-{size}"
    assert len(cut.corpus) == size
    assert judged < set(cut.corpus["id"]) < set(dataset.corpus["id"])
    assert cut.corpus.equals(subsampled("TinySciFact", dataset, size)[1].corpus)
    assert cut.manifest()["notes"]["subsampled_from"] == len(dataset.corpus)
    cut.validate()


def test_judged_passages_are_never_cut(dataset: RetrievalDataset) -> None:
    _, cut = subsampled("TinySciFact", dataset, 1)
    assert set(cut.corpus["id"]) == set(dataset.qrels["corpus_id"])


@pytest.mark.parametrize("larger", [False, True])
def test_a_whole_corpus_keeps_its_name(dataset: RetrievalDataset, larger: bool) -> None:
    size = len(dataset.corpus) if larger else None
    assert subsampled("TinySciFact", dataset, size) == ("TinySciFact", dataset)


def test_the_stage_writes_cut_corpora_under_their_names(tmp_path: Path) -> None:
    cut_to = load_settings(ROOT / "params.yaml").with_changes({"data.max_corpus_size": 1050})
    benchmark = tmp_path / "benchmark"
    write_benchmark(cut_to, benchmark)
    names = sorted(path.name for path in benchmark.iterdir())
    whole = {name: len(task.corpus) for name, task in tiny.benchmark().items()}
    assert names == sorted(
        f"{name}-subsampled-1050" if size > 1050 else name for name, size in whole.items()
    )
    cut = next(name for name in names if "-subsampled-" in name)
    assert len(read_dataset(benchmark / cut).corpus) == 1050
