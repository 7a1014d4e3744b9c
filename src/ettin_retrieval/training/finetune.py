"""Fine-tuning: training examples and an encoder in, the best or the last checkpoint out."""

from __future__ import annotations

import logging
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
from ettin_retrieval.runtime.distributed import is_first_rank
from ettin_retrieval.settings.schema import Settings
from ettin_retrieval.settings.sections import Precision
from ettin_retrieval.training.batches import SharedBatches, TrainingFeatures
from ettin_retrieval.training.conditions import KEYS, training_lengths, training_precision
from ettin_retrieval.training.examples import Example, Known, TextNumbers, training_rows
from ettin_retrieval.training.memory import BatchPlan, shrinking_until_it_fits
from ettin_retrieval.training.objectives import loss_for
from ettin_retrieval.training.trainer import DEV_METRIC, DevEvaluator, RetrievalTrainer

logger = logging.getLogger("ettin_retrieval")

TOO_EASY = 0.95
"""Development score before training above which differences between checkpoints are chance."""


@dataclass(frozen=True)
class Curve:
    """What was logged while training, by step."""

    loss: list[tuple[int, float]]
    dev: list[tuple[int, float]]  # nDCG@10 on the development set; step 0 is before training
    best_step: int  # the one whose weights the model has
    conditions: dict[str, Any]  # what hardware and encoder made of the settings, for the record
    contrasts: tuple[int, int] | None = None  # see `SharedBatches.contrasts`; contrastive only

    @property
    def before(self) -> float:
        """The development score of the encoder before training."""
        return self.dev[0][1]

    @property
    def score(self) -> float:
        """The development score of the weights that the model has."""
        return dict(self.dev)[self.best_step]

    def metrics(self) -> dict[str, float]:
        """The content of metrics/finetuning.json.

        >>> Curve([], [(0, 0.75), (5, 0.25), (10, 0.5)], 10, {}, (320, 2)).metrics()
        {'dev_ndcg_at_10_before': 0.75, 'dev_ndcg_at_10': 0.5,
         'dev_ndcg_at_10_gain': -0.25, 'step': 10,
         'in_batch_negatives': 320, 'in_batch_negatives_left_out': 2}
        """
        names = ("in_batch_negatives", "in_batch_negatives_left_out")
        return {
            "dev_ndcg_at_10_before": self.before,
            "dev_ndcg_at_10": self.score,
            "dev_ndcg_at_10_gain": self.score - self.before,
            "step": self.best_step,
            **dict(zip(names, self.contrasts or (), strict=False)),
        }

    def warning(self) -> str | None:
        """A line that training did not help, if it did not.

        >>> print(Curve([], [(0, 0.75), (5, 0.25), (10, 0.5)], 10, {}).warning())
        finetuning: training only made the encoder worse: development nDCG@10 is 0.7500 before and
        0.5000 at step 10, whose weights are kept; lower finetuning.learning_rate, or train on more
        queries
        """
        trained = [score for _, score in self.dev[1:]]
        if not trained or self.score > self.before:
            return None
        worse = max(trained) < self.before
        did = "only made the encoder worse" if worse else "did not make the encoder better"
        return (
            f"finetuning: training {did}: development nDCG@10 is {self.before:.4f} before and "
            f"{self.score:.4f} at step {self.best_step}, whose weights are kept; lower "
            "finetuning.learning_rate, or train on more queries"
        )


def finetune(
    model: SentenceTransformer,
    examples: list[Example],
    dev: RetrievalDataset | None,
    settings: Settings,
    work: Path,
) -> Curve:
    """Train the model in place; it ends with the weights of the best development score.

    Or with the last ones, if `finetuning.keep` says so.

    Under `torchrun` or `accelerate launch` the ranks share every batch and get the same weights.

    Parameters
    ----------
    dev
        None trains without development scores, which `finetuning.keep: last` does not need.
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
    as_loaded = choose_attention(model)
    work.mkdir(parents=True, exist_ok=True)
    plan = BatchPlan.of(settings, work)
    rows = training_rows(examples, settings.finetuning.objective)
    compared, known = rows.compared()
    contrasts: list[tuple[int, int]] = []
    lengths = training_lengths(model, settings)
    with cut_at(model, lengths):
        features = TrainingFeatures(model, rows)
    similarity, at_once = model.similarity_fn_name, settings.encoding.batch_size
    evaluator = None if dev is None else DevEvaluator(dev, at_once, similarity, as_loaded)
    before = float(evaluator(model)[DEV_METRIC]) if evaluator else None
    if is_first_rank() and before is not None and before > TOO_EASY:
        logger.warning(
            "finetuning: the encoder scores %.4f on the development set before training, so that "
            "the set can hardly choose a checkpoint; raise data.dev_passages, or give development "
            "queries that are harder",
            before,
        )

    def train(plan: BatchPlan) -> TrainerState:
        batches = batches_for(settings, plan, compared, known)
        if plan.contrastive and not contrasts:  # a smaller mini-batch has the same batches
            contrasts.append(batches.contrasts())
            log_left_out(*contrasts[0])
        if plan.contrastive and rows.numbers.shape[1] == 2:  # a query and a positive
            batches.check_contrast()
        loss = {
            "divided": loss_for(model, settings, plan.cached_mini_batch(), plan.world_size > 1),
            "whole": loss_for(model, settings, plan.cached_mini_batch(plan.world_size)),
        }
        patience = settings.finetuning.early_stopping
        trainer = RetrievalTrainer(
            features,
            batches,
            model=model,
            args=training_arguments(
                settings, work, len(batches), plan.losses_per_step, precision, dev is not None
            ),
            loss=loss,
            evaluator=evaluator,
            callbacks=[] if patience is None else [EarlyStoppingCallback(patience)],
        )
        return trainer.train_or_resume()

    state = shrinking_until_it_fits(train, plan, model, work)

    def logged(key: str) -> list[tuple[int, float]]:
        entries = [entry for entry in state.log_history if key in entry]
        return [(int(entry["step"]), float(entry[key])) for entry in entries]

    dev_curve = [] if before is None else [(0, before), *logged(f"eval_{DEV_METRIC}")]
    conditions: dict[str, Any] = {KEYS[role]: length for role, length in lengths.items()}
    conditions |= {"precision": precision, "keep": settings.finetuning.keep}
    kept = state.best_global_step if settings.finetuning.keep == "best" else state.global_step
    curve = Curve(logged("loss"), dev_curve, kept or 0, conditions, *contrasts)
    if is_first_rank() and (warning := curve.warning()):
        logger.warning(warning)
    return curve


def batches_for(
    settings: Settings, plan: BatchPlan, compared: TextNumbers, known: Known | None
) -> SharedBatches:
    """Batches of this rank: of `finetuning.epochs`, or enough for `finetuning.max_steps`."""
    size, ranks = plan.rows_per_loss * plan.world_size, (plan.rank, plan.world_size)

    def of(epochs: int) -> SharedBatches:
        return SharedBatches(compared, size, settings.seed, epochs, plan.contrastive, *ranks, known)

    steps = settings.finetuning.max_steps
    if steps is None:
        return of(settings.epochs)
    return of(math.ceil(steps * plan.losses_per_step / len(of(1))))


def log_left_out(contrasts: int, left_out: int) -> None:
    """Say how many in-batch negatives of an epoch are positives, if any are."""
    if left_out and is_first_rank():
        logger.info(
            "finetuning: %s of %s in-batch negatives of an epoch are known to be relevant and left "
            "out",
            f"{left_out:,}",
            f"{contrasts:,}",
        )


def choose_attention(model: SentenceTransformer) -> str | None:
    """Train with plain attention on short texts on a CPU in strict mode.

    There the fused kernel's backward pass must be deterministic, which makes it slow. Up to 128
    tokens plain attention is faster, and its memory does not matter.

    Returns the implementation that the model had, if it has another one now.
    """
    transformer: Any = model[0]
    deterministic = model.device.type == "cpu" and torch.are_deterministic_algorithms_enabled()
    length = getattr(transformer, "document_length", None)  # a router has none
    if not deterministic or length is None or length > 128:
        return None
    had: str = transformer.model.config._attn_implementation
    transformer.model.set_attn_implementation("eager")
    return had


def training_arguments(
    settings: Settings,
    work: Path,
    batches_per_epoch: int,
    accumulation: int,
    precision: Precision,
    evaluates: bool = True,
) -> SentenceTransformerTrainingArguments:
    """The trainer's arguments, for so many batches per epoch and per optimizer step.

    Without evaluations there are no checkpoints but those by the clock.

    What is not named is the trainer's default: AdamW with betas 0.9 and 0.999, and gradients
    clipped at a norm of 1.
    """
    finetuning, best = settings.finetuning, settings.finetuning.keep == "best"
    epochs = 1 if finetuning.max_steps else settings.epochs
    steps = finetuning.max_steps or math.ceil(batches_per_epoch / accumulation) * epochs
    interval = max(1, steps // (epochs * finetuning.evaluations_per_epoch))
    when = "steps" if evaluates else "no"
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(work),
        num_train_epochs=settings.epochs,
        max_steps=finetuning.max_steps or -1,
        gradient_accumulation_steps=accumulation,
        activation_checkpointing=finetuning.gradient_checkpointing,
        learning_rate=settings.learning_rate,
        warmup_steps=warmup_steps(steps, finetuning.warmup_ratio),
        weight_decay=finetuning.weight_decay,
        lr_scheduler_type="linear",
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        per_device_eval_batch_size=settings.encoding.batch_size,
        eval_strategy=when,
        eval_steps=interval,
        save_strategy=when,
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
    lost. The only step of a run is never one of them.

    >>> warmup_steps(222, 0.1), warmup_steps(14, 0.1), warmup_steps(2, 0.1), warmup_steps(1, 1.0)
    (23, 2, 0, 0)
    """
    return math.ceil(steps * ratio) if steps * ratio >= 1 and steps > 1 else 0
