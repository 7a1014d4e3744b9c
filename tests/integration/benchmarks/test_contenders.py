"""Each benchmark once, on a miniature."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from benchmarks import encoding, finetuning, memory, mining, pipeline, search
from benchmarks.harness import ROOT, Contender, Inputs, Run, Runs, timed
from benchmarks.record import Section, regressions

from ettin_retrieval.settings.load import load_settings

PASSAGES = {"documents": 8, "queries": 2}
COLLECTION = {"documents": 50, "queries": 4, "dimensions": 8}


TRAINING = {"pairs": 32, "epochs": 1, "batch_size": 16, "dev_queries": 20, "dev_passages": 100}


@pytest.fixture
def peak(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose peak is known, and need not be measured."""
    monkeypatch.setattr(encoding, "peak_gflops", lambda *_: 1000.0)


@pytest.fixture(scope="module")
def training() -> tuple[finetuning.Training, Any]:
    """The same for every contender."""
    return finetuning.training(TRAINING, "fp32")


def values(section: Section, name: str) -> list[float]:
    (found,) = (figure.values for figure in section.figures if figure.name == name)
    return found


def test_ours_and_mtebs_search_score_alike() -> None:
    found = search.measure({"documents": 300, "queries": 20, "dimensions": 16}, 1)
    assert list(found.runs) == list(search.CONTENDERS)
    ours, mteb, bare = (runs[0] for runs in found.runs.values())
    assert ours["ndcg_at_10"] == pytest.approx(mteb["ndcg_at_10"], abs=1e-5)
    assert 0 < ours["ndcg_at_10"] < 1
    assert 0 < ours["search_seconds"] < ours["seconds"]
    assert values(found, "search alone, speed against a bare top-k") == [
        bare["seconds"] / ours["search_seconds"]
    ]


def test_all_mine_negatives_for_every_query() -> None:
    inputs = COLLECTION | {"range_max": 10, "num_negatives": 2}
    found = mining.measure(inputs, 1)
    pairs = {name: runs[0]["pairs"] for name, runs in found.runs.items()}
    assert pairs == dict.fromkeys(mining.CONTENDERS, inputs["queries"])
    assert all(figure.values[0] > 0 for figure in found.figures)


def test_all_encode_the_same_passages(monkeypatch: pytest.MonkeyPatch, peak: None) -> None:
    # Where bf16 is emulated it takes minutes: what is under test is its rows.
    monkeypatch.setattr(encoding, "bf16_is_emulated", lambda: "")
    fp32 = {name: c.func for name, c in encoding.CONTENDERS.items()}
    contenders = {n: lambda given, f=f: f(given, precision="fp32") for n, f in fp32.items()}
    monkeypatch.setattr(encoding, "CONTENDERS", contenders)
    found = encoding.measure(PASSAGES, 1)
    assert list(found.runs) == list(encoding.CONTENDERS)
    assert found.inputs["data"] == "TinySciFact"
    assert len({runs[0]["gflop"] for runs in found.runs.values()}) == 1
    assert values(found, "bf16, nDCG@10 against fp32") == [pytest.approx(1.0)]
    assert all(figure.values[0] > 0 for figure in found.figures)
    run = found.runs["ours, fp32"][0]
    assert run["share_of_peak"] == pytest.approx(run["gflop"] / run["seconds"] / 1000, rel=1e-3)


def test_bf16_is_left_out_where_it_is_emulated(monkeypatch: pytest.MonkeyPatch, peak: None) -> None:
    monkeypatch.setattr(encoding, "bf16_is_emulated", lambda: "Too slow.")
    found = encoding.measure({"documents": 4, "queries": 1}, 1)
    assert all("fp32" in name for name in found.runs)
    not_run = [figure.name for figure in found.figures if not figure.values]
    assert len(not_run) == 4 and all(name.startswith("bf16") for name in not_run)
    assert found.notes[-1] == "Too slow."


def test_the_encoded_passages_begin_with_those_judged_for_the_queries() -> None:
    dataset = encoding.read_dataset({"documents": 40, "queries": 5, "data": "TinySciFact"})
    assert (len(dataset.corpus), len(dataset.queries)) == (40, 5)
    judged = {passage for own in dataset.positives().values() for passage in own}
    assert judged == set(dataset.corpus["id"][: len(judged)])
    assert len(set(dataset.corpus["id"])) == 40


def test_ndcg_is_that_of_trec_eval() -> None:
    import numpy as np
    import pytrec_eval

    dataset = encoding.read_dataset({"documents": 60, "queries": 5, "data": "TinySciFact"})
    scores = np.random.default_rng(1).standard_normal((5, 60))
    run = {
        query: dict(zip(dataset.corpus["id"], row, strict=True))
        for query, row in zip(dataset.queries["id"], scores.tolist(), strict=True)
    }
    evaluator = pytrec_eval.RelevanceEvaluator(dataset.positives(), {"ndcg_cut.10"})
    expected = [found["ndcg_cut_10"] for found in evaluator.evaluate(run).values()]
    assert encoding.ndcg_at_10(scores, dataset) == pytest.approx(float(np.mean(expected)))


def test_all_train_from_the_same_start(
    monkeypatch: pytest.MonkeyPatch, training: tuple[finetuning.Training, Any]
) -> None:
    monkeypatch.setattr(finetuning, "bf16_is_emulated", lambda: "Too slow.")
    monkeypatch.setattr(finetuning, "training", lambda *_: training)
    weights = {name: tensor.clone() for name, tensor in training[1].state_dict().items()}
    found = finetuning.measure(TRAINING, 1)
    assert len(found.runs) == 3
    for runs in found.runs.values():
        assert runs[0]["seconds"] > 0
        assert 0 <= runs[0]["dev_ndcg_at_10"] <= 1
    assert all(tensor.equal(weights[n]) for n, tensor in training[1].state_dict().items())
    assert values(found, "bf16, speed against a plain trainer in fp32") == []


def test_evaluations_do_not_count_as_training(
    monkeypatch: pytest.MonkeyPatch, training: tuple[finetuning.Training, Any]
) -> None:
    monkeypatch.setattr(finetuning, "training", lambda *_: training)
    spent: list[Run] = []

    def only_evaluates(model: object, given: finetuning.Training, work: Path) -> None:
        with timed() as run:
            given.evaluator(model)
        spent.append(run)

    run = finetuning.contender(TRAINING, train=only_evaluates)()
    assert run["seconds"] < spent[0]["seconds"] / 2


def test_pairs_are_cut_and_carry_no_negatives(training: tuple[finetuning.Training, Any]) -> None:
    given, _ = training
    assert len(given.examples) == TRAINING["pairs"]
    assert all(example.negatives == [] for example in given.examples)
    assert len(given.dev.queries) == TRAINING["dev_queries"]
    # Two steps, a tenth of them with a rising learning rate.
    assert given.warmup_steps == 0


def test_shapes_are_encoded_with_random_weights(peak: None) -> None:
    found = encoding.measure_gpu({"shapes": "tiny", **PASSAGES}, 1)
    assert list(found.runs) == ["tiny, ours", "tiny, sentence-transformers"]
    ours, theirs = (runs[0] for runs in found.runs.values())
    # The same weights: the same passages are found.
    assert ours["ndcg_at_10"] == theirs["ndcg_at_10"] and ours["gflop"] == theirs["gflop"]
    assert values(found, "tiny, speed against sentence-transformers") == [
        theirs["seconds"] / ours["seconds"]
    ]


def test_without_a_gpu_the_table_says_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    found = encoding.measure_gpu()
    assert [figure.values for figure in found.figures] == [[]] * 3
    assert found.notes == ["No GPU here."] and found.runs == {}


def test_growth_is_drawn_the_same_each_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(search, "contest", lambda c, *_: {n: [{"seconds": 2.0}] for n in c})
    found = search.measure_growth({"documents": 40, "queries": 4, "dimensions": 8}, 1)
    assert len(found.runs) == 3 * 3 * len(search.FACTORS)
    assert {"ours, documents 10", "mteb, queries 16", "bare top-k, dimensions 32"} <= set(
        found.runs
    )
    for name in ("one.png", "two.png"):
        search.draw_growth(found, tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


SIZES = {"documents": 60, "more_documents": 120, "dimensions": 8}
SIZES |= {"evaluated_queries": 3, "mined_queries": 5}


def test_memory_is_measured_on_collections_read_from_disk() -> None:
    found = memory.measure(SIZES)
    assert list(found.runs) == [
        f"{stage}, {size} passages" for stage in ("evaluation", "mining") for size in (60, 120)
    ]
    assert [found.runs[f"mining, {size} passages"][0]["pairs"] for size in (60, 120)] == [5, 5]
    assert 0 <= found.runs["evaluation, 60 passages"][0]["ndcg_at_10"] <= 1


def test_memory_that_grows_with_the_corpus_misses_its_goal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def grows(contenders: dict[str, Contender], inputs: Inputs, _: int) -> Runs:
        table = inputs["documents"] * inputs["dimensions"] * 4 / 2**20
        return {name: [{"peak_mib": 100 + inputs["documents"] + table}] for name in contenders}

    monkeypatch.setattr(memory, "contest", grows)
    found = memory.measure(SIZES)
    growth, beside, index = found.figures
    assert growth.values == [pytest.approx(220 / 160)]
    assert growth.row()[2:] == ["at most 1.2", "missed"]
    assert regressions(found, found) == [
        "evaluation of 120 passages by that of 60: 1.38 times, more than 1.2"
    ]
    assert beside.values[0] + index.values[0] == pytest.approx(220 / 1024)


def test_the_pipeline_is_measured_in_a_clone(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = []
    seconds = iter([100.0, 2.0, 50.0])

    def repro(clone: Path) -> Run:
        rates.append(load_settings(clone / "params.yaml").learning_rate)
        return {"seconds": next(seconds)}

    monkeypatch.setattr(pipeline, "repro", repro)
    monkeypatch.setattr(pipeline, "read_json", lambda _: {"models/base": {"peak_memory_mib": 300}})
    before = (ROOT / "params.yaml").read_bytes()
    found = pipeline.measure()
    assert [figure.values for figure in found.figures] == [[50.0], [2.0], [300]]
    assert rates[0] == rates[1] != rates[2]
    assert (ROOT / "params.yaml").read_bytes() == before


def test_the_command_line_is_started_beside_python() -> None:
    found = pipeline.measure_startup(repetitions=2)
    assert [len(runs) for runs in found.runs.values()] == [2, 2]
    (figure,) = found.figures
    assert (figure.goal, figure.unit, len(figure.values)) == (0.5, "s", 2)
