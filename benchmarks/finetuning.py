"""Fine-tuning on the same pairs: `finetune`, the guide's `model.fit`, a plain trainer.

All train with in-batch negatives alone, as the guide does, for the same epochs, batches and
learning rate, and from the same random weights.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from unittest.mock import patch

from benchmarks.harness import ROOT, Inputs, Job, Run, bf16_is_emulated, contest, timed
from benchmarks.record import Figure, Section, memory_ratio, ratios
from ettin_retrieval.data.dataset import RetrievalDataset
from ettin_retrieval.data.negatives import Pair
from ettin_retrieval.settings.load import load_settings
from ettin_retrieval.settings.schema import Settings

INPUTS = {"pairs": 960, "epochs": 3, "batch_size": 16, "dev_queries": 100, "dev_passages": 300}
WARM_UP = {"pairs": 32, "dev_passages": 100}
OURS, OURS_BF16 = "ours, fp32", "ours, bf16"
GUIDE, PLAIN = "guide's model.fit, fp32", "plain trainer, fp32"
NOTE = """\
The tiny encoder and web collection, in-batch negatives alone. Evaluations on the development set
do not count: ours also evaluates before training."""


def measure(inputs: Inputs = INPUTS, repetitions: int = 5) -> Section:
    """Training without its evaluations; in bf16 only where the processor has it."""
    slow, guide, plain = bf16_is_emulated(), "the guide's script", "a plain trainer"
    contenders = {name: c for name, c in CONTENDERS.items() if "fp32" in name or not slow}
    runs = contest(contenders, inputs, repetitions, WARM_UP)
    figures = [
        Figure(f"fp32, speed against {guide}", ratios(runs, OURS, GUIDE), 1.0),
        Figure(f"fp32, speed against {plain}", ratios(runs, OURS, PLAIN), 1.0),
        Figure(f"fp32, memory against {guide}", memory_ratio(runs, OURS, GUIDE)),
        Figure(f"bf16, speed against {guide} in fp32", ratios(runs, OURS_BF16, GUIDE), 2.0),
        Figure(f"bf16, speed against {plain} in fp32", ratios(runs, OURS_BF16, PLAIN), 2.0),
    ]
    scores = {name: median(run["dev_ndcg_at_10"] for run in done) for name, done in runs.items()}
    reached = ", ".join(f"{name} {score:.4f}" for name, score in scores.items())
    notes = [NOTE, f"Development nDCG@10 reached: {reached}.", slow]
    return Section("Fine-tuning", inputs, figures, runs, notes)


class Training(NamedTuple):
    """What every contender gets beside the model to train in place."""

    settings: Settings
    examples: list[Any]
    dev: RetrievalDataset
    evaluator: Any
    warmup_steps: int


def ours(model: Any, given: Training, work: Path) -> None:
    from ettin_retrieval.training.finetune import finetune

    finetune(model, given.examples, given.dev, given.settings, work)


def guides_script(model: Any, given: Training, work: Path) -> None:
    """`model.fit` as in finetune_retrieval.py, with fewer warm-up steps than its 1,000."""
    from sentence_transformers import InputExample
    from sentence_transformers.sentence_transformer import losses
    from torch.utils.data import DataLoader

    rows: Any = [InputExample(texts=[e.query, e.positive]) for e in given.examples]
    loader = DataLoader(rows, shuffle=True, batch_size=given.settings.batch_size)
    model.fit(
        train_objectives=[(loader, losses.MultipleNegativesRankingLoss(model))],
        evaluator=given.evaluator,
        epochs=given.settings.epochs,
        evaluation_steps=1000,
        warmup_steps=given.warmup_steps,
        output_path=str(work / "out"),
        checkpoint_path=str(work / "checkpoints"),
        optimizer_params={"lr": given.settings.learning_rate},
    )


def plain_trainer(model: Any, given: Training, work: Path) -> None:
    """A SentenceTransformerTrainer with its defaults."""
    import sentence_transformers as st
    from datasets import Dataset
    from sentence_transformers.sentence_transformer import losses

    rows = [{"query": example.query, "positive": example.positive} for example in given.examples]
    arguments = st.SentenceTransformerTrainingArguments(
        output_dir=str(work),
        num_train_epochs=given.settings.epochs,
        per_device_train_batch_size=given.settings.batch_size,
        learning_rate=given.settings.learning_rate,
        warmup_steps=given.warmup_steps,
        eval_strategy="epoch",
        save_strategy="epoch",
        report_to=[],
    )
    st.SentenceTransformerTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        loss=losses.MultipleNegativesRankingLoss(model),
        evaluator=given.evaluator,
    ).train()


def contender(
    inputs: Inputs, train: Callable[[Any, Training, Path], None], precision: str = "fp32"
) -> Job:
    """A copy of the base encoder, trained against the clock, evaluations excepted, and scored."""
    from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

    from ettin_retrieval.runtime.determinism import seed_everything
    from ettin_retrieval.training.trainer import DEV_METRIC

    given, base = training(inputs, precision)
    evaluate = InformationRetrievalEvaluator.__call__

    def job() -> Run:
        evaluations: list[Run] = []

        def timed_evaluate(*given: Any, **named: Any) -> Any:
            with timed() as run:
                evaluations.append(run)
                return evaluate(*given, **named)

        seed_everything(given.settings.seed, strict=False)
        model = deepcopy(base)
        timing = patch.object(InformationRetrievalEvaluator, "__call__", timed_evaluate)
        with TemporaryDirectory() as work, timing, timed() as run:
            train(model, given, Path(work))
        for key in run:
            run[key] -= sum(evaluation[key] for evaluation in evaluations)
        return run | {"dev_ndcg_at_10": given.evaluator(model)[DEV_METRIC]}

    return job


def training(inputs: Inputs, precision: str) -> tuple[Training, Any]:
    """Pairs and development set of the tiny web collection, and the base encoder."""
    from ettin_retrieval.base_encoder.random_weights import random_encoder
    from ettin_retrieval.mining.development import development_set
    from ettin_retrieval.sources import tiny
    from ettin_retrieval.sources.training_data import load_tiny, training_and_dev
    from ettin_retrieval.training.examples import training_examples
    from ettin_retrieval.training.trainer import DevEvaluator

    changes = {f"finetuning.{key}": inputs[key] for key in ("epochs", "batch_size")}
    changes |= {f"data.{key}": inputs[key] for key in ("dev_queries", "dev_passages")}
    changes |= {"model": "tiny", "strict": False, "negatives.num_negatives": 0}
    changes |= {"finetuning.precision": precision, "finetuning.evaluations_per_epoch": 1}
    settings = load_settings(ROOT / "params.yaml").with_changes(changes)
    train, dev = training_and_dev(load_tiny("web", settings), settings).values()
    pairs: list[Pair] = [(q, p, []) for q, own in train.positives().items() for p in own]
    examples = training_examples(train, pairs[: inputs["pairs"]])
    steps = -(-len(examples) // settings.batch_size) * settings.epochs
    warmup_steps = round(steps * settings.finetuning.warmup_ratio)
    with TemporaryDirectory() as scratch:
        base = random_encoder(settings.encoder, tiny.lexicon(), settings.seed, Path(scratch))
    base.max_seq_length = settings.encoder.max_passage_length
    dev = development_set(train, dev, base, settings)
    evaluator = DevEvaluator(dev, settings.encoding.batch_size)
    return Training(settings, examples, dev, evaluator, warmup_steps), base


CONTENDERS = {
    OURS: partial(contender, train=ours),
    OURS_BF16: partial(contender, train=ours, precision="bf16"),
    GUIDE: partial(contender, train=guides_script),
    PLAIN: partial(contender, train=plain_trainer),
}
