"""Fine-tuning: examples and an encoder in, the best checkpoint by the development set out."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ettin_retrieval.encoding import TokenisedTexts, check_precision
from ettin_retrieval.memory import BatchPlan, is_out_of_memory, release_memory, scoring_fits
from ettin_retrieval.negatives import Pair
from ettin_retrieval.objectives import Example, TrainingRows, loss_for, training_rows
from ettin_retrieval.params import Settings
from ettin_retrieval.records import RetrievalDataset
from ettin_retrieval.resumption import last_complete

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.evaluation import BaseEvaluator
    from transformers import TrainerState

    from ettin_retrieval.trainer import RetrievalTrainer

logger = logging.getLogger("ettin_retrieval")

DEV_METRIC = "dev_similarity_ndcg@10"
"""The development score that picks the checkpoint, whatever the encoder's similarity is."""


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


def examples(dataset: RetrievalDataset, pairs: list[Pair]) -> list[Example]:
    """Texts of the pairs and their negatives, with the teacher's scores where it has them all."""
    passages = dict(zip(dataset.corpus["id"], dataset.passage_texts(), strict=True))
    queries = dict(zip(dataset.queries["id"], dataset.queries["text"], strict=True))
    teacher = dataset.teacher_scores()
    rows = []
    for query_id, positive, negatives in pairs:
        scores = [teacher.get(query_id, {}).get(passage) for passage in (positive, *negatives)]
        known = [score for score in scores if score is not None]
        rows.append(
            Example(
                queries[query_id],
                passages[positive],
                [passages[n] for n in negatives],
                query_id=query_id,
                scores=known if len(known) == len(scores) else None,
            )
        )
    return rows


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
    _choose_attention(model)
    work.mkdir(parents=True, exist_ok=True)
    rows, texts = training_rows(train, settings.finetuning.objective)
    tokens = tokenised(model, rows, texts)
    del texts
    evaluator = dev_evaluator(dev, settings.evaluation.batch_size, model.similarity_fn_name)
    plan = BatchPlan.of(settings).as_kept(work)
    # Only the search for a piece that fits starts over, and so needs the weights of the start.
    base = _copy_of_weights(model) if plan.may_shrink else {}
    with scoring_fits(settings.evaluation.batch_size):
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

    from ettin_retrieval.batches import batch_sampler
    from ettin_retrieval.live_curves import LiveCurves
    from ettin_retrieval.trainer import RetrievalTrainer, arguments

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


def _choose_attention(model: SentenceTransformer) -> None:
    """Plain attention for short texts on a CPU in strict mode.

    The backward pass of the fused kernel is slow on a CPU where it must be deterministic, and
    what it saves in memory matters for long texts only.
    """
    import torch

    transformer: Any = model[0]
    slow = model.device.type == "cpu" and torch.are_deterministic_algorithms_enabled()
    if slow and transformer.document_length <= 128:
        transformer.model.set_attn_implementation("eager")


def _copy_of_weights(model: SentenceTransformer) -> dict[str, torch.Tensor]:
    return {name: tensor.cpu().clone() for name, tensor in model.state_dict().items()}


def dev_evaluator(
    dev: RetrievalDataset, batch_size: int, similarity: str = "cosine"
) -> BaseEvaluator:
    """nDCG@10 and MRR@10 over the development queries and their corpus.

    Parameters
    ----------
    similarity
        `cosine` or `dot`: what the encoder is trained and searched by.
    """
    from sentence_transformers.sentence_transformer.evaluation import (
        InformationRetrievalEvaluator,
    )
    from sentence_transformers.util import cos_sim, dot_score

    return InformationRetrievalEvaluator(
        queries=dict(zip(dev.queries["id"], dev.queries["text"], strict=True)),
        corpus=dict(zip(dev.corpus["id"], dev.passage_texts(), strict=True)),
        relevant_docs={q: set(p) for q, p in dev.positives().items()},
        name="dev",
        batch_size=batch_size,
        accuracy_at_k=[1],
        precision_recall_at_k=[10],
        map_at_k=[100],
        write_csv=False,
        score_functions={"similarity": dot_score if similarity == "dot" else cos_sim},
    )


def dev_score(evaluator: BaseEvaluator, model: SentenceTransformer) -> float:
    """nDCG@10 on the development set, a fraction."""
    scores = evaluator(model)
    if not isinstance(scores, dict):
        raise TypeError("the development evaluator returns named scores")
    return float(scores[DEV_METRIC])


def _curve(state: TrainerState, start: float) -> Curve:
    key = f"eval_{DEV_METRIC}"
    loss = [(int(e["step"]), float(e["loss"])) for e in state.log_history if "loss" in e]
    dev = [(int(e["step"]), float(e[key])) for e in state.log_history if key in e]
    return Curve(loss, [(0, start), *dev], state.best_global_step or 0)
