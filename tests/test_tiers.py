"""Which tasks a tier has, when there is an average, and what a cut corpus may be compared with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from ettin_retrieval import tasks as mteb_tasks
from ettin_retrieval.data.dataset import Origin, RetrievalDataset
from ettin_retrieval.data.storage import read_dataset
from ettin_retrieval.encoders.checkpoint import fingerprint
from ettin_retrieval.evaluation.tasks import task_for
from ettin_retrieval.interop.leaderboard import export_leaderboard
from ettin_retrieval.ledger.entry import Entry
from ettin_retrieval.reports.measure import Measured, measure, scored_tasks
from ettin_retrieval.reports.references import Expected, read_references
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.runtime.files import write_json
from ettin_retrieval.settings.load import load_settings
from ettin_retrieval.sources import benchmark_data
from ettin_retrieval.sources.mteb import expand
from ettin_retrieval.sources.subsampling import subsampled
from ettin_retrieval.sources.tiny import generator as synthetic
from ettin_retrieval.tasks import (
    AVERAGE,
    AVERAGE_ENG_V2,
    CQADUPSTACK_PARTS,
    ENG_V2_TASKS,
    GUIDE_TASKS,
    METRICS,
    flat_metrics,
)

ROOT = Path(__file__).resolve().parents[1]
GAMING, UNIX = "CQADupstackGamingRetrieval", "CQADupstackUnixRetrieval"


def flat(names: list[str], whole: bool = False, score: float = 0.5) -> dict[str, float]:
    return flat_metrics({name: dict.fromkeys(METRICS, score) for name in names}, whole)


def params(tmp_path: Path, old: str, new: str) -> Path:
    text = (ROOT / "params.yaml").read_text()
    assert old in text
    (tmp_path / "params.yaml").write_text(text.replace(old, new, 1))
    return tmp_path / "params.yaml"


def test_the_tiers_are_mtebs() -> None:
    import mteb

    tasks = mteb.get_benchmark("MTEB(eng, v2)").tasks
    retrieval = {t.metadata.name: t for t in tasks if t.metadata.type == "Retrieval"}
    assert set(ENG_V2_TASKS) == set(retrieval)
    assert {tuple(t.metadata.eval_splits) for t in retrieval.values()} == {("test",)}
    assert set(expand(["CQADupstackRetrieval"])) == CQADUPSTACK_PARTS
    assert expand(ENG_V2_TASKS) == list(ENG_V2_TASKS)
    assert read_references(ROOT / "expected").benchmarks["MTEB(eng, v2)"].keys() == retrieval.keys()


def test_an_average_of_some_tasks_is_no_average() -> None:
    assert AVERAGE not in flat(["TinySciFact"])
    assert flat(["TinySciFact"], whole=True)[AVERAGE] == 0.5
    assert AVERAGE not in flat(expand(GUIDE_TASKS[1:]))
    assert flat(expand(GUIDE_TASKS))[AVERAGE] == 0.5
    assert AVERAGE_ENG_V2 not in flat(list(ENG_V2_TASKS[1:]))


def test_cqadupstack_is_the_mean_of_its_twelve_parts() -> None:
    scores = {name: dict.fromkeys(METRICS, 0.2) for name in expand(GUIDE_TASKS)}
    scores["CQADupstackTexRetrieval"] = dict.fromkeys(METRICS, 0.8)
    folded = flat_metrics(scores, whole=True)
    assert folded["CQADupstackRetrieval.ndcg_at_10"] == pytest.approx((11 * 0.2 + 0.8) / 12)
    assert folded[AVERAGE] == pytest.approx((14 * 0.2 + 0.25) / 15)
    assert not any(key.startswith("CQADupstackTex") for key in folded)
    del scores["CQADupstackTexRetrieval"]
    parts = flat_metrics(scores, whole=False)
    assert "CQADupstackRetrieval.ndcg_at_10" not in parts
    assert parts[f"{UNIX}.ndcg_at_10"] == 0.2


def test_the_ten_tasks_have_names_and_an_average_of_their_own() -> None:
    ten = flat(list(ENG_V2_TASKS), whole=True)
    assert ten[AVERAGE_ENG_V2] == 0.5
    assert AVERAGE not in ten
    assert {f"{GAMING}.ndcg_at_10", f"{UNIX}.ndcg_at_10"} <= ten.keys()
    both = flat(list(dict.fromkeys([*expand(GUIDE_TASKS), *ENG_V2_TASKS])))
    assert {AVERAGE, AVERAGE_ENG_V2, "CQADupstackRetrieval.ndcg_at_10"} <= both.keys()
    assert f"{GAMING}.ndcg_at_10" in both


def test_the_paper_s_average_is_filled_by_the_ten_tasks() -> None:
    scores = flat(list(ENG_V2_TASKS), whole=True, score=0.48)
    entry = Entry(
        "1b", "finetuned", 42, recipe="paper", scores=scores,
        tasks={n: {"split": "test"} for n in ENG_V2_TASKS},
    )  # fmt: skip
    assert len(scored_tasks(entry)) == 10
    benchmarks = read_references(ROOT / "expected").benchmarks
    wanted = Expected(
        "1b", "finetuned", "MTEB(eng, v2)", None, "ndcg_at_10", 0.5, 0.005, "paper", None,
        recipe="paper",
    )  # fmt: skip
    assert measure([entry], wanted, benchmarks).value == pytest.approx(0.48)
    for guide in (replace(wanted, task="MTEB(eng, v1)"), replace(wanted, recipe="guide")):
        assert measure([entry], guide, benchmarks).value is None


@pytest.mark.parametrize(
    ("model", "tier", "source"),
    [
        ("tiny", "auto", "synthetic"),
        ("1b", "auto", "mteb"),
        ("1b", "smoke", "synthetic"),
        ("tiny", "guide", "mteb"),
        ("local", "eng-v2", "mteb"),
    ],
)
def test_a_tier_names_its_source(tmp_path: Path, model: str, tier: str, source: str) -> None:
    path = params(tmp_path, "tasks: auto", f"tasks: {tier}")
    path.write_text(path.read_text().replace("model: tiny", f"model: {model}", 1))
    assert load_settings(path).benchmark_source == source


def test_a_tier_of_another_source_is_refused(tmp_path: Path) -> None:
    path = params(tmp_path, "tasks: auto", "tasks: eng-v2")
    path.write_text(path.read_text().replace("benchmark: auto ", "benchmark: synthetic "))
    with pytest.raises(InputError, match=r"evaluation\.tasks: eng-v2 is of data\.benchmark mteb"):
        load_settings(path)


def test_an_unknown_tier_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a list or auto, smoke, guide or eng-v2"):
        load_settings(params(tmp_path, "tasks: auto", "tasks: beir"))


@pytest.fixture(scope="module")
def dataset() -> RetrievalDataset:
    return synthetic.benchmark()["TinySciFact"]


def test_a_cut_corpus_keeps_what_is_judged_and_is_the_same_each_time(
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
    # Never fewer than the judged passages, and never a mark on a corpus that is whole.
    assert set(subsampled("TinySciFact", dataset, 1)[1].corpus["id"]) == judged
    for size_of_all in (None, len(dataset.corpus)):
        assert subsampled("TinySciFact", dataset, size_of_all) == ("TinySciFact", dataset)


def test_a_cut_task_keeps_mtebs_class_under_a_name_of_its_own() -> None:
    corpus = pd.DataFrame({"id": ["a", "b"], "title": "", "text": ["x", "y"]})
    queries = pd.DataFrame({"id": ["a"], "text": ["x"]})
    qrels = pd.DataFrame({"query_id": ["a"], "corpus_id": ["b"], "score": [1]})
    small = RetrievalDataset(corpus, queries, qrels, Origin("s", "1", "CC0-1.0", "test"))
    task = task_for("ArguAna-subsampled-2", small)
    assert task.metadata.name == "ArguAna-subsampled-2"
    assert task.ignore_identical_ids  # as ArguAna's own class says
    assert task.metadata.dataset == {"path": "s", "revision": "1"}


def test_a_cut_task_is_never_compared_with_the_whole_one() -> None:
    cut = "SciFact-subsampled-100"
    scores = flat([cut], whole=True)
    assert AVERAGE not in scores
    entry = Entry("1b", "base", 42, scores, {cut: {"split": "test"}})
    assert scored_tasks(entry) == {cut: "test"}  # the table of tasks shows it, so named
    wanted = Expected("1b", "base", "SciFact", "test", "ndcg_at_10", 0.7, 0.01, "guide", None)
    assert measure([entry], wanted, {}) == Measured(None, reason="subsampled")
    average = Expected("1b", "base", "MTEB(eng, v1)", None, "ndcg_at_10", 0.7, 0.01, "g", None)
    benchmarks = read_references(ROOT / "expected").benchmarks
    assert measure([entry], average, benchmarks) == Measured(None, reason="subsampled")


def test_a_cut_task_s_result_is_not_published(tmp_path: Path) -> None:
    result = {"dataset_revision": "1", "task_name": "SciFact-subsampled-10", "mteb_version": "2"}
    result |= {"scores": {}, "evaluation_time": None, "kg_co2_emissions": None}
    write_json(tmp_path / "SciFact-subsampled-10.json", result)
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "config.json").write_text("{}")
    record = {"fingerprint": fingerprint(tmp_path / "checkpoint"), "source": "embedded"}
    write_json(tmp_path / "checkpoint" / "checkpoint.json", record)
    with pytest.raises(InputError, match="a part of the corpus"):
        export_leaderboard(tmp_path, tmp_path / "checkpoint", tmp_path / "out")


def test_the_stage_writes_cut_corpora_under_their_names(tmp_path: Path) -> None:
    settings = load_settings(params(tmp_path, "max_corpus_size: null", "max_corpus_size: 1050"))
    paths = {"local": tmp_path, "benchmark": tmp_path / "benchmark"}
    benchmark_data.body(settings, paths)
    names = sorted(path.name for path in paths["benchmark"].iterdir())
    whole = {name: len(task.corpus) for name, task in synthetic.benchmark().items()}
    assert names == sorted(
        f"{name}-subsampled-1050" if size > 1050 else name for name, size in whole.items()
    )
    cut = next(name for name in names if "-subsampled-" in name)
    assert len(read_dataset(paths["benchmark"] / cut).corpus) == 1050


def test_split_of_every_tier_task() -> None:
    assert mteb_tasks.split_of("MSMARCO") == "dev"
    assert {mteb_tasks.split_of(name) for name in ENG_V2_TASKS} == {"test"}
    assert mteb_tasks.split_of("NanoSciFactRetrieval") == "train"
    assert mteb_tasks.split_of("BrightBiologyRetrieval") == "standard"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("BrightRetrieval", "BrightRetrieval has several subsets"),
        ("MIRACLRetrieval", "MIRACLRetrieval is in ara, ben, "),
        ("SciFact-PL", "SciFact-PL is in pol"),
        ("LEMBNeedleRetrieval", "LEMBNeedleRetrieval has the splits test_256, test_512, "),
        ("Banking77Classification", "is a Classification task"),
        ("SciFakt", "unknown task 'SciFakt'; did you mean SciFact"),
    ],
)
def test_tasks_that_cannot_be_read_are_refused_before_any_download(name: str, told: str) -> None:
    # The hub is out of reach: its first use would be another error.
    with pytest.raises(InputError) as refused:
        next(mteb_tasks.load(["SciFact", name]))
    assert told in str(refused.value)
