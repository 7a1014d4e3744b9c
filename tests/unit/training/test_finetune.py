"""From the settings to the optimizer, the schedule, the features and the saved encoder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerState

from ettin_retrieval.encoders import encode
from ettin_retrieval.encoders.checkpoint import load_checkpoint, save_checkpoint
from ettin_retrieval.encoders.precision import check_precision
from ettin_retrieval.encoders.tokenise import Role, tokenise
from ettin_retrieval.runtime.errors import InputError
from ettin_retrieval.training.examples import Example
from ettin_retrieval.training.finetune import finetune
from ettin_retrieval.training.trainer import RetrievalTrainer
from tests.training_inputs import (
    WORDS,
    development,
    encoder,
    known_examples,
    losses,
    settings,
    train_examples,
    trained,
)


@pytest.fixture
def trainers(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The trainers that `finetune` builds; they do not train."""
    built: list[Any] = []

    def train_or_resume(self: RetrievalTrainer) -> TrainerState:
        built.append(self)
        return TrainerState()

    monkeypatch.setattr(RetrievalTrainer, "train_or_resume", train_or_resume)
    return built


def test_each_role_has_its_length(tmp_path: Path, trainers: list[Any]) -> None:
    long = " ".join(WORDS * 3)
    trained(tmp_path, settings(), [Example(long, long, [long], "q")])
    (batch,) = trainers[0].get_train_dataloader()
    assert batch["query_0_input_ids"].shape == (1, 6)
    assert batch["passage_1_input_ids"].shape == (1, 9)
    assert batch["passage_2_input_ids"].shape == (1, 9)


@pytest.mark.parametrize(
    ("given", "shapes", "lines"),
    [
        ({}, (6, 9), []),
        ({"max_query_length": None, "max_passage_length": None}, (6, 9), []),
        ({"max_query_length": 4, "max_passage_length": 5}, (4, 5), []),
        (
            {"max_query_length": 4, "max_passage_length": 10},
            (4, 9),
            [
                "finetuning.max_passage_length: 10 is more than the 9 tokens at which the encoder "
                "cuts (see encoders.yaml); trained at 9"
            ],
        ),
    ],
)
def test_training_has_its_lengths_and_the_checkpoint_those_of_evaluation(
    tmp_path: Path,
    trainers: list[Any],
    caplog: pytest.LogCaptureFixture,
    given: dict[str, Any],
    shapes: tuple[int, int],
    lines: list[str],
) -> None:
    long = " ".join(WORDS * 3)
    dev = development()
    texts = dev.queries.assign(text=long), dev.corpus.assign(text=long)
    read: list[tuple[str, int]] = []

    def tokenised(model: Any, texts: list[str], role: Role) -> Any:
        found = tokenise(model, texts, role)
        read.append((role, max(found.lengths)))
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encode, "tokenise", tokenised)
        model = encoder(tmp_path / "encoder", settings(**given))
        long_dev = replace(dev, queries=texts[0], corpus=texts[1])
        work, rows = tmp_path / "work", [Example(long, long, [long], "q")]
        curve = finetune(model, rows, long_dev, settings(**given), work)
    assert set(read) == {("query", 6), ("passage", 9)}, "the development score's"
    (batch,) = trainers[0].get_train_dataloader()
    found = [batch[f"{text}_input_ids"].shape[1] for text in ("query_0", "passage_1", "passage_2")]
    assert found == [shapes[0], shapes[1], shapes[1]]
    assert caplog.messages == lines
    origin = {"training": curve.conditions}
    record = save_checkpoint(model, tmp_path / "saved", origin)
    assert (record["max_query_length"], record["max_passage_length"]) == (6, 9)
    trained_at = dict(zip(("max_query_length", "max_passage_length"), shapes, strict=True))
    assert trained_at.items() <= record["training"].items()
    (again,) = (tokenise(load_checkpoint(tmp_path / "saved"), [long], "query"),)
    assert again.lengths == [6]


def test_optimizer_and_schedule_are_those_configured(tmp_path: Path, trainers: list[Any]) -> None:
    # 20 rows in batches of 4: 5 batches and, two accumulated, 3 steps an epoch.
    rates: dict[str, Any] = {"learning_rate": 0.01, "weight_decay": 0.25, "warmup_ratio": 0.5}
    trained(tmp_path, settings(gradient_accumulation=2, **rates))
    (made,) = trainers
    made.create_optimizer_and_scheduler(num_training_steps=6)
    decays = {group["weight_decay"] for group in made.optimizer.param_groups}
    assert decays == {0.25, 0.0}
    matrices = [g for g in made.optimizer.param_groups if g["weight_decay"] == 0.25]
    assert all(p.dim() == 2 for group in matrices for p in group["params"])
    seen = []
    for _ in range(6):
        seen.append(made.optimizer.param_groups[0]["lr"])
        made.optimizer.step()
        made.lr_scheduler.step()
    assert seen == pytest.approx([0, 0.01 / 3, 0.02 / 3, 0.01, 0.02 / 3, 0.01 / 3])
    assert made.args.gradient_accumulation_steps == 2
    assert made.args.eval_steps == 3


def test_gradient_checkpointing_changes_no_loss(tmp_path: Path) -> None:
    plain = trained(tmp_path / "plain", settings())[1]
    model, curve = trained(tmp_path / "checkpointing", settings(gradient_checkpointing=True))
    assert model[0].model.is_activation_checkpointing
    assert losses(curve) == pytest.approx(losses(plain), abs=1e-5)


@pytest.mark.parametrize(("pooling", "normalize"), [("cls", True), ("max", False)])
def test_pooling_and_normalisation_train_and_are_saved(
    tmp_path: Path, pooling: str, normalize: bool
) -> None:
    model, _ = trained(tmp_path, settings(pooling, normalize, epochs=1))
    (tmp_path / "saved").mkdir()
    record = save_checkpoint(model, tmp_path / "saved", {})
    assert (record["pooling"], record["normalize"]) == (pooling, normalize)
    assert (record["max_query_length"], record["max_passage_length"]) == (6, 9)
    read: Any = load_checkpoint(tmp_path / "saved")
    assert read[1].pooling_mode == pooling
    tokens = read[0](read.preprocess(["ash and elm"], task="query"))["token_embeddings"][0]
    expected = tokens[0] if pooling == "cls" else tokens.max(dim=0).values
    expected = expected / expected.norm() if normalize else expected
    assert torch.allclose(read.encode_query("ash and elm", convert_to_tensor=True), expected)


def test_a_gpu_that_emulates_bf16_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation
    )
    with pytest.raises(InputError, match="this GPU has no bf16"):
        check_precision("bf16", "cuda", "finetuning.precision")


def test_texts_that_differ_in_case_or_white_space_are_in_different_batches(
    tmp_path: Path, trainers: list[Any]
) -> None:
    """The passage of the one is relevant to the other."""
    examples = [
        Example("ash", "ash trees", ["gum"], "q0"), Example("ASH ", "birch trees", ["elm"], "q1"),
        Example("fir", "fir trees", ["date"], "q2"), Example("iris", "Fir\u00a0TREES", [""], "q3"),
    ]  # fmt: skip
    trained(tmp_path, settings(), examples)
    batches = [batch["query_ids"] for batch in trainers[0].get_train_dataloader()]
    assert len(batches) == 2
    assert not any({"q0", "q1"} <= set(ids) or {"q2", "q3"} <= set(ids) for ids in batches)


def test_known_positives_of_a_batch_are_left_out_counted_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="ettin_retrieval"):
        _, known = trained(tmp_path / "known", settings(), known_examples(20))
    total, left_out = known.contrasts or (0, 0)
    # Five batches of four rows with two passages each.
    assert total == 5 * 4 * 7 and 10 < left_out < total
    assert known.metrics()["in_batch_negatives_left_out"] == left_out
    line = f"finetuning: {left_out} of 140 in-batch negatives of an epoch are known to be relevant"
    assert [text for text in caplog.messages if text.startswith(line)] == [f"{line} and left out"]
    _, curve = trained(tmp_path / "unknown", settings(), train_examples(20))
    assert curve.contrasts == (140, 0)
    assert losses(curve)[0] > losses(known)[0], "fewer passages share the softmax"


def test_knowledge_that_no_batch_needs_changes_no_byte(tmp_path: Path) -> None:
    elsewhere = [replace(e, relevant=(1, 2, 3)) for e in train_examples(20)]
    (one, same), (two, curve) = (
        trained(tmp_path / name, settings(), examples)
        for name, examples in (("without", train_examples(20)), ("elsewhere", elsewhere))
    )
    assert losses(curve) == losses(same)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_objectives_without_in_batch_negatives_have_none_to_leave_out(tmp_path: Path) -> None:
    given = settings(objective="triplet", margin=0.9, epochs=1)
    _, curve = trained(tmp_path / "known", given, known_examples(8))
    _, without = trained(tmp_path / "without", given, train_examples(8))
    assert curve.contrasts is None and "in_batch_negatives" not in curve.metrics()
    assert losses(curve) == losses(without)


def test_a_number_of_steps_holds_whatever_the_number_of_rows(tmp_path: Path) -> None:
    """Without a development set too, which then is not scored and saves no checkpoint."""
    given = settings(max_steps=7, keep="last")
    for rows in (3, 20):
        model = encoder(tmp_path / str(rows), given)
        work = tmp_path / f"work{rows}"
        curve = finetune(model, train_examples(rows), None, given, work)
        assert (curve.best_step, curve.dev) == (7, [])
        assert not list(work.glob("checkpoint-*"))
    _, curve = trained(tmp_path / "with dev", given)
    assert [step for step, _ in curve.dev] == [0, 7], "one evaluation of the whole training"
