"""sentence-transformers' trainer with what the pipeline adds to it.

Batches of this package's own order, shared by all processes; a loss that is not a number stops
the run; checkpoints that a kill leaves either whole or ignored.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import broadcast
from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from torch.utils.data import DataLoader
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ettin_retrieval.runtime.errors import LossNotFiniteError
from ettin_retrieval.settings.schema import Settings
from ettin_retrieval.training import checkpoints
from ettin_retrieval.training.batches import ShareOfBatches
from ettin_retrieval.training.examples import TrainingRows
from ettin_retrieval.training.memory import scoring_fits
from ettin_retrieval.training.token_store import TokenisedTexts

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.evaluation import BaseEvaluator

SAVE_EVERY = 15 * 60
"""Seconds of training that a kill costs at most."""


class RetrievalTrainer(SentenceTransformerTrainer):
    """Trains on given batches; killed and started again, it ends in the same weights.

    Parameters
    ----------
    rows, tokens
        Training rows, and their texts in tokens.
    batches
        Row numbers of every batch, a new order for each epoch.
    loss, undivided_loss
        Of a batch shared by all processes, and of one that each process has whole.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        args: SentenceTransformerTrainingArguments,
        rows: TrainingRows,
        tokens: TokenisedTexts,
        batches: ShareOfBatches,
        loss: torch.nn.Module,
        undivided_loss: torch.nn.Module,
        evaluator: BaseEvaluator,
        callbacks: list[TrainerCallback],
    ) -> None:
        super().__init__(
            model=model,
            args=args,
            loss=loss,
            evaluator=evaluator,
            callbacks=[*callbacks, _PendingLoss(self), _TimedSaves(self)],
        )
        self.work = Path(str(args.output_dir))
        self.rows = rows
        self.tokens = tokens
        self.batches = batches
        self.shared_loss = self.loss
        self.undivided_loss = self.prepare_loss(undivided_loss, model)

    def train_or_resume(self) -> TrainerState:
        """Train from the last whole checkpoint, or the start; the best weights are in the model."""
        if self.is_world_process_zero():
            checkpoints.discard_incomplete(self.work)
        self.accelerator.wait_for_everyone()
        checkpoint = checkpoints.last_complete(self.work)
        try:
            if checkpoint is not None and checkpoints.read_progress(checkpoint).finished:
                self.state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
                self._load_best_checkpoint()
            else:
                self.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        finally:
            # accelerate wraps the forward pass for mixed precision, and leaves it so.
            for name in ("forward", "_original_forward"):
                self.model.__dict__.pop(name, None)
        # Nobody may remove the checkpoints while others still read the best of them.
        self.accelerator.wait_for_everyone()
        return self.state

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """No model card: checkpoints of this package have none."""

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Score the development set.

        Raises
        ------
        InputError
            Memory does not suffice for it.
        """
        with scoring_fits(self.args.per_device_eval_batch_size):
            scores: dict[str, float] = super().evaluate(*args, **kwargs)
        return scores

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Batches as they are: accelerate would group and share them otherwise."""
        numbers: Any = range(len(self.rows))
        return DataLoader(
            numbers,
            batch_sampler=self.batches,
            collate_fn=self._collate,
            pin_memory=self.args.dataloader_pin_memory,
        )

    def _collate(self, rows: list[int]) -> dict[str, Any]:
        """Features of some rows, named as the losses expect them, and what the trainer notes."""
        batch: dict[str, Any] = {}
        for column, numbers in zip(self.rows.columns, self.rows.texts[rows].T, strict=True):
            task = "query" if column == "query" else "document"
            features = {**self.tokens(numbers, task), "task": task}
            batch |= {f"{column}_{name}": feature for name, feature in features.items()}
        if self.rows.labels is not None:
            batch["label"] = torch.from_numpy(self.rows.labels[rows])
        # Without worker processes a batch is collated as soon as the sampler gives it.
        return {
            **batch,
            "query_ids": [self.rows.query_ids[row] for row in rows],
            "shared": self.batches.shared,
            "counted": self.batches.counted,
            "whole": self.batches.whole,
        }

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Any]:
        """The batches of a step, each with the weight of its loss.

        The trainer takes the mean over batches and processes. Where a step is a mean over rows,
        batches and shares that are smaller than others weigh less, and the step is the same
        however it is cut into pieces and shared. Contrastive batches are equal whatever their
        size.
        """
        batches, items = super().get_batch_samples(epoch_iterator, num_batches, device)
        rows = sum(batch["whole"] for batch in batches)
        for batch in batches:
            counted, _ = batch.pop("counted"), batch.pop("whole")
            pieces = len(batches) * self.batches.processes
            batch["weight"] = 1.0 if self.batches.undivided else counted * pieces / rows
        return batches, items

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The batch's loss.

        Raises
        ------
        LossNotFiniteError
            It is not a finite number: going on would only spoil the weights.
        """
        ids, weight = inputs.pop("query_ids"), inputs.pop("weight")
        self.loss: Any = self.shared_loss if inputs.pop("shared") else self.undivided_loss
        loss: Any = super().compute_loss(model, inputs, num_items_in_batch=num_items_in_batch)
        if not math.isfinite(loss.item()):
            raise LossNotFiniteError(
                f"finetuning: the loss is {loss.item()} at step {self.state.global_step + 1}, "
                f"batch of queries {', '.join(ids)}; lower finetuning.learning_rate, or use "
                "finetuning.precision fp32"
            )
        loss = loss * weight
        return (loss, {}) if return_outputs else loss

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        pending = self.accelerator.reduce(self._tr_loss.clone(), reduction="mean").item()
        # Every process writes its random state into the checkpoint.
        self.accelerator.wait_for_everyone()
        if not self.is_world_process_zero():
            return
        step = self.state.global_step
        checkpoints.mark_complete(
            self.work / f"checkpoint-{step}",
            checkpoints.Progress(
                pending_loss=pending,
                last_logged=self._globalstep_last_logged,
                finished=self.control.should_training_stop,
            ),
        )
        checkpoints.keep_only(self.work, {step, self.state.best_global_step or step})

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        self.model.save(str(output_dir), create_model_card=False, safe_serialization=True)

    def _load_best_model(self) -> None:
        # Often the best weights are the last, and those are here.
        if self.state.best_global_step != self.state.global_step:
            self._load_best_checkpoint()

    def _load_best_checkpoint(self) -> None:
        # The parent logs an error and goes on with other weights where the best cannot be read.
        self._load_from_checkpoint(str(self.work / f"checkpoint-{self.state.best_global_step}"))


class _TimedSaves(TrainerCallback):
    """Ask for a checkpoint when the last one is `SAVE_EVERY` seconds old.

    Development evaluations, which have checkpoints of their own, may be hours apart. What is
    trained does not depend on where checkpoints are.
    """

    def __init__(self, trainer: RetrievalTrainer) -> None:
        self.trainer = trainer
        self.last = 0.0

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        self.last = time.monotonic()

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        due = torch.tensor(float(time.monotonic() - self.last >= SAVE_EVERY), device=args.device)
        # All processes write a part, and their clocks differ: one process's clock decides.
        if broadcast(due).item():
            control.should_save = True

    def on_save(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        self.last = time.monotonic()


class _PendingLoss(TrainerCallback):
    """Give a resumed trainer the losses since the curve's last point, which it forgets."""

    def __init__(self, trainer: RetrievalTrainer) -> None:
        self.trainer = trainer

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        if state.global_step == 0:
            return
        checkpoint = self.trainer.work / f"checkpoint-{state.global_step}"
        progress = checkpoints.read_progress(checkpoint)
        self.trainer._tr_loss = torch.tensor(progress.pending_loss, device=args.device)
        self.trainer._globalstep_last_logged = progress.last_logged


def warmup_steps(steps: int, ratio: float) -> int:
    """Steps of rising learning rate, rounded up; none where they would be less than one.

    The first step of a warm-up has rate zero: of the two steps that ten examples make it would
    leave one.

    >>> warmup_steps(222, 0.1), warmup_steps(14, 0.1), warmup_steps(2, 0.1)
    (23, 2, 0)
    """
    return math.ceil(steps * ratio) if steps * ratio >= 1 else 0


def arguments(
    settings: Settings,
    work: Path,
    batches_per_epoch: int,
    accumulation: int,
    dev_metric: str,
) -> SentenceTransformerTrainingArguments:
    """The trainer's arguments for the settings.

    Parameters
    ----------
    batches_per_epoch
        How many batches one process sees in an epoch.
    accumulation
        Batches that a step of the optimizer adds up.
    """
    finetuning = settings.finetuning
    steps = math.ceil(batches_per_epoch / accumulation) * settings.epochs
    interval = max(1, steps // (settings.epochs * finetuning.evaluations_per_epoch))
    given = SentenceTransformerTrainingArguments(
        output_dir=str(work),
        num_train_epochs=settings.epochs,
        gradient_accumulation_steps=accumulation,
        activation_checkpointing=finetuning.gradient_checkpointing,
        learning_rate=settings.learning_rate,
        warmup_steps=warmup_steps(steps, finetuning.warmup_ratio),
        weight_decay=finetuning.weight_decay,
        bf16=finetuning.precision == "bf16",
        fp16=finetuning.precision == "fp16",
        eval_strategy="steps",
        eval_steps=interval,
        save_strategy="steps",
        save_steps=interval,
        load_best_model_at_end=True,
        metric_for_best_model=f"eval_{dev_metric}",
        greater_is_better=True,
        restore_callback_states_from_checkpoint=True,
        logging_steps=max(1, interval // 10),
        logging_nan_inf_filter=False,
        # Several processes on processors alone are a group only if told so.
        use_cpu=not torch.accelerator.is_available(),
        report_to=[],
        seed=settings.seed,
        dataloader_pin_memory=torch.cuda.is_available(),
        disable_tqdm=False,
    )
    # Several GPUs without a launcher: one is used, instead of a copy of the model on each, which
    # would multiply the batch. All are used by one process each, under torchrun.
    given._n_gpu = min(given.n_gpu, 1)
    return given
