"""What a run will cost: counts against a real model and against mteb's statistics."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ettin_retrieval.cli import main
from ettin_retrieval.planning import report, speed, stages
from ettin_retrieval.planning.flops import BACKWARD, ETTIN_SHAPES, Architecture, of_shape
from ettin_retrieval.planning.sizes import Collection, Texts, mteb_names, mteb_task, tasks_of
from ettin_retrieval.planning.speed import Rates
from ettin_retrieval.planning.stages import Encoder
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.settings.load import load_settings
from ettin_retrieval.settings.schema import Settings

ROOT = Path(__file__).resolve().parents[1]
RATES = Rates({"fp32": 1e9, "bf16": 2e9}, {"fp32": 5e8, "bf16": 1e9})


@pytest.fixture(autouse=True)
def pinned(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """With what `plan` pins the arithmetic: it would be too late in this process."""
    calls: list[bool] = []
    monkeypatch.setattr(report, "pin_arithmetic", calls.append)
    return calls


def settings(**changes: object) -> Settings:
    return Settings.model_validate(load_settings(ROOT / "params.yaml").model_dump() | changes)


def test_counted_operations_are_those_that_torch_counts() -> None:
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import ModernBertConfig, ModernBertModel

    shape = Architecture(layers=4, hidden=32, intermediate=48, vocabulary=100)
    config = ModernBertConfig(
        vocab_size=100, hidden_size=32, intermediate_size=48, num_hidden_layers=4,
        num_attention_heads=2, attn_implementation="eager",
        pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2,
    )  # fmt: skip
    model = ModernBertModel(config)
    # Short enough that local layers attend to all.
    with FlopCounterMode(display=False) as counted, torch.inference_mode():
        model(input_ids=torch.full((3, 100), 5))
    assert shape.forward_flops([100] * 3) == counted.get_total_flops()
    assert shape.parameters == pytest.approx(sum(p.numel() for p in model.parameters()), rel=0.01)


def test_a_local_layer_does_not_see_beyond_its_window() -> None:
    local = Architecture(layers=3, hidden=32, intermediate=48, vocabulary=100)
    everywhere = Architecture(layers=3, hidden=32, intermediate=48, vocabulary=100, window=None)
    assert local.forward_flops([100]) == everywhere.forward_flops([100])
    assert everywhere.forward_flops([500]) - local.forward_flops([500]) == (
        4 * 32 * 2 * 500 * (500 - 128)
    )


@pytest.mark.parametrize(("name", "millions"), [("17m", 17), ("150m", 149), ("1b", 1028)])
def test_shapes_have_the_parameters_of_their_names(name: str, millions: int) -> None:
    assert round(of_shape(ETTIN_SHAPES[name]).parameters / 1e6) == millions


def test_task_sizes_are_mtebs() -> None:
    marco = mteb_task("MSMARCO")
    assert (marco.passages.count, marco.queries.count) == (8_841_823, 6_980)
    assert marco.passages.characters == pytest.approx(335.797, abs=1e-3)
    with pytest.raises(InputError, match="no statistics of 'Nonsense'"):
        mteb_task("Nonsense")


def test_the_guides_tasks_are_26_parts() -> None:
    names = mteb_names("guide")
    assert len(names) == 14 + 12
    assert sum(name.startswith("CQADupstack") for name in names) == 12
    assert mteb_names(["SciFact"]) == ["SciFact"]
    assert all(mteb_task(name).passages.count > 0 for name in names)


def test_cost_of_encoding_by_hand() -> None:
    shape = Architecture(layers=1, hidden=2, intermediate=3, vocabulary=10, gated=False)
    encoder = Encoder("hand", shape, query_length=4, passage_length=5)
    # 13.5 characters are 3 tokens and two special ones; queries are cut at 4.
    collection = Collection("two", Texts(2, 13.5), Texts(1, 100.0))
    passage, query = shape.forward_flops([5]), shape.forward_flops([4])
    assert encoder.tokens(collection) == 2 * 5 + 4
    assert encoder.encode(collection) == 2 * passage + query + 2 * 2 * 1 * 2


def test_negatives_and_epochs_multiply_training() -> None:
    one = settings()
    encoder = stages.encoder_of(one)
    train = Collection("train", Texts(100, 90.0), Texts(10, 45.0))
    tasks = [Collection("task", Texts(50, 90.0), Texts(5, 45.0))]
    stage = {s.name: s for s in stages.stages_of(one, encoder, train, tasks)}
    assert stage["finetuning"].texts == 10 * one.epochs * (2 + one.negatives.per_query)
    assert stage["negatives"].texts == 110
    assert stage["evaluate_base"].texts == 55
    assert RATES.hours(stage["negatives"]) == pytest.approx(encoder.encode(train) / 1e9 / 3600)
    negatives = one.negatives.model_dump() | {"per_query": 0}
    none = {
        s.name: s for s in stages.stages_of(settings(negatives=negatives), encoder, train, tasks)
    }
    assert none["negatives"].forward == 0
    assert none["finetuning"].training < stage["finetuning"].training / 3


def test_pieces_of_a_batch_take_less_memory_and_a_second_forward_pass() -> None:
    encoder = Encoder("x", Architecture(2, 128, 128, 6144), 32, 64)
    train = Collection("train", Texts(1000, 200.0), Texts(100, 40.0))
    given = load_settings(ROOT / "params.yaml")
    pieces = given.finetuning.model_copy(update={"mini_batch_size": given.batch_size // 4})
    whole = stages._finetuning(given, encoder, train)
    small = stages._finetuning(given.model_copy(update={"finetuning": pieces}), encoder, train)
    weights = stages.TRAINING_BYTES * encoder.architecture.parameters
    assert (small.memory - weights) * 4 == pytest.approx(whole.memory - weights)
    assert small.training / whole.training == pytest.approx((2 + BACKWARD) / (1 + BACKWARD))


def test_a_cut_corpus_is_planned_as_cut() -> None:
    given = load_settings(ROOT / "params.yaml")
    cut = given.model_copy(update={"data": given.data.model_copy(update={"max_corpus_size": 99})})
    assert {c.passages.count for c in tasks_of(cut, "guide")} == {99}
    assert max(c.passages.count for c in tasks_of(given, "guide")) > 5_000_000


def test_beirs_own_directories_are_planned_as_the_tasks_they_are_scored_as(tmp_path: Path) -> None:
    for name, passages in (("scifact", 3), ("cqadupstack/gis", 2), ("our-documents", 1)):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "corpus.jsonl").write_text('{"_id": "p", "text": "a"}\n' * passages)
        (tmp_path / name / "queries.jsonl").write_text('{"_id": "q", "text": "a"}\n')
    given = load_settings(ROOT / "params.yaml")
    local = given.local.model_copy(update={"benchmark": str(tmp_path)})
    data = given.data.model_copy(update={"benchmark": "beir"})
    found = tasks_of(given.model_copy(update={"local": local, "data": data}), "auto")
    counts = {collection.name: collection.passages.count for collection in found}
    assert counts == {"SciFact": 3, "CQADupstackGisRetrieval": 2, "our-documents": 1}


def test_tokenising_counts_where_it_takes_longer_than_arithmetic() -> None:
    stage = stages.Stage("x", tokens=3600e3, forward=3600e9)
    assert Rates({"fp32": 1e9}, {"fp32": 1e9}, tokenised=1e6).hours(stage) == 1.0
    assert Rates({"fp32": 1e9}, {"fp32": 1e9}, tokenised=1e2).hours(stage) == 10.0


def test_disk_has_the_caches_and_memory_the_largest_corpus_twice() -> None:
    given = settings(model="1b")
    encoder = stages.encoder_of(given)
    tasks = [Collection(n, Texts(c, 100.0), Texts(10, 50.0)) for n, c in (("a", 40), ("b", 90))]
    plans = {s.name: s for s in stages.stages_of(given, encoder, tasks[0], tasks)}
    characters = 130 * 100 + 20 * 50
    data = plans["benchmark_data"]
    # The output and DVC's copy, datasets' Arrow files, and the hub's Parquet files.
    assert data.disk == pytest.approx((2 + 1 + stages.PARQUET_SHARE) * characters)
    assert data.memory == 2 * 90 * 100
    weights = 4.0 * encoder.architecture.parameters
    assert plans["base_encoder"].disk == 3 * weights
    assert plans["finetuning"].disk == (2 + 3) * weights
    assert plans["evaluate_base"].disk == 2 * 20 * stages.HITS * stages.HIT_BYTES
    local = settings()
    tiny = stages.stages_of(local, stages.encoder_of(local), tasks[0], tasks)
    # Made here: nothing from a hub.
    assert {s.name: s.disk for s in tiny}["benchmark_data"] == 2 * characters


def test_the_probe_runs_as_the_stages_will(
    pinned: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "probe", lambda *_: RATES)
    for strict in (True, False):
        made = report.plan(settings(strict=strict), "H100", "auto")
        assert ("strict pins it to 2 threads" in report.render(made)) == strict
    assert pinned == [True, False]


def test_the_probe_measures_something(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "PROBE_SECONDS", 0.01)
    rates = speed.probe(of_shape(ETTIN_SHAPES["17m"]), ["fp32"])
    assert rates.forward["fp32"] > 1e6 and rates.training["fp32"] > 1e6
    assert 1e3 < rates.tokenised < 1e9


def test_the_command_tells_every_stage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(report, "probe", lambda *_: RATES)
    params = str(ROOT / "params.yaml")
    assert main(["plan", "--params", params, "--model", "1b", "--gpu", "A100"]) == 0
    told = capsys.readouterr().out
    for word in (
        "training_data",
        "negatives",
        "finetuning",
        "evaluate_base",
        "on A100",
        "26 tasks",
    ):
        assert word in told
    assert "assumed, not measured" in told
    assert "finetuning needs more memory than A100 SXM 80 GB has" in told
    assert main(["plan", "--params", params, "--model", "1b", "--tasks", "SciFact,NFCorpus"]) == 0
    assert "2 tasks, 8,816 passages" in capsys.readouterr().out
    assert main(["plan", "--params", params]) == 0
    assert "tiny" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--gpu", "abacus"], "unknown GPU 'abacus'"),
        (["--model", "2b"], "unknown model '2b'"),
        (["--model", "1b", "--tasks", "SciFcat"], "no statistics of 'SciFcat'"),
        (["--tasks", "SciFact"], "no SciFact; there are Tiny"),
    ],
)
def test_a_mistake_is_one_line(
    options: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "--params", str(ROOT / "params.yaml"), *options]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line


def test_help_imports_nothing_heavy() -> None:
    asked = (
        "import sys\nfrom ettin_retrieval.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'torch', 'pandas', 'numpy', 'mteb', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", asked], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.splitlines()[-1] == "[]"
