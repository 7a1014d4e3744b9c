"""Fine-tuning: examples and an encoder in, the best checkpoint by the development set out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ettin_retrieval.encoding import check_precision
from ettin_retrieval.errors import InputError
from ettin_retrieval.negatives import Pair
from ettin_retrieval.objectives import Example, loss_for, training_rows
from ettin_retrieval.params import Settings
from ettin_retrieval.records import RetrievalDataset

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.evaluation import BaseEvaluator

DEV_METRIC = "dev_cosine_ndcg@10"
"""The development score that picks the checkpoint."""


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
        The step whose weights were kept; 0 if training never beat the start.
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

    Parameters
    ----------
    work
        Directory for the trainer's checkpoints, which may be deleted afterwards.

    Raises
    ------
    InputError
        The hardware lacks the precision, or the loss is no longer a finite number.
    """
    from datasets import Dataset
    from sentence_transformers import SentenceTransformerTrainer

    check_precision(settings.finetuning.precision, model.device.type, "finetuning.precision")
    _choose_attention(model)
    rows = Dataset.from_dict(training_rows(train, settings.finetuning.objective))
    evaluator = dev_evaluator(dev, settings.evaluation.batch_size)
    start = dev_score(evaluator, model)
    steps = math.ceil(len(rows) / settings.batch_size) * settings.epochs
    trainer = SentenceTransformerTrainer(
        model=model,
        args=_arguments(settings, work, steps),
        train_dataset=rows,
        loss=loss_for(model, settings),
        evaluator=evaluator,
    )
    trainer.train()
    curve = _curve(trainer.state.log_history, start)
    best = trainer.state.best_model_checkpoint
    return Curve(curve.loss, curve.dev, int(Path(best).name.split("-")[-1]) if best else 0)


def _choose_attention(model: SentenceTransformer) -> None:
    """Plain attention for short texts on a CPU.

    With at most 128 tokens a training step of the embedded default takes 0.3 s instead of the
    0.6 s of the fused kernel, whose backward pass is slow where it must be deterministic.
    """
    transformer: Any = model[0]
    if model.device.type == "cpu" and transformer.document_length <= 128:
        transformer.model.set_attn_implementation("eager")


def dev_evaluator(dev: RetrievalDataset, batch_size: int) -> BaseEvaluator:
    """nDCG@10 and MRR@10 over the development queries and their corpus."""
    from sentence_transformers.sentence_transformer.evaluation import (
        InformationRetrievalEvaluator,
    )

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
    )


def dev_score(evaluator: BaseEvaluator, model: SentenceTransformer) -> float:
    """nDCG@10 on the development set, a fraction."""
    scores = evaluator(model)
    if not isinstance(scores, dict):
        raise TypeError("the development evaluator returns named scores")
    return float(scores[DEV_METRIC])


def _arguments(settings: Settings, work: Path, steps: int) -> Any:
    from sentence_transformers import SentenceTransformerTrainingArguments
    from sentence_transformers.base.sampler import BatchSamplers
    from torch.cuda import is_available

    finetuning = settings.finetuning
    contrastive = finetuning.objective == "contrastive"
    interval = max(1, steps // (settings.epochs * finetuning.evaluations_per_epoch))
    roles = {"query": "query", "positive": "document", "passage": "document"}
    roles |= {"negative": "document"}
    roles |= {f"negative_{i + 1}": "document" for i in range(settings.negatives.per_query)}
    return SentenceTransformerTrainingArguments(
        output_dir=str(work),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        warmup_steps=math.ceil(steps * finetuning.warmup_ratio),
        weight_decay=finetuning.weight_decay,
        bf16=finetuning.precision == "bf16",
        fp16=finetuning.precision == "fp16",
        # In-batch negatives must not hold a text twice: it would be its own negative.
        batch_sampler=BatchSamplers.NO_DUPLICATES if contrastive else BatchSamplers.BATCH_SAMPLER,
        router_mapping=roles,
        eval_strategy="steps",
        eval_steps=interval,
        save_strategy="steps",
        save_steps=interval,
        save_total_limit=1,
        load_best_model_at_end=True,
        metric_for_best_model=f"eval_{DEV_METRIC}",
        greater_is_better=True,
        logging_steps=max(1, interval // 10),
        logging_nan_inf_filter=False,
        report_to=[],
        seed=settings.seed,
        data_seed=settings.seed,
        dataloader_num_workers=0,
        dataloader_pin_memory=is_available(),
        disable_tqdm=False,
    )


def _curve(history: list[dict[str, Any]], start: float) -> Curve:
    loss = [(int(e["step"]), float(e["loss"])) for e in history if "loss" in e]
    dev = [(0, start)]
    key = f"eval_{DEV_METRIC}"
    dev += [(int(e["step"]), float(e[key])) for e in history if key in e]
    broken = next((step for step, value in loss if not math.isfinite(value)), None)
    if broken is not None:
        raise InputError(
            f"finetuning: the loss was not finite by step {broken}; lower "
            "finetuning.learning_rate, or use finetuning.precision fp32"
        )
    return Curve(loss, dev, 0)
