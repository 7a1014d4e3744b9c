"""Fine-tuning: training examples and an encoder in, the best or the last checkpoint out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments
from transformers import EarlyStoppingCallback, TrainerState

from ettin_retrieval.data.dataset import RetrievalDataset
from ettin_retrieval.encoders.precision import check_precision
from ettin_retrieval.encoders.tokenise import cut_at
from ettin_retrieval.settings.schema import Settings
from ettin_retrieval.settings.sections import Precision
from ettin_retrieval.training.batches import SharedBatches, TrainingFeatures
from ettin_retrieval.training.conditions import KEYS, training_lengths, training_precision
from ettin_retrieval.training.examples import Example, training_rows
from ettin_retrieval.training.memory import BatchPlan, shrinking_until_it_fits
from ettin_retrieval.training.objectives import loss_for
from ettin_retrieval.training.trainer import DEV_METRIC, DevEvaluator, RetrievalTrainer


@dataclass(frozen=True)
class Curve:
    """What was logged while training, by step."""

    loss: list[tuple[int, float]]
    dev: list[tuple[int, float]]  # nDCG@10 on the development set; step 0 is before training
    best_step: int  # the one whose weights the model has
    conditions: dict[str, Any]  # what hardware and encoder made of the settings, for the record


def finetune(
    model: SentenceTransformer,
    examples: list[Example],
    dev: RetrievalDataset,
    settings: Settings,
    work: Path,
) -> Curve:
    """Train the model in place; it ends with the weights of the best development score.

    Or with the last ones, if `finetuning.keep` says so.

    Under `torchrun` or `accelerate launch` the ranks share every batch and get the same weights.

    Parameters
    ----------
    work
        Directory for checkpoints, from which an interrupted run of this configuration resumes.

    Raises
    ------
    InputError
        The hardware lacks the precision or the memory, the examples do not fit the objective, the
        ranks cannot share the batch, or the loss is no longer a finite number.
    """
    precision = training_precision(settings, model.device.type)
    check_precision(precision, model.device.type, "finetuning.precision")
    choose_attention(model)
    work.mkdir(parents=True, exist_ok=True)
    plan = BatchPlan.of(settings, work)
    rows = training_rows(examples, settings.finetuning.objective)
    compared = rows.compared()
    lengths = training_lengths(model, settings)
    with cut_at(model, lengths):
        features = TrainingFeatures(model, rows)
    evaluator = DevEvaluator(dev, settings.encoding.batch_size, model.similarity_fn_name)
    before = float(evaluator(model)[DEV_METRIC])

    def train(plan: BatchPlan) -> TrainerState:
        size, ranks = plan.rows_per_loss * plan.world_size, (plan.rank, plan.world_size)
        batches = SharedBatches(
            compared, size, settings.seed, settings.epochs, plan.contrastive, *ranks
        )
        loss = {
            "divided": loss_for(model, settings, plan.cached_mini_batch(), plan.world_size > 1),
            "whole": loss_for(model, settings, plan.cached_mini_batch(plan.world_size)),
        }
        patience = settings.finetuning.early_stopping
        trainer = RetrievalTrainer(
            features,
            batches,
            model=model,
            args=training_arguments(settings, work, len(batches), plan.losses_per_step, precision),
            loss=loss,
            evaluator=evaluator,
            callbacks=[] if patience is None else [EarlyStoppingCallback(patience)],
        )
        return trainer.train_or_resume()

    state = shrinking_until_it_fits(train, plan, model, work)

    def logged(key: str) -> list[tuple[int, float]]:
        entries = [entry for entry in state.log_history if key in entry]
        return [(int(entry["step"]), float(entry[key])) for entry in entries]

    dev_curve = [(0, before), *logged(f"eval_{DEV_METRIC}")]
    conditions: dict[str, Any] = {KEYS[role]: length for role, length in lengths.items()}
    conditions |= {"precision": precision, "keep": settings.finetuning.keep}
    kept = state.best_global_step if settings.finetuning.keep == "best" else state.global_step
    return Curve(logged("loss"), dev_curve, kept or 0, conditions)


def choose_attention(model: SentenceTransformer) -> None:
    """Use plain attention for short texts on a CPU in strict mode.

    There the fused kernel's backward pass must be deterministic, which makes it slow. Up to 128
    tokens plain attention is faster, and its memory does not matter.
    """
    transformer: Any = model[0]
    deterministic = model.device.type == "cpu" and torch.are_deterministic_algorithms_enabled()
    if deterministic and transformer.document_length <= 128:
        transformer.model.set_attn_implementation("eager")


def training_arguments(
    settings: Settings,
    work: Path,
    batches_per_epoch: int,
    accumulation: int,
    precision: Precision,
) -> SentenceTransformerTrainingArguments:
    """The trainer's arguments, for so many batches per epoch and per optimizer step.

    What is not named is the trainer's default: AdamW with betas 0.9 and 0.999, and gradients
    clipped at a norm of 1.
    """
    finetuning, best = settings.finetuning, settings.finetuning.keep == "best"
    steps = math.ceil(batches_per_epoch / accumulation) * settings.epochs
    interval = max(1, steps // (settings.epochs * finetuning.evaluations_per_epoch))
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(work),
        num_train_epochs=settings.epochs,
        gradient_accumulation_steps=accumulation,
        activation_checkpointing=finetuning.gradient_checkpointing,
        learning_rate=settings.learning_rate,
        warmup_steps=warmup_steps(steps, finetuning.warmup_ratio),
        weight_decay=finetuning.weight_decay,
        lr_scheduler_type="linear",
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        per_device_eval_batch_size=settings.encoding.batch_size,
        eval_strategy="steps",
        eval_steps=interval,
        save_strategy="steps",
        save_steps=interval,
        load_best_model_at_end=best,
        metric_for_best_model=DEV_METRIC if best else None,
        restore_callback_states_from_checkpoint=True,
        logging_steps=max(1, interval // 10),
        logging_nan_inf_filter=False,
        # Without it, ranks on CPUs do not form a process group.
        use_cpu=not torch.accelerator.is_available(),
        report_to=[],
        seed=settings.seed,
        dataloader_pin_memory=torch.cuda.is_available(),
    )
    # One process uses one GPU, instead of a replica on each, which would multiply the batch;
    # torchrun starts a process per GPU.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def warmup_steps(steps: int, ratio: float) -> int:
    """Steps of rising learning rate, rounded up; 0 where they would be less than one.

    The first step of a warm-up has rate zero: ten examples may make two steps, and one would be
    lost.

    >>> warmup_steps(222, 0.1), warmup_steps(14, 0.1), warmup_steps(2, 0.1)
    (23, 2, 0)
    """
    return math.ceil(steps * ratio) if steps * ratio >= 1 else 0
