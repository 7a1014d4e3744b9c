"""Cut corpora."""

from __future__ import annotations

from pathlib import Path

import pytest

from ettin_retrieval.data.dataset import RetrievalDataset
from ettin_retrieval.data.storage import read_dataset
from ettin_retrieval.settings.load import load_settings
from ettin_retrieval.sources import benchmark_data, tiny
from ettin_retrieval.sources.subsampling import subsampled
from tests.small import ROOT


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
    settings = load_settings(ROOT / "params.yaml").with_changes({"data.max_corpus_size": 1050})
    benchmark = tmp_path / "benchmark"
    benchmark_data.run(settings, {"benchmark": benchmark})
    names = sorted(path.name for path in benchmark.iterdir())
    whole = {name: len(task.corpus) for name, task in tiny.benchmark().items()}
    assert names == sorted(
        f"{name}-subsampled-1050" if size > 1050 else name for name, size in whole.items()
    )
    cut = next(name for name in names if "-subsampled-" in name)
    assert len(read_dataset(benchmark / cut).corpus) == 1050
