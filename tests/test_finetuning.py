"""The trainer: batches, lengths, optimizer, best checkpoint, kills, memory, several processes."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from datasets import Dataset

from ettin_retrieval import finetuning
from ettin_retrieval.batches import batch_sampler
from ettin_retrieval.encoders import load_checkpoint, random_encoder, save_checkpoint
from ettin_retrieval.errors import InputError
from ettin_retrieval.finetuning import build_trainer, dev_evaluator, finetune
from ettin_retrieval.memory import BatchPlan
from ettin_retrieval.objectives import Example
from ettin_retrieval.params import Settings, Shape, load_settings
from ettin_retrieval.records import CORPUS, QRELS, QUERIES, Origin, RetrievalDataset, frame
from ettin_retrieval.resumption import (
    Progress,
    configuration_key,
    discard_incomplete,
    keep_only,
    last_complete,
    mark_complete,
    work_directory,
)

ROOT = Path(__file__).resolve().parents[1]
WORDS = ["ash", "birch", "cedar", "date", "elm", "fir", "gum", "hazel", "iris", "juniper"]
SHAPE = Shape(layers=2, hidden_size=32, intermediate_size=32, heads=2, vocabulary=300)


def settings(pooling: str = "mean", normalize: bool = True, **changes: Any) -> Settings:
    content = load_settings(ROOT / "params.yaml").model_dump()
    content["strict"] = False
    content["encoders"]["ettin_tiny"] |= {"pooling": pooling, "normalize": normalize}
    content["encoders"]["ettin_tiny"] |= {"max_query_length": 6, "max_passage_length": 9}
    content["negatives"]["per_query"] = 1
    small = {"batch_size": 4, "epochs": 2, "evaluations_per_epoch": 1}
    # Warm enough for losses that stay well above the tolerances they are compared with.
    content["finetuning"] |= small | {"temperature": 1.0} | changes
    return Settings.model_validate(content)


def train_examples(count: int = 20) -> list[Example]:
    """A query of two words, a passage with them, and another query's passage as negative."""
    pairs = [(WORDS[i % 10], WORDS[(i // 10 + i + 1) % 10]) for i in range(count)]
    texts = [f"{a} and {b} grow here number {i}" for i, (a, b) in enumerate(pairs)]
    return [
        Example(f"{a} {b} {i}", texts[i], [texts[(i + 3) % count]], query_id=f"q{i}")
        for i, (a, b) in enumerate(pairs)
    ]


def development() -> RetrievalDataset:
    ids = [str(i) for i in range(10)]
    return RetrievalDataset(
        frame([(i, "", f"{word} and trees") for i, word in zip(ids, WORDS, strict=True)], CORPUS),
        frame([(i, word) for i, word in zip(ids, WORDS, strict=True)], QUERIES),
        frame([(i, i, 1) for i in ids], QRELS),
        Origin("test", "1", "CC0-1.0", "dev"),
    )


def encoder(directory: Path, given: Settings) -> Any:
    torch.use_deterministic_algorithms(True, warn_only=True)
    texts = [*WORDS, "and grow here number trees 0 1 2 3 4 5 6 7 8 9"]
    directory.mkdir(parents=True)
    return random_encoder(SHAPE, texts, given.encoder, 1, directory)


def trainer(tmp_path: Path, given: Settings, train: list[Example] | None = None) -> Any:
    model = encoder(tmp_path / "encoder", given)
    evaluator = dev_evaluator(development(), 8)
    plan = BatchPlan.of(given)
    return build_trainer(
        model, train or train_examples(), evaluator, given, tmp_path / "work", plan
    )


def trained(tmp_path: Path, given: Settings) -> tuple[Any, finetuning.Curve]:
    model = encoder(tmp_path / "encoder", given)
    return model, finetune(model, train_examples(), development(), given, tmp_path / "work")


def losses(curve: finetuning.Curve) -> list[float]:
    return [loss for _, loss in curve.loss]


def test_each_role_has_its_length(tmp_path: Path) -> None:
    long = " ".join(WORDS * 3)
    made = trainer(tmp_path, settings(), [Example(long, long, [long], "q")])
    (batch,) = made.get_train_dataloader()
    assert batch["query_input_ids"].shape == (1, 6)
    assert batch["positive_input_ids"].shape == (1, 9)
    assert batch["negative_1_input_ids"].shape == (1, 9)


def test_no_batch_holds_a_text_twice() -> None:
    texts = [f"passage {i % 5}" for i in range(20)]
    rows = Dataset.from_dict({"query": [f"query {i}" for i in range(20)], "positive": texts})
    batches = list(batch_sampler(rows, "contrastive", 4, seed=1))
    assert sorted(row for batch in batches for row in batch) == list(range(20))
    for batch in batches:
        assert len({texts[row] for row in batch}) == len(batch)
    # Other objectives use no other row's passage, so that a text may be there twice.
    others = list(batch_sampler(rows, "triplet", 20, seed=1))
    assert [len(batch) for batch in others] == [20]


@pytest.mark.parametrize("objective", ["contrastive", "triplet"])
def test_each_epoch_has_an_order_that_only_the_seed_decides(objective: str) -> None:
    rows = Dataset.from_dict({"query": [f"{i}" for i in range(8)]})

    def order(epoch: int, seed: int = 1) -> list[list[int]]:
        batches = batch_sampler(rows, objective, 4, seed)
        batches.set_epoch(epoch)
        return list(batches)

    # Not the orders of a run through the epochs before: a resumed run begins in the middle.
    assert order(1) == order(1)
    assert order(1) != order(0)
    assert order(1) != order(1, seed=5)


def test_shares_of_processes_make_up_the_batches_of_one() -> None:
    rows = Dataset.from_dict({"query": [f"{i}" for i in range(12)]})
    whole = list(batch_sampler(rows, "triplet", 4, 1))
    shares = [list(batch_sampler(rows, "triplet", 4, 1, rank, 2)) for rank in (0, 1)]
    assert [a + b for a, b in zip(*shares, strict=True)] == whole


def test_a_contrastive_batch_that_does_not_divide_stays_whole() -> None:
    rows = Dataset.from_dict({"query": [f"{i}" for i in range(7)]})
    whole = list(batch_sampler(rows, "contrastive", 4, 1))
    shares = [list(batch_sampler(rows, "contrastive", 4, 1, rank, 2)) for rank in (0, 1)]
    assert shares[0][0] + shares[1][0] == whole[0]
    assert shares[0][1] == shares[1][1] == whole[1] and len(whole[1]) == 3


def test_optimizer_and_schedule_are_those_configured(tmp_path: Path) -> None:
    # 20 rows in batches of 4: 5 batches and, two added up, 3 steps an epoch.
    given = settings(
        learning_rate=0.01, weight_decay=0.25, warmup_ratio=0.5, gradient_accumulation=2
    )
    made = trainer(tmp_path, given)
    made.create_optimizer_and_scheduler(num_training_steps=6)
    decays = {group["weight_decay"] for group in made.optimizer.param_groups}
    assert decays == {0.25, 0.0}
    matrices = [g for g in made.optimizer.param_groups if g["weight_decay"] == 0.25]
    assert all(p.dim() == 2 for group in matrices for p in group["params"])
    rates = []
    for _ in range(6):
        rates.append(made.optimizer.param_groups[0]["lr"])
        made.optimizer.step()
        made.lr_scheduler.step()
    assert rates == pytest.approx([0, 0.01 / 3, 0.02 / 3, 0.01, 0.02 / 3, 0.01 / 3])
    assert made.args.gradient_accumulation_steps == 2
    assert made.args.eval_steps == 3


def test_accumulated_pieces_step_as_the_whole_batch(tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole", settings(objective="triplet"))[1]
    pieces = trained(tmp_path / "pieces", settings(objective="triplet", mini_batch_size=2))[1]
    assert losses(pieces) == pytest.approx(losses(whole), abs=1e-5)
    assert [step for step, _ in pieces.loss] == [step for step, _ in whole.loss]


def test_the_cached_loss_keeps_the_contrastive_batch(tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole", settings())[1]
    pieces = trained(tmp_path / "pieces", settings(mini_batch_size=2))[1]
    assert losses(pieces) == pytest.approx(losses(whole), abs=1e-5)


def test_gradient_checkpointing_changes_no_loss(tmp_path: Path) -> None:
    plain = trained(tmp_path / "plain", settings())[1]
    made = trainer(tmp_path / "made", settings(gradient_checkpointing=True))
    state = made.train_or_resume()
    assert made.model[0].model.is_activation_checkpointing
    again = [entry["loss"] for entry in state.log_history if "loss" in entry]
    assert again == pytest.approx(losses(plain), abs=1e-5)


@pytest.mark.parametrize(("pooling", "normalize"), [("cls", True), ("max", False)])
def test_pooling_and_normalisation_train_and_are_saved(
    tmp_path: Path, pooling: str, normalize: bool
) -> None:
    model, _ = trained(tmp_path, settings(pooling, normalize, epochs=1))
    (tmp_path / "saved").mkdir()
    record = save_checkpoint(model, tmp_path / "saved", {})
    assert (record["pooling"], record["normalize"]) == (pooling, normalize)
    assert (record["max_query_length"], record["max_passage_length"]) == (6, 9)
    read = load_checkpoint(tmp_path / "saved")
    assert read[1].pooling_mode == pooling
    tokens = read[0](read.preprocess(["ash and elm"], task="query"))["token_embeddings"][0]
    wanted = tokens[0] if pooling == "cls" else tokens.max(dim=0).values
    wanted = wanted / wanted.norm() if normalize else wanted
    assert torch.allclose(read.encode_query("ash and elm", convert_to_tensor=True), wanted)


def test_the_development_set_is_searched_by_the_encoders_similarity(tmp_path: Path) -> None:
    """An encoder without normalisation ranks by inner product, as its evaluation does."""
    model, curve = trained(tmp_path, settings("mean", normalize=False, epochs=1))
    dev = development()
    queries = model.encode_query(dev.queries["text"].tolist())
    order = (-queries @ model.encode_document(dev.passage_texts()).T).argsort(axis=1)
    ranks = [order[row].tolist().index(row) for row in range(len(dev.queries))]
    gains = [1 / math.log2(rank + 2) for rank in ranks]
    assert model.similarity_fn_name == "dot"
    assert curve.dev[-1][1] == pytest.approx(sum(gains) / len(gains), abs=1e-6)


def test_the_best_checkpoint_by_the_development_set_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scores rise, then fall twice: the first one's weights stay, and the run stops early."""
    seen = score_by(monkeypatch, [0.1, 0.5, 0.4, 0.3, 0.9])
    model, curve = trained(tmp_path, settings(epochs=4, early_stopping=2))
    assert curve.dev == [(0, 0.1), (5, 0.5), (10, 0.4), (15, 0.3)]
    assert curve.best_step == 5
    assert torch.equal(next(model.parameters()), seen[1])


def score_by(monkeypatch: pytest.MonkeyPatch, scores: list[float]) -> list[torch.Tensor]:
    """Let the development evaluator return these scores; the weights that it saw."""
    seen: list[torch.Tensor] = []

    class Scripted(finetuning_evaluator()):  # type: ignore[misc]
        def __call__(self, model: Any, *args: Any, **kwargs: Any) -> dict[str, float]:
            seen.append(next(model.parameters()).detach().clone())
            return {finetuning.DEV_METRIC: scores[len(seen) - 1]}

    monkeypatch.setattr(finetuning, "dev_evaluator", lambda *_: Scripted())
    return seen


def finetuning_evaluator() -> Any:
    from sentence_transformers.base.evaluation import BaseEvaluator

    return BaseEvaluator


def test_dvclive_has_the_curve_by_step(tmp_path: Path) -> None:
    _, curve = trained(tmp_path, settings())
    live = tmp_path / "work" / "live" / "plots" / "metrics"
    loss = pd.read_csv(live / "loss.tsv", sep="\t")
    assert list(zip(loss["step"], loss["loss"], strict=True)) == curve.loss
    dev = pd.read_csv(live / "dev_ndcg_at_10.tsv", sep="\t")
    assert list(zip(dev["step"], dev["dev_ndcg_at_10"], strict=True)) == curve.dev[1:]


def test_a_loss_that_is_no_number_stops_with_step_and_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken_at(monkeypatch, lambda call, loss: loss * math.nan if call == 3 else loss)
    with pytest.raises(InputError, match=r"loss is nan at step 3, batch of queries (q\d+(, )?){4}"):
        trained(tmp_path, settings())


def broken_at(monkeypatch: pytest.MonkeyPatch, breaking: Any) -> list[Any]:
    """Put something between the trainer and its loss, which knows the number of the call."""
    calls: list[Any] = []
    loss_for = finetuning.loss_for

    def watched(model: Any, given: Settings, **options: Any) -> torch.nn.Module:
        loss = loss_for(model, given, **options)
        forward = loss.forward

        def replaced(features: Any, labels: Any) -> Any:
            calls.append((features[0]["input_ids"].shape[0], options.get("mini_batch")))
            return breaking(len(calls), forward(features, labels))

        loss.forward = replaced
        return loss

    monkeypatch.setattr(finetuning, "loss_for", watched)
    return calls


def no_memory(first: int) -> Any:
    """Raise as torch does when memory runs out, at the first calls."""

    def breaking(call: int, loss: Any) -> Any:
        if call <= first:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB")
        return loss

    return breaking


def test_out_of_memory_keeps_the_contrastive_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    whole = trained(tmp_path / "whole", settings())[1]
    calls = broken_at(monkeypatch, no_memory(2))
    curve = trained(tmp_path / "halved", settings())[1]
    assert calls[:3] == [(4, None), (4, 2), (4, 1)]
    assert losses(curve) == pytest.approx(losses(whole), abs=1e-5)
    assert [record.message for record in caplog.records if "out of memory" in record.message] == [
        "finetuning: out of memory; starting over with 2 rows at a time in batches of 4 "
        "(cached loss), 1 added up",
        "finetuning: out of memory; starting over with 1 rows at a time in batches of 4 "
        "(cached loss), 1 added up",
    ]


def test_out_of_memory_halves_the_batch_and_doubles_accumulation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = trained(tmp_path / "whole", settings(objective="triplet"))[1]
    calls = broken_at(monkeypatch, no_memory(1))
    curve = trained(tmp_path / "halved", settings(objective="triplet"))[1]
    assert [rows for rows, _ in calls[:3]] == [4, 2, 2]
    assert losses(curve) == pytest.approx(losses(whole), abs=1e-5)


@pytest.mark.parametrize("mini_batch", ["auto", 2])
def test_memory_that_never_suffices_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mini_batch: object
) -> None:
    broken_at(monkeypatch, no_memory(99))
    rows = 1 if mini_batch == "auto" else 2
    with pytest.raises(InputError, match=f"out of memory with {rows} rows at a time"):
        trained(tmp_path, settings(mini_batch_size=mini_batch))


def test_other_errors_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaking(call: int, loss: Any) -> Any:
        raise RuntimeError("shapes do not match")

    broken_at(monkeypatch, breaking)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        trained(tmp_path, settings())


def test_mini_batches_divide_the_batch() -> None:
    with pytest.raises(ValueError, match="batch size 4 is not a multiple of 3"):
        settings(mini_batch_size=3)


def checkpoint(work: Path, step: int, best: int, complete: bool = True) -> Path:
    path = work / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "trainer_state.json").write_text(json.dumps({"best_global_step": best}))
    if complete:
        mark_complete(path, Progress(pending_loss=0.5, last_logged=step - 1, finished=False))
    return path


def test_only_a_whole_checkpoint_is_resumed_from(tmp_path: Path) -> None:
    assert last_complete(tmp_path) is None
    first = checkpoint(tmp_path, 9, best=9)
    half = checkpoint(tmp_path, 10, best=9, complete=False)
    assert last_complete(tmp_path) == first
    discard_incomplete(tmp_path)
    assert first.is_dir() and not half.exists()
    # Its best weights are gone: it cannot end as the undisturbed run does.
    checkpoint(tmp_path, 11, best=7)
    assert last_complete(tmp_path) == first
    keep_only(tmp_path, {11})
    assert last_complete(tmp_path) is None


def test_a_changed_configuration_never_resumes_from_another(tmp_path: Path) -> None:
    train = train_examples()

    def key(given: Settings = settings(), base: str = "b", rows: Any = train, **more: Any) -> str:  # noqa: B008
        return configuration_key(given, base, rows, more.get("dev", "d"), more.get("processes", 1))

    same = key()
    others = [
        key(settings(temperature=0.1)),
        key(settings(learning_rate=0.5)),
        key(base="c"),
        key(rows=train[1:]),
        key(dev="e"),
        key(processes=2),
    ]
    assert key() == same and len({same, *others}) == 7
    checkpoint(work_directory(tmp_path / "work", others[0]), 5, best=5)
    assert last_complete(work_directory(tmp_path / "work", same)) is None
    assert [path.name for path in (tmp_path / "work").iterdir()] == [same]


def test_killed_at_any_moment_it_ends_in_the_same_bytes(tmp_path: Path) -> None:
    """Each scenario is a child of one process that has imported everything; see the script."""
    done = run(sys.executable, str(ROOT / "tests" / "killed_training.py"), str(tmp_path))
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout.splitlines()[-1])
    wanted = results.pop("undisturbed")
    assert wanted["resumed_from"] is None
    assert {name: r["digest"] for name, r in results.items()} == dict.fromkeys(
        results, wanted["digest"]
    )
    # 100 steps, evaluated every 25, with a point of the curve every 2: checkpoints fall between.
    assert {name: r["resumed_from"] for name, r in results.items()} == {
        "between checkpoints": 75,
        "while writing a checkpoint": 50,
        "before older ones are removed": 75,
        "after training": 100,
    }


def run(*command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=600, check=False
    )


def test_two_processes_follow_the_curve_of_one(tmp_path: Path) -> None:
    single = tmp_path / "single"
    trained_here = trained(single, settings())[1]
    done = run(
        *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
        *("--nproc-per-node", "2"),
        *(str(ROOT / "tests" / "shared_training.py"), str(tmp_path)),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    shared = json.loads((tmp_path / "shared.json").read_text())
    assert [step for step, _ in shared["loss"]] == [step for step, _ in trained_here.loss]
    assert [loss for _, loss in shared["loss"]] == pytest.approx(losses(trained_here), abs=1e-5)
    assert [v for _, v in shared["dev"]] == pytest.approx([v for _, v in trained_here.dev])
    shutil.rmtree(single)
