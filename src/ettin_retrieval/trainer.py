"""sentence-transformers' trainer with what the pipeline adds to it.

Batches of this package's own order, shared by all processes; a loss that is not a number stops
the run; checkpoints that a kill leaves either whole or ignored.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from sentence_transformers import (
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from torch.utils.data import DataLoader
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ettin_retrieval import resumption
from ettin_retrieval.batches import ShareOfBatches
from ettin_retrieval.encoding import Role, TokenisedTexts
from ettin_retrieval.errors import LossNotFiniteError
from ettin_retrieval.params import Settings

if TYPE_CHECKING:
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.evaluation import BaseEvaluator


class RetrievalTrainer(SentenceTransformerTrainer):
    """Trains on given batches; killed and started again, it ends in the same weights.

    Parameters
    ----------
    batches
        Row numbers of every batch, a new order for each epoch.
    query_ids
        Query text to id, to name the queries of a batch whose loss is not finite.
    loss, undivided_loss
        Of a batch shared by all processes, and of one that each process has whole.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        args: SentenceTransformerTrainingArguments,
        rows: Dataset,
        batches: ShareOfBatches,
        query_ids: dict[str, str],
        loss: torch.nn.Module,
        undivided_loss: torch.nn.Module,
        evaluator: BaseEvaluator,
        callbacks: list[TrainerCallback],
    ) -> None:
        super().__init__(
            model=model,
            args=args,
            train_dataset=rows,
            loss=loss,
            evaluator=evaluator,
            callbacks=[*callbacks, _PendingLoss(self)],
        )
        self.data_collator.preprocess_fn = TokenisedTexts(model, _texts_by_role(rows))
        self.work = Path(str(args.output_dir))
        self.batches = batches
        self.query_ids = query_ids
        self.shared_loss = self.loss
        self.undivided_loss = self.prepare_loss(undivided_loss, model)

    def train_or_resume(self) -> TrainerState:
        """Train from the last whole checkpoint, or the start; the best weights are in the model."""
        if self.is_world_process_zero():
            resumption.discard_incomplete(self.work)
        self.accelerator.wait_for_everyone()
        checkpoint = resumption.last_complete(self.work)
        if checkpoint is not None and resumption.read_progress(checkpoint).finished:
            self.state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
            self._load_best_model()
        else:
            self.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        # Nobody may remove the checkpoints while others still read the best of them.
        self.accelerator.wait_for_everyone()
        return self.state

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Batches as they are: accelerate would group and share them otherwise."""
        rows: Any = self.train_dataset
        return DataLoader(
            rows,
            batch_sampler=self.batches,
            collate_fn=self._collate,
            pin_memory=self.args.dataloader_pin_memory,
        )

    def _collate(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        ids = [self.query_ids[row["query"]] for row in rows]
        # Without worker processes a batch is collated as soon as the sampler gives it.
        return {**self.data_collator(rows), "query_ids": ids, "shared": self.batches.shared}

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
        ids = inputs.pop("query_ids")
        self.loss: Any = self.shared_loss if inputs.pop("shared") else self.undivided_loss
        loss: Any = super().compute_loss(model, inputs, num_items_in_batch=num_items_in_batch)
        if not math.isfinite(loss.item()):
            raise LossNotFiniteError(
                f"finetuning: the loss is {loss.item()} at step {self.state.global_step + 1}, "
                f"batch of queries {', '.join(ids)}; lower finetuning.learning_rate, or use "
                "finetuning.precision fp32"
            )
        return (loss, {}) if return_outputs else loss

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        pending = self.accelerator.reduce(self._tr_loss.clone(), reduction="mean").item()
        # Every process writes its random state into the checkpoint.
        self.accelerator.wait_for_everyone()
        if not self.is_world_process_zero():
            return
        step = self.state.global_step
        resumption.mark_complete(
            self.work / f"checkpoint-{step}",
            resumption.Progress(
                pending_loss=pending,
                last_logged=self._globalstep_last_logged,
                finished=self.control.should_training_stop,
            ),
        )
        resumption.keep_only(self.work, {step, self.state.best_global_step or step})

    def _load_best_model(self) -> None:
        # The parent logs an error and goes on with other weights where the best cannot be read.
        self._load_from_checkpoint(str(self.work / f"checkpoint-{self.state.best_global_step}"))


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
        progress = resumption.read_progress(checkpoint)
        self.trainer._tr_loss = torch.tensor(progress.pending_loss, device=args.device)
        self.trainer._globalstep_last_logged = progress.last_logged


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
        warmup_steps=math.ceil(steps * finetuning.warmup_ratio),
        weight_decay=finetuning.weight_decay,
        bf16=finetuning.precision == "bf16",
        fp16=finetuning.precision == "fp16",
        router_mapping=_roles(settings.negatives.per_query),
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


def _texts_by_role(rows: Dataset) -> dict[Role, list[str]]:
    passages = [name for name in rows.column_names if name not in ("query", "label")]
    return {
        "query": list(rows["query"]),
        "passage": [text for name in passages for text in rows[name]],
    }


def _roles(negatives: int) -> dict[str, str]:
    """Column of a training row to the role whose length applies to its texts."""
    passages = ["positive", "passage", "negative"]
    passages += [f"negative_{i + 1}" for i in range(negatives)]
    return {"query": "query"} | dict.fromkeys(passages, "document")
