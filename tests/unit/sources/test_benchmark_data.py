"""Which tasks a benchmark has, which mteb task a BEIR directory is, and cut corpora."""

from __future__ import annotations

from pathlib import Path

import pytest

from ettin_retrieval.data.dataset import RetrievalDataset
from ettin_retrieval.data.storage import read_dataset
from ettin_retrieval.ledger.results import task_records
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.runtime.files import read_json
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


def with_flaws(directory: Path) -> Path:
    """A collection with every query's text as a passage of the query's id, and a lost passage."""
    write_collection(directory)
    queries = (directory / "queries.jsonl").read_text()
    with (directory / "corpus.jsonl").open("a") as corpus:
        corpus.write(queries)
    with (directory / "qrels" / "test.tsv").open("a") as qrels:
        qrels.write("q0-0\tlost\t1\nq0-0\theating1\t-1\n")
    return directory


@pytest.mark.parametrize(
    ("name", "task", "rule", "said"),
    [
        ("arguana", "ArguAna", "left out", "is left out, as in mteb's task"),
        ("leases", "leases", "scored", "counts like any other, as in mteb, which leaves it out"),
    ],
)
def test_flaws_and_hits_on_the_own_id_are_said_and_recorded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, task: str, rule: str, said: str
) -> None:
    collection = with_flaws(tmp_path / name)
    write_benchmark(settings(collection), tmp_path / "benchmark")
    manifest = read_json(tmp_path / "benchmark" / task / "manifest.json")
    assert manifest["counts"]["relevant_judgments_of_missing_passages"] == 1
    assert manifest["notes"] == {
        "negative_scores_as_0": 1, "queries_with_id_of_a_passage": 8, "hit_on_own_id": rule,
    }  # fmt: skip
    lost, negative, own_ids = caplog.messages
    assert lost.startswith(
        f"{task}: judgments of a passage that is not in the corpus: 1, relevant: 1 (the first: "
        "query 'q0-0', passage 'lost'); not found, as in mteb"
    )
    assert negative.startswith(f"{task}: judgments with a score below 0: 1;")
    assert own_ids.startswith(
        f"{task}: queries with the id of a passage: 8 of 8; a query's hit on that passage {said}"
    )
    assert task_records(tmp_path / "benchmark")[task]["hit_on_own_id"] == rule


def test_a_sound_collection_has_no_notes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_collection(tmp_path / "leases")
    write_benchmark(settings(tmp_path), tmp_path / "benchmark")
    assert read_json(tmp_path / "benchmark/leases/manifest.json")["notes"] == {}
    assert caplog.messages == []


def test_strict_judgments_refuse_a_missing_passage_by_line(tmp_path: Path) -> None:
    collection = with_flaws(tmp_path / "leases")
    strict = settings(collection).with_changes({"data.strict_judgments": True})
    with pytest.raises(InputError, match=r"qrels/test.tsv:10: corpus_id 'lost' is not in the corp"):
        write_benchmark(strict, tmp_path / "benchmark")
    assert not (tmp_path / "benchmark").exists()


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
