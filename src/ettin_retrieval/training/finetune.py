"""Fine-tuning: examples and an encoder in, the best checkpoint by the development set out."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ettin_retrieval.data.dataset import RetrievalDataset
from ettin_retrieval.encoders.attention import choose_attention
from ettin_retrieval.encoders.precision import check_precision
from ettin_retrieval.settings.schema import Settings
from ettin_retrieval.training.checkpoints import last_complete
from ettin_retrieval.training.dev_score import DEV_METRIC, dev_evaluator, dev_score
from ettin_retrieval.training.examples import Example, TrainingRows, training_rows
from ettin_retrieval.training.memory import (
    BatchPlan,
    is_out_of_memory,
    release_memory,
    scoring_fits,
)
from ettin_retrieval.training.objectives import loss_for
from ettin_retrieval.training.token_store import TokenisedTexts

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.evaluation import BaseEvaluator
    from transformers import TrainerState

    from ettin_retrieval.training.trainer import RetrievalTrainer

logger = logging.getLogger("ettin_retrieval")


@dataclass(frozen=True)
class Curve:
    """What was logged while training.

    Attributes
    ----------
    loss
        (step, training loss) pairs.
    dev
        (step, nDCG@10 on the development set) pairs.
    best_step
        The step whose weights were kept.
    """

    loss: list[tuple[int, float]]
    dev: list[tuple[int, float]]
    best_step: int


def finetune(
    model: SentenceTransformer,
    train: list[Example],
    dev: RetrievalDataset,
    settings: Settings,
    work: Path,
) -> Curve:
    """Train the model in place; it ends with the weights of the best development score.

    Run by several processes (`torchrun`, `accelerate launch`), all of them train on shares of the
    same batches and end with the same weights.

    Parameters
    ----------
    work
        Directory for the trainer's checkpoints: a run that was killed goes on from them. It
        belongs to this configuration alone, and may be deleted afterwards.

    Raises
    ------
    InputError
        The hardware lacks the precision or the memory, the batch cannot be shared by the
        processes, or the loss is no longer a finite number.
    """
    check_precision(settings.finetuning.precision, model.device.type, "finetuning.precision")
    choose_attention(model)
    work.mkdir(parents=True, exist_ok=True)
    rows, texts = training_rows(train, settings.finetuning.objective)
    tokens = tokenised(model, rows, texts)
    del texts
    evaluator = dev_evaluator(dev, settings.encoding.batch_size, model.similarity_fn_name)
    plan = BatchPlan.of(settings).as_kept(work)
    # Only the search for a piece that fits starts over, and so needs the weights of the start.
    base = _copy_of_weights(model) if plan.may_shrink else {}
    with scoring_fits(settings.encoding.batch_size):
        start = dev_score(evaluator, model)
    while True:
        trainer: RetrievalTrainer | None = None
        try:
            trainer = build_trainer(model, rows, tokens, evaluator, settings, work, plan)
            return _curve(trainer.train_or_resume(), start)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            plan = plan.smaller()
        # Here the error is gone, and with it the tensors that its traceback held.
        del trainer
        release_memory()
        model.load_state_dict(base)
        plan.keep(work)
        checkpoint = last_complete(work)
        logger.warning(
            "finetuning: out of memory; %s with %s",
            "starting over" if checkpoint is None else f"going on from {checkpoint.name}",
            plan,
        )


def build_trainer(
    model: SentenceTransformer,
    rows: TrainingRows,
    tokens: TokenisedTexts,
    evaluator: BaseEvaluator,
    settings: Settings,
    work: Path,
    plan: BatchPlan,
) -> RetrievalTrainer:
    """The trainer with everything the settings decide; it has not begun."""
    from transformers import EarlyStoppingCallback

    from ettin_retrieval.training.batches import batch_sampler
    from ettin_retrieval.training.live_curves import LiveCurves
    from ettin_retrieval.training.trainer import RetrievalTrainer, arguments

    batches = batch_sampler(
        rows,
        plan.objective,
        plan.forward_size * plan.processes,
        settings.seed,
        settings.epochs,
        plan.rank,
        plan.processes,
    )
    callbacks: list[Any] = [LiveCurves(work / "live", f"eval_{DEV_METRIC}")]
    if settings.finetuning.early_stopping is not None:
        callbacks.append(EarlyStoppingCallback(settings.finetuning.early_stopping))
    return RetrievalTrainer(
        model=model,
        args=arguments(settings, work, len(batches), plan.steps_accumulated, DEV_METRIC),
        rows=rows,
        tokens=tokens,
        batches=batches,
        loss=loss_for(model, settings, mini_batch=plan.mini_batch, gather=plan.processes > 1),
        undivided_loss=loss_for(model, settings, mini_batch=plan.undivided_mini_batch),
        evaluator=evaluator,
        callbacks=callbacks,
    )


def tokenised(model: SentenceTransformer, rows: TrainingRows, texts: list[str]) -> TokenisedTexts:
    """The texts of training rows, queries and passages each at their own length."""
    return TokenisedTexts(model, texts, {"query": rows.texts[:, 0], "passage": rows.texts[:, 1:]})


def _copy_of_weights(model: SentenceTransformer) -> dict[str, torch.Tensor]:
    return {name: tensor.cpu().clone() for name, tensor in model.state_dict().items()}


def _curve(state: TrainerState, start: float) -> Curve:
    key = f"eval_{DEV_METRIC}"
    loss = [(int(e["step"]), float(e["loss"])) for e in state.log_history if "loss" in e]
    dev = [(int(e["step"]), float(e[key])) for e in state.log_history if key in e]
    return Curve(loss, [(0, start), *dev], state.best_global_step or 0)
