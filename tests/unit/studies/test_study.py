"""The frame of a study: samples, resumption, and the ledger; training is replaced."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ettin_retrieval.data.negatives import write_negatives
from ettin_retrieval.data.storage import write_dataset
from ettin_retrieval.encoders.checkpoint import fingerprint
from ettin_retrieval.ledger.store import read_ledger
from ettin_retrieval.pipeline import Paths
from ettin_retrieval.studies import study as module
from ettin_retrieval.studies.study import Study, sample
from tests import ledgers
from tests.unit.studies.inputs import SETTINGS, material
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
    names = ("benchmark", "encoder", "training", "negatives", "results")
    return {name: Path(name) for name in names}


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was trained: number of queries, seed and pooling of each encoder."""
    done: list[Any] = []

    def train(_start: Path, on: Any, _benchmark: Path, settings: Any, work: Path, how: Any) -> None:
        done.append((len(on.train.queries), settings.seed, how))
        (work / "finetuned").mkdir(parents=True)
        (work / "finetuned/checkpoint.json").write_text("{}")

    def measure(key: tuple[str, str, int], *_: object, **__: object) -> Any:
        model, checkpoint, seed = key
        return ledgers.measurement(model, checkpoint, {"T": SCORE}, seed=seed)

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
    assert study.train("shots3", SETTINGS, few)["T.ndcg_at_10"] == SCORE
    assert study.train("all", SETTINGS, pooling="cls")["T.ndcg_at_10"] == SCORE
    assert trained == [(3, 42, None), (20, 42, "cls")]
    names = [entry.name for entry in read_ledger(paths["results"])]
    assert names == ["tiny/all-seed42", "tiny/shots3-seed42"]


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
        train_on_another_benchmark,
    ],
    ids=["name", "seed", "precision", "queries", "pooling", "benchmark"],
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
