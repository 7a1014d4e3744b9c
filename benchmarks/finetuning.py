"""Fine-tuning on the same pairs: ours, the guide's script, and a plain trainer.

All train with in-batch negatives alone, as the guide's script does, for the same epochs, batches
and learning rate; the development nDCG@10 that each reaches stands beside its speed.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.contest import ROOT, Contest, Runs
from benchmarks.peak import bf16_is_emulated
from benchmarks.record import NotRun, Ratio, Section, memory, middle, speed
from benchmarks.worker import Job
from ettin_retrieval.data.dataset import RetrievalDataset
from ettin_retrieval.settings.load import load_settings
from ettin_retrieval.settings.schema import Settings

SIZES = {"pairs": 960, "epochs": 3, "batch_size": 16, "dev_queries": 100, "dev_passages": 300}
REPETITIONS = 5
CONTENDERS = {
    "ours, fp32": "benchmarks.finetuning:ours_fp32",
    "ours, bf16": "benchmarks.finetuning:ours_bf16",
    "guide's model.fit, fp32": "benchmarks.finetuning:guides_script",
    "plain trainer, fp32": "benchmarks.finetuning:plain_trainer",
}
OURS, OURS_BF16, GUIDE, PLAIN = CONTENDERS


@dataclass(frozen=True)
class Training:
    """What every contender is given.

    Attributes
    ----------
    pairs
        Query and positive passage.
    base
        Directory of the encoder that all start from.
    """

    settings: Settings
    pairs: list[tuple[str, str]]
    dev: RetrievalDataset
    base: Path

    @property
    def steps(self) -> int:
        """Optimizer steps in all."""
        return -(-len(self.pairs) // self.settings.batch_size) * self.settings.epochs

    @property
    def warmup(self) -> int:
        """Steps of rising learning rate."""
        return round(self.steps * self.settings.finetuning.warmup_ratio)


Train = Callable[[Any, Training, Path], None]
"""Trains a model in place; the directory is for whatever is written meanwhile."""


def measure(sizes: dict[str, Any], repetitions: int) -> Section:
    """Run the contest; in bf16 only where the processor has it."""
    slow = bf16_is_emulated()
    contenders = {n: where for n, where in CONTENDERS.items() if "fp32" in n or slow is None}
    with Contest(contenders) as contest:
        contest.warm_up(sizes | {"pairs": 2 * sizes["batch_size"], "dev_passages": 100})
        contest.prepare(sizes)
        runs = contest.run(repetitions)
    peers = {"the guide's script": GUIDE, "a plain trainer": PLAIN}
    ratios = [
        Ratio(f"fp32, speed against {told}", speed(runs, OURS, peer), 1.0)
        for told, peer in peers.items()
    ]
    ratios.append(Ratio("fp32, memory against the guide's script", memory(runs, OURS, GUIDE)))
    not_run = []
    for told, peer in peers.items():
        name = f"bf16, speed against {told} in fp32"
        if slow is None:
            ratios.append(Ratio(name, speed(runs, OURS_BF16, peer), 2.0))
        else:
            not_run.append(NotRun(name, slow, 2.0))
    return Section(
        "finetuning",
        "Fine-tuning",
        sizes,
        runs,
        ratios,
        not_run=not_run,
        notes=[
            "The embedded encoder and web collection; in-batch negatives alone, as in the guide's "
            "script. Seconds are those of training: evaluation on the development set is taken "
            "out, for ours is evaluated before training too, the others after each epoch alone.",
            f"Processor seconds: {_each(runs, 'processor_seconds', '.1f')}, of all threads, those "
            "that wait for each other included: on a busy machine they are no measure.",
            f"Pairs a second: {_each(runs, 'pairs_per_second', '.1f')}.",
            f"Development nDCG@10 reached: {_each(runs, 'dev_ndcg_at_10', '.4f')}.",
        ],
    )


def _each(runs: Runs, key: str, form: str) -> str:
    return ", ".join(f"{name} {middle(runs, name, key):{form}}" for name in runs)


def ours_fp32(inputs: dict[str, Any]) -> Job:
    """Our `finetune` in fp32."""
    return _job(inputs, "fp32", _finetune)


def ours_bf16(inputs: dict[str, Any]) -> Job:
    """Our `finetune` with bf16 autocast."""
    return _job(inputs, "bf16", _finetune)


def guides_script(inputs: dict[str, Any]) -> Job:
    """`model.fit`, as in the guide's finetune_retrieval.py."""
    return _job(inputs, "fp32", _fit)


def plain_trainer(inputs: dict[str, Any]) -> Job:
    """A SentenceTransformerTrainer with its defaults."""
    return _job(inputs, "fp32", _train)


def _finetune(model: Any, given: Training, work: Path) -> None:
    from ettin_retrieval.training.examples import Example
    from ettin_retrieval.training.finetune import finetune

    examples = [Example(query, positive, []) for query, positive in given.pairs]
    finetune(model, examples, given.dev, given.settings, work)


def _fit(model: Any, given: Training, work: Path) -> None:
    from sentence_transformers import InputExample
    from sentence_transformers.sentence_transformer import losses
    from torch.utils.data import DataLoader

    rows: Any = [InputExample(texts=list(pair)) for pair in given.pairs]
    loader = DataLoader(rows, shuffle=True, batch_size=given.settings.batch_size)
    model.fit(
        train_objectives=[(loader, losses.MultipleNegativesRankingLoss(model))],
        evaluator=_evaluator(given),
        epochs=given.settings.epochs,
        evaluation_steps=1000,
        # The guide's 1000 are more steps than there are here.
        warmup_steps=given.warmup,
        output_path=str(work / "out"),
        checkpoint_path=str(work / "checkpoints"),
        optimizer_params={"lr": given.settings.learning_rate},
    )


def _train(model: Any, given: Training, work: Path) -> None:
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer import losses

    queries, positives = zip(*given.pairs, strict=True)
    SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(
            output_dir=str(work),
            num_train_epochs=given.settings.epochs,
            per_device_train_batch_size=given.settings.batch_size,
            learning_rate=given.settings.learning_rate,
            warmup_steps=given.warmup,
            eval_strategy="epoch",
            save_strategy="epoch",
            report_to=[],
        ),
        train_dataset=Dataset.from_dict({"query": list(queries), "positive": list(positives)}),
        loss=losses.MultipleNegativesRankingLoss(model),
        evaluator=_evaluator(given),
    ).train()


def _evaluator(given: Training) -> Any:
    from ettin_retrieval.training.dev_score import dev_evaluator

    return dev_evaluator(given.dev, given.settings.evaluation.batch_size)


def _job(inputs: dict[str, Any], precision: str, train: Train) -> Job:
    """Load the base encoder, train against the clock, score."""
    from ettin_retrieval.encoders.checkpoint import load_checkpoint
    from ettin_retrieval.training.dev_score import dev_score

    # Goes when the job does, which holds it.
    scratch = tempfile.TemporaryDirectory(prefix="benchmark-finetuning-")
    given = training(inputs, precision, Path(scratch.name))

    def job() -> dict[str, Any]:
        from ettin_retrieval.runtime.determinism import seed_everything

        seed_everything(given.settings.seed, strict=False)
        model = load_checkpoint(given.base)
        model.max_seq_length = given.settings.encoder.max_passage_length
        work = Path(scratch.name) / "work"
        with evaluating() as (spent, busy_evaluating):
            start, busy = time.perf_counter(), time.process_time()
            train(model, given, work)
            seconds = time.perf_counter() - start - sum(spent)
            processor = time.process_time() - busy - sum(busy_evaluating)
        shutil.rmtree(work, ignore_errors=True)
        return {
            "seconds": seconds,
            "processor_seconds": processor,
            "pairs_per_second": len(given.pairs) * given.settings.epochs / seconds,
            "dev_ndcg_at_10": dev_score(_evaluator(given), model),
        }

    return job


@contextmanager
def evaluating() -> Iterator[tuple[list[float], list[float]]]:
    """Seconds and processor seconds of every evaluation on the development set meanwhile."""
    from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

    spent: list[float] = []
    busy: list[float] = []
    evaluate = InformationRetrievalEvaluator.__call__

    def timed(*given: Any, **named: Any) -> Any:
        start, processor = time.perf_counter(), time.process_time()
        scores = evaluate(*given, **named)
        spent.append(time.perf_counter() - start)
        busy.append(time.process_time() - processor)
        return scores

    with patch.object(InformationRetrievalEvaluator, "__call__", timed):
        yield spent, busy


def training(inputs: dict[str, Any], precision: str, scratch: Path) -> Training:
    """Pairs and development set of the embedded web collection, and the encoder to start from."""
    from ettin_retrieval.base_encoder.random_weights import random_encoder
    from ettin_retrieval.encoders.checkpoint import save_checkpoint
    from ettin_retrieval.sources.tiny import generator as synthetic
    from ettin_retrieval.sources.training_data import load_synthetic, training_and_dev

    settings = _settings(inputs, precision)
    chosen = training_and_dev(load_synthetic("web", settings), settings)
    entry = settings.encoder
    if entry.shape is None:
        raise ValueError("this benchmark trains the encoder of random weights")
    base, files = scratch / "base", scratch / "files"
    for directory in (base, files):
        directory.mkdir()
    model = random_encoder(entry.shape, synthetic.lexicon(), entry, settings.seed, files)
    save_checkpoint(model, base, {"source": "embedded", "revision": "benchmark"})
    return Training(settings, _pairs(chosen["train"])[: inputs["pairs"]], chosen["dev"], base)


def _pairs(train: RetrievalDataset) -> list[tuple[str, str]]:
    passages = dict(zip(train.corpus["id"], train.passage_texts(), strict=True))
    queries = dict(zip(train.queries["id"], train.queries["text"], strict=True))
    return [(queries[q], passages[p]) for q, found in train.positives().items() for p in found]


def _settings(inputs: dict[str, Any], precision: str) -> Settings:
    content = load_settings(ROOT / "params.yaml").model_dump()
    content |= {"model": "tiny", "strict": False}
    content["negatives"] |= {"per_query": 0}
    content["data"] |= {key: inputs[key] for key in ("dev_queries", "dev_passages")}
    content["finetuning"] |= {
        "batch_size": inputs["batch_size"],
        "epochs": inputs["epochs"],
        "precision": precision,
        "evaluations_per_epoch": 1,
    }
    return Settings.model_validate(content)
