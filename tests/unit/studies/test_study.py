"""The frame of a study: samples, resumption, and the ledger; training is replaced."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ettin_retrieval.data.heldout import write_heldout
from ettin_retrieval.data.negatives import write_negatives
from ettin_retrieval.data.storage import write_dataset
from ettin_retrieval.encoders.checkpoint import fingerprint
from ettin_retrieval.ledger.store import read_ledger, read_measurement
from ettin_retrieval.pipeline import Paths
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.runtime.files import write_json
from ettin_retrieval.studies import study as module
from ettin_retrieval.studies.study import Rate, Study, sample
from ettin_retrieval.tasks import METRICS
from tests import ledgers
from tests.unit.studies.inputs import SETTINGS, dataset, material
from tests.workspace import ROOT

SCORE = 0.5


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """Inputs of a study in the working directory."""
    monkeypatch.chdir(tmp_path)
    Path("studies").mkdir()
    shutil.copy(ROOT / "studies/params.yaml", "studies")
    given = material()
    assert given.pairs is not None
    write_dataset(given.train, Path("training/train"))
    write_dataset(given.dev, Path("negatives/dev"))
    write_negatives(given.pairs, Path("negatives"))
    Path("encoder").mkdir()
    record = {"fingerprint": fingerprint(Path("encoder"))}
    Path("encoder/checkpoint.json").write_text(json.dumps(record))
    reads = ("benchmark", "heldout", "encoder", "training", "negatives", "base-scores")
    names = (*reads, "results")
    return {name: Path(name) for name in names}


def write_sweep(chosen: float, encoder: Path = Path("encoder"), name: str = "tiny-guide") -> None:
    record = {"encoder": fingerprint(encoder), "chosen": {"learning_rate": chosen}}
    write_json(Path("studies/sweeps") / f"{name}.json", record)


def learning_rates(paths: Paths) -> dict[str, dict[str, Any]]:
    """Checkpoint to the rate that its run's record has."""
    found = {}
    for entry in read_ledger(paths["results"]):
        (record,) = read_measurement(paths["results"], entry.name).records.values()
        found[entry.checkpoint] = record["learning_rate"]
    return found


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was trained: number of queries, seed and pooling of each encoder."""
    done: list[Any] = []

    def train(start: Path, on: Any, _benchmark: Path, settings: Any, work: Path, how: Any) -> None:
        assert start in (Path("encoder"), Path("stage1"))
        done.append((len(on.train.queries), settings.seed, how))
        (work / "finetuned").mkdir(parents=True)
        (work / "finetuned/checkpoint.json").write_text("{}")

    def measure(key: tuple[str, str, int], *given: Any, **__: object) -> Any:
        model, checkpoint, seed = key
        rate = given[2]["learning_rate"]
        return ledgers.measurement(model, checkpoint, {"T": SCORE}, seed=seed, learning_rate=rate)

    monkeypatch.setattr(module, "run_experiment", train)
    monkeypatch.setattr(module, "measurement", measure)
    return done


def test_samples_of_a_seed_are_nested() -> None:
    def queries(seed: int, count: int | None) -> set[str]:
        return set(sample(whole, seed, count).train.queries["id"])

    whole = material()
    assert len(queries(1, 3)) == 3
    assert queries(1, 3) < queries(1, 8) < queries(1, None) == set(whole.train.queries["id"])
    assert queries(1, 8) != queries(2, 8)
    few = sample(whole, 1, 3)
    assert few.pairs is not None
    assert {query for query, _, _ in few.pairs} == queries(1, 3)
    assert len(few.train.corpus) == 20, "passages stay, as negatives are among them"


def test_an_encoder_is_trained_and_written_to_the_ledger(paths: Paths, trained: list[Any]) -> None:
    study = Study("few_shot", SETTINGS, paths)
    few = sample(study.material, 1, 3)
    outcome = study.train("shots3", SETTINGS, few)
    assert outcome.scores["T.ndcg_at_10"] == SCORE
    assert outcome.queries["ndcg_at_10"].tolist() == [SCORE, SCORE]
    assert outcome.checkpoint and outcome.checkpoint.is_dir(), "the next stage starts from it"
    assert study.train("all", SETTINGS, pooling="cls").scores == outcome.scores
    assert trained == [(3, 42, None), (20, 42, "cls")]
    names = [entry.name for entry in read_ledger(paths["results"])]
    assert names == ["tiny/all-seed42", "tiny/shots3-seed42"]


def another_start() -> Path:
    """A checkpoint with other weights."""
    shutil.copytree("encoder", "stage1")
    Path("stage1/weights").touch()
    record = {"fingerprint": fingerprint(Path("stage1"))}
    Path("stage1/checkpoint.json").write_text(json.dumps(record))
    return Path("stage1")


def train_on_another_benchmark(study: Study) -> None:
    task = study.paths["benchmark"] / "T"
    task.mkdir(parents=True)
    (task / "manifest.json").write_text("{}")
    study.train("a", SETTINGS)


@pytest.mark.parametrize(
    "change",
    [
        lambda study: study.train("b", SETTINGS),
        lambda study: study.train("a", SETTINGS.with_changes({"seed": 43})),
        lambda study: study.train("a", SETTINGS.with_changes({"evaluation.precision": "bf16"})),
        lambda study: study.train("a", SETTINGS, sample(study.material, 1, 3)),
        lambda study: study.train("a", SETTINGS, pooling="cls"),
        lambda study: study.train("a", SETTINGS, start=another_start()),
        train_on_another_benchmark,
    ],
    ids=["name", "seed", "precision", "queries", "pooling", "start", "benchmark"],
)
def test_a_finished_encoder_is_trained_again_if_something_changed(
    paths: Paths, trained: list[Any], change: Callable[[Study], object]
) -> None:
    study = Study("few_shot", SETTINGS, paths)
    for _ in range(2):
        study.train("a", SETTINGS)
    assert len(trained) == 1
    change(study)
    assert len(trained) == 2


def test_an_interrupted_study_resumes(
    paths: Paths, trained: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    study = Study("few_shot", SETTINGS, paths)
    study.train("a", SETTINGS)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "run_experiment", interrupt)
        study.train("b", SETTINGS)
    assert (module.WORK / "few_shot").is_dir()
    resumed = Study("few_shot", SETTINGS, paths)
    for name in ("a", "b"):
        resumed.train(name, SETTINGS)
    assert len(trained) == 2, "the first is not trained again"
    resumed.close()
    assert not module.WORK.exists()


def test_the_ledger_drops_what_the_study_no_longer_has(paths: Paths, trained: list[Any]) -> None:
    for model, name in (("tiny", "old"), ("1b", "old")):
        ledgers.write(paths["results"], model, name, {"T": SCORE}, recipe="paper")
    study = Study("few_shot", SETTINGS, paths)
    study.train("new", SETTINGS)
    study.close()
    entries = [entry.name for entry in read_ledger(paths["results"])]
    assert entries == ["1b/old-seed42", "tiny/new-seed42"]
    files = {path.name for path in (paths["results"] / "tiny").iterdir()}
    assert {"new-seed42.json", "new-seed42.queries.parquet"} < files and len(files) == 3
    index = json.loads((paths["results"] / "ledger.json").read_text())
    assert len(index["sha256"]) == 6, "an entry, its queries and its run, twice"


def test_the_rate_is_that_of_the_sweep_of_the_same_encoder(paths: Paths) -> None:
    assert Study("few_shot", SETTINGS, paths).rate("contrastive") == Rate(0.002, False)
    write_sweep(0.25)
    study = Study("few_shot", SETTINGS, paths)
    assert study.settings.learning_rate == 0.25
    assert study.rate("contrastive") == Rate(0.25, True)
    assert study.rate("triplet") == Rate(0.25, False), "no sweep of this objective"
    write_sweep(0.5, name="tiny-guide-triplet")
    assert study.rate("triplet") == Rate(0.5, True)
    assert "0.25, chosen by the sweep of this encoder (studies/sweeps/tiny-guide.md)" in (
        study.rate_in_words()
    )


def test_a_rate_of_another_encoder_or_model_never_travels(paths: Paths) -> None:
    Path("other").mkdir()
    Path("other/weights").touch()
    for objective in ("", "-triplet"):
        write_sweep(0.25, Path("other"), f"tiny-guide{objective}")
        write_sweep(0.25, name=f"17m-guide{objective}")
    for model, own in (("tiny", 0.002), ("32m", 2e-05)):
        study = Study("few_shot", SETTINGS.with_changes({"model": model}), paths)
        for objective in ("contrastive", "triplet"):
            assert study.rate(objective) == Rate(own, False)
        assert "untuned: no sweep of this encoder" in study.rate_in_words()


def test_a_rate_that_params_yaml_names_stays(paths: Paths) -> None:
    write_sweep(0.25)
    for named, tuned in ((0.125, False), (0.25, True)):
        given = SETTINGS.with_changes({"finetuning.learning_rate": named})
        assert Study("few_shot", given, paths).rate("contrastive") == Rate(named, tuned)


def test_the_ledger_says_which_rates_are_tuned(paths: Paths, trained: list[Any]) -> None:
    write_sweep(0.25)
    study = Study("few_shot", SETTINGS, paths)
    study.train("reference", study.settings)
    study.train("cls", study.settings, pooling="cls")
    study.train("lower", study.settings.with_changes({"finetuning.learning_rate": 0.1}))
    study.train("stage2", study.settings, start=another_start())
    assert learning_rates(paths) == {
        "reference": {"value": 0.25, "tuned": True},
        "cls": {"value": 0.25, "tuned": False},
        "lower": {"value": 0.1, "tuned": False},
        "stage2": {"value": 0.25, "tuned": False},
    }


def test_the_base_encoder_has_the_pipeline_s_scores_for_every_seed(paths: Paths) -> None:
    task = paths["benchmark"] / "TinySciFact"
    task.mkdir(parents=True)
    (task / "manifest.json").write_text("{}")
    with pytest.raises(InputError, match="no scores of TinySciFact; run `dvc repro evaluate@base`"):
        Study("few_shot", SETTINGS, paths).base()
    columns = {key: [0.25, 0.75] for key in METRICS}
    paths["base-scores"].mkdir()
    scores = pd.DataFrame({"query_id": ["q0", "q1"], **columns})
    scores.to_parquet(paths["base-scores"] / "TinySciFact.queries.parquet")
    base = Study("few_shot", SETTINGS, paths).base()
    assert list(base) == [42, 43, 44]
    assert base[43].scores["TinySciFact.ndcg_at_10"] == 0.5
    assert base[43].queries["task"].tolist() == ["TinySciFact"] * 2


def test_both_domains_are_decontaminated_alike(paths: Paths) -> None:
    """As with the setting `answers`: that it is the task's own collection is no excuse."""
    given = dataset("train", 20)
    write_heldout([("T", given.with_queries(["q3"]))], "auto", paths["heldout"])
    others = [f"in other words {i}" for i in range(20)]
    shared = replace(given, queries=given.queries.assign(text=others))
    study = Study("cross_domain", SETTINGS, paths)
    clean, report = study.without_overlap({"web": shared, "scientific": given})
    assert [len(of.queries) for of in clean.values()] == [19, 19]
    assert all("q3" not in set(of.queries["id"]) for of in clean.values())
    assert report["web"]["tasks"]["T"]["queries_with_the_same_answer"] == 1
