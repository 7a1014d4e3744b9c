"""The trainer: batches, lengths, optimizer, best checkpoint, kills, memory, several processes."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Dataset
from ruamel.yaml import YAML
from sentence_transformers.base.sampler import NoDuplicatesBatchSampler

from ettin_retrieval.base_encoder.random_weights import random_encoder
from ettin_retrieval.data.dataset import CORPUS, QRELS, QUERIES, Origin, RetrievalDataset, frame
from ettin_retrieval.encoders import encode as encoding
from ettin_retrieval.encoders.checkpoint import load_checkpoint, save_checkpoint
from ettin_retrieval.runtime.errors import InputError, LossNotFiniteError
from ettin_retrieval.settings.load import load_settings
from ettin_retrieval.settings.schema import Settings, Shape
from ettin_retrieval.training import checkpoints as resumption
from ettin_retrieval.training import finetune as finetuning
from ettin_retrieval.training import memory
from ettin_retrieval.training.batches import batch_sampler
from ettin_retrieval.training.checkpoints import (
    Progress,
    configuration_key,
    discard_incomplete,
    keep_only,
    last_complete,
    mark_complete,
    remove_work,
    work_directory,
)
from ettin_retrieval.training.dev_score import dev_evaluator
from ettin_retrieval.training.examples import Example, TrainingRows, training_rows
from ettin_retrieval.training.finetune import build_trainer, finetune, tokenised
from ettin_retrieval.training.memory import BatchPlan, is_out_of_memory

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
    """A query of two words, a passage with them, and nearly another query's as negative."""
    pairs = [(WORDS[i % 10], WORDS[(i // 10 + i + 1) % 10]) for i in range(count)]
    texts = [f"{a} and {b} grow here number {i}" for i, (a, b) in enumerate(pairs)]
    return [
        Example(f"{a} {b} {i}", texts[i], [f"{texts[(i + 3) % count]} 0"], query_id=f"q{i}")
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


def taught_examples(count: int) -> list[Example]:
    return [replace(e, scores=[1.0, 0.1 * (i % 5)]) for i, e in enumerate(train_examples(count))]


# 11 rows (22 of a positive or a negative) in batches of 4: one of 3, or 2, is left. In pieces of
# 2, one piece of the last batch is a single row.
CASES: dict[str, tuple[dict[str, Any], list[Example]]] = {
    "contrastive": ({}, train_examples(11)),
    "cached": ({"mini_batch_size": 1, "epochs": 1}, train_examples(11)),
    "triplet": ({"objective": "triplet"}, train_examples(11)),
    "pieces": ({"objective": "triplet", "mini_batch_size": 1, "epochs": 1}, train_examples(11)),
    "cosine": ({"objective": "cosine_similarity", "batch_size": 6}, train_examples(10)),
    "margins": ({"objective": "margin_mse", "gradient_accumulation": 2}, taught_examples(11)),
}
"""Settings and examples of the runs that two processes share, by name."""


def trainer(tmp_path: Path, given: Settings, train: list[Example] | None = None) -> Any:
    model = encoder(tmp_path / "encoder", given)
    evaluator = dev_evaluator(development(), 8)
    plan = BatchPlan.of(given)
    rows, texts = training_rows(train or train_examples(), plan.objective)
    tokens = tokenised(model, rows, texts)
    return build_trainer(model, rows, tokens, evaluator, given, tmp_path / "work", plan)


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


def numbered(*columns: list[int]) -> TrainingRows:
    """Rows of texts that are given as numbers, column by column."""
    texts = np.array(columns, dtype=np.int32).T
    return TrainingRows(
        [f"column {i}" for i in range(len(columns))], texts, None, [""] * len(texts)
    )


def test_no_batch_holds_a_text_twice() -> None:
    passages = [100 + i % 5 for i in range(20)]
    rows = numbered(list(range(20)), passages)
    batches = list(batch_sampler(rows, "contrastive", 4, seed=1, epochs=1))
    assert sorted(row for batch in batches for row in batch) == list(range(20))
    for batch in batches:
        assert len({passages[row] for row in batch}) == len(batch)
    # Other objectives use no other row's passage, so that a text may be there twice.
    others = list(batch_sampler(rows, "triplet", 20, seed=1, epochs=1))
    assert [len(batch) for batch in others] == [20]


def test_every_row_is_in_one_batch_of_each_epoch_however_often_texts_repeat() -> None:
    """As in NFCorpus, where a query has dozens of relevant passages."""
    queries = np.random.default_rng(0).zipf(1.3, size=300) % 40
    rows = numbered(queries.tolist(), [1000 + i for i in range(300)])
    made = batch_sampler(rows, "contrastive", 16, seed=3, epochs=3)
    assert len(made) > math.ceil(300 / 16), "rows alone would fill fewer batches"
    for epoch in range(3):
        made.set_epoch(epoch)
        batches = list(made)
        assert len(batches) == len(made), "the schedule and the curve count on it"
        assert sorted(row for batch in batches for row in batch) == list(range(300))
        for batch in batches:
            assert len({queries[row] for row in batch}) == len(batch) <= 16


def test_batches_are_those_of_sentence_transformers() -> None:
    """The same rows in the same order, which the committed figures were made with."""
    passages = [1000 + i * i % 37 for i in range(100)]
    rows = numbered(list(range(100)), passages)
    theirs = NoDuplicatesBatchSampler(
        Dataset.from_dict({"query": list(range(100)), "positive": passages}),
        batch_size=8, drop_last=False, valid_label_columns=["label"],
        generator=torch.Generator(), seed=42,
    )  # fmt: skip
    ours = batch_sampler(rows, "contrastive", 8, seed=42, epochs=1)
    theirs.set_epoch(0)
    assert list(ours) == list(theirs)


@pytest.mark.parametrize("objective", ["contrastive", "triplet"])
def test_each_epoch_has_an_order_that_only_the_seed_decides(objective: str) -> None:
    rows = numbered(list(range(8)))

    def order(epoch: int, seed: int = 1) -> list[list[int]]:
        batches = batch_sampler(rows, objective, 4, seed, epochs=2)
        batches.set_epoch(epoch)
        return list(batches)

    # Not the orders of a run through the epochs before: a resumed run begins in the middle.
    assert order(1) == order(1)
    assert order(1) != order(0)
    assert order(1) != order(1, seed=5)


def test_shares_of_processes_make_up_the_batches_of_one() -> None:
    rows = numbered(list(range(13)))
    whole = list(batch_sampler(rows, "triplet", 4, 1, 1))
    made = [batch_sampler(rows, "triplet", 4, 1, 1, rank, 2) for rank in (0, 1)]
    for batch, *shares in zip(whole, *made, strict=True):
        # The last row is one process's; the other has it too, and does not count it.
        counted = [share[: m.counted] for share, m in zip(shares, made, strict=True)]
        assert [row for part in counted for row in part] == batch
        assert all(share for share in shares), "every process calls the encoder"


def test_a_contrastive_batch_that_does_not_divide_stays_whole() -> None:
    rows = numbered(list(range(7)))
    whole = list(batch_sampler(rows, "contrastive", 4, 1, 1))
    shares = [list(batch_sampler(rows, "contrastive", 4, 1, 1, rank, 2)) for rank in (0, 1)]
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


def test_dvclive_has_the_curve_by_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A Git repository without commits, whose revision cannot be asked for.
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    monkeypatch.chdir(tmp_path)
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


def test_a_smaller_plan_is_kept_and_the_warning_says_where_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    whole = trained(tmp_path / "whole", settings())[1]

    def breaking(call: int, loss: Any) -> Any:
        if call == 7:  # the second epoch's second step, with a checkpoint after the first epoch
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB")
        return loss

    broken_at(monkeypatch, breaking)
    curve = trained(tmp_path / "late", settings())[1]
    assert losses(curve) == pytest.approx(losses(whole), abs=1e-5)
    assert "out of memory; going on from checkpoint-5 with 2 rows at a time" in caplog.text
    monkeypatch.undo()
    plan = BatchPlan.of(settings())
    assert plan.as_kept(tmp_path / "late" / "work").piece == 2, "a restart need not find it again"
    assert plan.as_kept(tmp_path / "whole" / "work") == plan


def test_memory_that_scoring_needs_is_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scored(*_: Any) -> float:
        raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate")

    monkeypatch.setattr(finetuning, "dev_score", scored)
    with pytest.raises(InputError, match=r"smaller evaluation\.batch_size than 32"):
        trained(tmp_path, settings())


@pytest.mark.parametrize(
    ("told", "memory"),
    [
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", True),
        ("cuDNN error: CUDNN_STATUS_ALLOC_FAILED", True),
        ("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED", True),
        ("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes", True),
        ("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED", False),
    ],
)
def test_memory_that_ran_out_by_what_is_said(told: str, memory: bool) -> None:
    assert is_out_of_memory(RuntimeError(told)) == memory


def test_several_processes_share_a_batch_in_pieces_that_divide(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    two = SimpleNamespace(num_processes=2, process_index=1)
    monkeypatch.setattr(memory, "this_process", lambda: two)
    plan = BatchPlan.of(settings(objective="triplet", batch_size=12, mini_batch_size=4))
    # Six rows a process: four do not divide them, and would make the batch eight.
    assert (plan.piece, plan.steps_accumulated) == (3, 2)
    assert plan.forward_size * plan.processes * plan.steps_accumulated == 12
    auto = BatchPlan.of(settings(batch_size=12))
    with pytest.raises(InputError, match=r"on process 1 of 2.*set a smaller finetuning.mini_b"):
        auto.smaller()


def test_training_in_bf16_resumes_and_leaves_an_encoder_in_fp32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    given = settings(precision="bf16")
    encoding._warn_of_emulation.cache_clear()
    model, curve = trained(tmp_path / "whole", given)
    if "avx512_bf16" not in Path("/proc/cpuinfo").read_text():
        assert caplog.text.count("bf16 is emulated on a CPU without avx512_bf16") == 1
    assert not {"forward", "_original_forward"} & set(vars(model))
    assert model.encode(["ash and elm"]).dtype == np.float32
    plain = trained(tmp_path / "plain", settings())[1]
    assert losses(curve) == pytest.approx(losses(plain), abs=0.05)
    assert losses(curve) != losses(plain), "the arithmetic is another"

    broken_at(monkeypatch, lambda call, loss: loss * (math.nan if call == 8 else 1))
    with pytest.raises(InputError, match="loss is nan at step 8"):
        trained(tmp_path / "resumed", given)
    monkeypatch.undo()
    assert last_complete(tmp_path / "resumed" / "work") is not None
    again = encoder(tmp_path / "again", given)
    work = tmp_path / "resumed" / "work"
    assert finetune(again, train_examples(), development(), given, work) == curve
    pairs = zip(model.state_dict().values(), again.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_a_gpu_that_emulates_bf16_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation
    )
    with pytest.raises(InputError, match="this GPU has no bf16"):
        encoding.check_precision("bf16", "cuda", "finetuning.precision")


def test_a_query_that_is_asked_twice_is_named_by_its_own_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    twice = [Example("ash", f"ash {i}", [f"elm {i}"], query_id=f"id{i}") for i in range(2)]
    broken_at(monkeypatch, lambda call, loss: loss * math.nan)
    model = encoder(tmp_path / "encoder", settings())
    with pytest.raises(LossNotFiniteError, match=r"batch of queries id[01];"):
        finetune(model, twice, development(), settings(), tmp_path / "work")


def test_other_errors_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaking(call: int, loss: Any) -> Any:
        raise RuntimeError("shapes do not match")

    broken_at(monkeypatch, breaking)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        trained(tmp_path, settings())


def test_mini_batches_divide_the_batch() -> None:
    with pytest.raises(ValueError, match="batch size 4 is not a multiple of 3"):
        settings(mini_batch_size=3)


def checkpoint(work: Path, step: int, best: int | None, complete: bool = True) -> Path:
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
    # Before the first development evaluation there is no best one.
    unscored = checkpoint(tmp_path, 12, best=None)
    assert last_complete(tmp_path) == unscored
    # What a kill left of a removal does not count, whatever is in it.
    unscored.rename(tmp_path / "checkpoint-12.removed")
    assert last_complete(tmp_path) == first
    discard_incomplete(tmp_path)
    keep_only(tmp_path, {11})
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-11"]
    assert last_complete(tmp_path) is None


def test_a_changed_configuration_never_resumes_from_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = train_examples()

    def key(given: Settings | None = None, **changed: Any) -> str:
        facts = {"base_identity": "b", "train": train, "dev": "d", "processes": 1, "device": "cpu"}
        return configuration_key(given or settings(), **(facts | changed))

    same = key()
    others = [
        key(settings(temperature=0.1)),
        key(settings(learning_rate=0.5)),
        key(base_identity="c"),
        key(train=train[1:]),
        key(dev="e"),
        key(processes=2),
        key(device="cuda"),
    ]
    code = tmp_path / "code"
    shutil.copytree(resumption.PACKAGE, code)
    with (code / "trainer.py").open("a") as file:
        file.write("# another line\n")
    monkeypatch.setattr(resumption, "PACKAGE", code)
    others.append(key())
    monkeypatch.undo()
    assert key() == same and len({same, *others}) == 9
    checkpoint(work_directory(tmp_path / "work", others[0]), 5, best=5)
    assert last_complete(work_directory(tmp_path / "work", same)) is None


def test_the_key_knows_the_modules_that_the_stage_depends_on() -> None:
    content = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
    deps = content["stages"]["finetuning"]["deps"]
    own = [dep for dep in deps if dep.startswith("src/")]
    assert own == [f"src/ettin_retrieval/{name}.py" for name in resumption.MODULES]


def test_other_configurations_keep_their_checkpoints_for_a_while(tmp_path: Path) -> None:
    work = tmp_path / "work"
    for name in ("recent", "old", "killed.removed"):
        checkpoint(work / name, 5, best=5)
    long_ago = time.time() - 15 * 86_400
    os.utime(work / "old", (long_ago, long_ago))
    own = work_directory(work, "own")
    assert {path.name for path in work.iterdir()} == {"own", "recent"}
    assert last_complete(work / "recent") is not None
    remove_work(own)
    assert [path.name for path in work.iterdir()] == ["recent"]
    remove_work(work / "recent")
    assert not work.exists()


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
        # With a checkpoint at every third step after the last.
        "before the first evaluation": 9,
        "long after an evaluation": 78,
        "after training": 100,
        "while checkpoints are removed": None,
    }


def run(*command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=600, check=False
    )


def test_two_processes_follow_the_curve_of_one(tmp_path: Path) -> None:
    """Every objective, in batches and pieces of which the last does not divide by two."""
    done = run(
        *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
        *("--nproc-per-node", "2"),
        *(str(ROOT / "tests" / "shared_training.py"), str(tmp_path)),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    results = json.loads((tmp_path / "shared.json").read_text())
    assert set(results) == set(CASES)
    for name, shared in results.items():
        given, train = CASES[name]
        here = encoder(tmp_path / name, settings(**given))
        alone = finetune(here, train, development(), settings(**given), tmp_path / f"{name}-work")
        assert [step for step, _ in shared["loss"]] == [step for step, _ in alone.loss], name
        assert [loss for _, loss in shared["loss"]] == pytest.approx(losses(alone), abs=1e-5), name
        assert [v for _, v in shared["dev"]] == pytest.approx([v for _, v in alone.dev]), name
        weights = torch.cat([p.flatten() for p in here.parameters()])
        assert weights.double().norm().item() == pytest.approx(shared["norm"], abs=1e-4), name
        shutil.rmtree(tmp_path / name)
